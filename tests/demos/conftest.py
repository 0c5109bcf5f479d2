"""Assets and one recorded collection for tests of demonstrations."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from runners.assets import ResolvedAssets, resolve_assets
from runners.demos import collect as collect_module
from runners.demos import episode as episode_module
from runners.demos.collect import collect
from runners.demos.dataset import (
    DemoRows,
    EpisodeMeta,
    encode_picture,
    write_episode,
)
from tests.demos.collection import COLLECTION, Seen


@pytest.fixture(scope="session")
def builtin_assets() -> ResolvedAssets:
    """The pack that the project generates, to be drawn fast."""
    return resolve_assets("builtin", suite="libero_spatial", render="fast")


@pytest.fixture(scope="session")
def seen() -> Seen:
    return Seen({}, {})


@pytest.fixture(scope="session")
def root(tmp_path_factory: pytest.TempPathFactory, seen: Seen) -> Path:
    folder = tmp_path_factory.mktemp("demos")

    def write(root: Path, meta: EpisodeMeta, rows: DemoRows) -> None:
        seen.rows[meta.episode_index] = rows
        write_episode(root, meta, rows)

    def encode(picture: np.ndarray) -> dict[str, Any]:
        cell = encode_picture(picture)
        seen.pictures[cell["bytes"]] = picture.copy()
        return cell

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(collect_module, "write_episode", write)
        patch.setattr(episode_module, "encode_picture", encode)
        collect(COLLECTION, folder, progress=lambda line: None)
    return folder
