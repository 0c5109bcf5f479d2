"""Numbers that change during a run, as functions of the update alone."""

from __future__ import annotations

import math

from vlacache.train.config import TrainConfig


def learning_rate(config: TrainConfig, step: int) -> float:
    """Of update ``step`` (0-based): linear warm-up, then a cosine that ends at 0 after the last update."""
    total, warmup = config.total_steps, max(1, round(config.warmup * config.total_steps))
    if step < warmup:
        return config.learning_rate * (step + 1) / warmup
    progress = (step - warmup) / max(1, total - warmup)
    return config.learning_rate * 0.5 * (1.0 + math.cos(math.pi * min(1.0, progress)))


def keep_share(config: TrainConfig, step: int) -> float:
    """Share of the patches of a view that update ``step`` sees."""
    progress = step / config.total_steps
    return [share for start, share in config.keep_shares if start <= progress][-1]


def ema_decay(config: TrainConfig, step: int) -> float:
    """Of update ``step``: lower at first, so that the random first weights are soon forgotten."""
    return min(config.ema_decay, (1.0 + step) / (10.0 + step))
