"""Latency and fidelity of policies on recorded episodes: no simulator, no Hydra, no network."""
