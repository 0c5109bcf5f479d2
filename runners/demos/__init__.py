"""Demonstrations: episodes of the scripted experts, recorded for training. The format is in ``dataset``."""
