"""VLA-Cache Bench: the cache core and the cached models. Knows no simulator, no Hydra, no W&B."""

__version__ = "0.1.0"
