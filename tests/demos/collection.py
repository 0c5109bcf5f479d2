"""The collection that tests of demonstrations share: one wide demo of two tasks."""

from __future__ import annotations

import hashlib
import runpy
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from runners.demos.collect import Collection
from runners.demos.dataset import (
    DemoRows,
)
from runners.demos.episode import Recording

COLLECTION = Collection(
    suite="libero_spatial",
    tasks=(7, 2),
    demos_per_task=1,
    seed=3,
    placement="wide",
    recording=Recording(frame_stride=20, jitter=("colour", "light", "camera")),
)


def digests(root: Path) -> dict[str, str]:
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file() and path.name != ".lock"
    }


@dataclass
class Seen:
    """What a collection wrote, as it was in memory: rows by episode, pictures by their JPEG."""

    rows: dict[int, DemoRows]
    pictures: dict[bytes, np.ndarray]


def command(words: list[str], repo_root: Path, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(sys, "argv", ["collect_demos.py", *words])
    with pytest.raises(SystemExit) as left:
        runpy.run_path(str(repo_root / "scripts" / "collect_demos.py"), run_name="__main__")
    assert isinstance(left.value.code, int)
    return left.value.code
