"""Simulator adapters behind one contract (``base.Env``)."""
