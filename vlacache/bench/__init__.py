"""Latency benchmark of policies on a recorded episode: no simulator, no Hydra, no network."""
