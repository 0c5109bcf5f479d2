"""Training runs of a few updates."""

from __future__ import annotations

import json
from pathlib import Path

from vlacache.train.config import TrainConfig
from vlacache.train.demos import Demos
from vlacache.train.loop import RunOptions, Trainer

FAST = TrainConfig(
    samples=96, batch_size=8, micro_batch=4, learning_rate=3e-3, eval_samples=48, save_steps=1, log_steps=1,
    ema_decay=0.5, keep_shares=((0.0, 0.5), (0.5, 1.0)), precision="float32",
)  # fmt: skip


def trainer(config: TrainConfig, demos: Demos, folder: Path, **options) -> Trainer:
    """``options``: of ``Trainer`` and ``RunOptions``."""
    given = {name: options.pop(name, None) for name in ("evaluate", "validation", "init_from")}
    return Trainer(config, demos, folder, **given, options=RunOptions(**{"num_threads": 2, **options}))


def losses(folder: Path) -> list[float]:
    """Of the actions, as logged."""
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [line["loss/action"] for line in lines if "loss/action" in line]
