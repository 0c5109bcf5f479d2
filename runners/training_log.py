"""``--logger wandb`` of a training run: the lines of ``log.jsonl``, offline by default as for evaluation runs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from runners.identity import flatten
from runners.wandb_logger import import_wandb


class WandbMetrics:
    """A ``vlacache.train.log.MetricLogger``.

    Args:
        folder: of the run; files go to ``<folder>/wandb/``. config: numbers of the run. mode, project: as in
            ``configs/logger/wandb.yaml``.

    Raises:
        ImportError: wandb is not installed.
    """

    def __init__(
        self, folder: Path, config: dict[str, Any], mode: str = "offline", project: str = "vlacache-bench"
    ) -> None:
        wandb = import_wandb()
        self._run = wandb.init(
            project=project,
            id=re.sub(r"[^\w.-]", "-", f"train-{folder.name}"),
            name=f"train/{folder.name}",
            group="train",
            dir=str(folder),
            mode=mode,
            resume="allow" if mode == "online" else None,
            config=config,
            settings=wandb.Settings(x_disable_stats=True, console="off", silent=True),
        )

    def log(self, step: int, values: dict[str, Any]) -> None:
        """Numbers of one line, nested ones with dotted names."""
        numbers = {k: v for k, v in flatten(values).items() if isinstance(v, (int, float))}
        self._run.log(numbers, step=step)

    def close(self) -> None:
        """Finish the W&B run."""
        self._run.finish()
