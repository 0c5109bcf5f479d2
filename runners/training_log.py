"""``--logger wandb`` of a training run: the lines of ``log.jsonl``, offline by default as for evaluation runs."""

from __future__ import annotations

import re
import secrets
from pathlib import Path
from typing import Any

from runners.files import write_text_atomic
from runners.identity import flatten
from runners.wandb_logger import import_wandb

ID_FILE = "wandb_id"


def run_id(folder: Path) -> str:
    """Id of the W&B run: the same in every sitting, and another one in every folder, also of the same name."""
    file = folder / ID_FILE
    if not file.is_file():
        name = re.sub(r"[^\w.-]", "-", folder.resolve().name)
        write_text_atomic(file, f"train-{name}-{secrets.token_hex(4)}\n")
    return file.read_text().strip()


class WandbMetrics:
    """A ``vlacache.train.log.MetricLogger``.

    Args:
        folder: of the run; files go to ``<folder>/wandb/``, the id to ``<folder>/wandb_id``.
        config: numbers of the run. mode, project: as in ``configs/logger/wandb.yaml``.

    Raises:
        ImportError: wandb is not installed.
    """

    def __init__(
        self, folder: Path, config: dict[str, Any], mode: str = "offline", project: str = "vlacache-bench"
    ) -> None:
        wandb = import_wandb()
        self._run = wandb.init(
            project=project,
            id=run_id(folder),
            name=f"train/{folder.resolve().name}",
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
