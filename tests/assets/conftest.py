"""Caches of their own for every test, a pack in small, and the built-in pack."""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest

from runners.assets import resolve_assets

#: Folders by which an assets folder is recognised.
LIBERO_FOLDERS = ("articulated_objects", "scenes", "stable_scanned_objects")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty user cache; no assets folder is named."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("VLACACHE_CACHE_DIR", str(folder))
    monkeypatch.delenv("VLACACHE_ASSETS_DIR", raising=False)
    monkeypatch.delenv("LIBERO_CONFIG_PATH", raising=False)  # activate() sets it; the test's end puts it back
    return folder


@pytest.fixture
def libero_folder(tmp_path: Path) -> Path:
    """A folder that looks like LIBERO's assets, with one small file in each part."""
    root = tmp_path / "somewhere" / "libero"
    for name in LIBERO_FOLDERS:
        (root / name).mkdir(parents=True)
        (root / name / "thing.xml").write_text(f"<mujoco model='{name}'/>" * 50, encoding="utf-8")
    return root


@pytest.fixture
def pack(tmp_path: Path, libero_folder: Path) -> Path:
    """``libero.tar.xz`` of that folder, alone in a folder."""
    path = tmp_path / "packs" / "libero.tar.xz"
    path.parent.mkdir()
    with tarfile.open(path, "w:xz") as archive:
        archive.add(libero_folder, arcname="libero")
    return path


@pytest.fixture(scope="session")
def builtin_root() -> Path:
    """The built-in pack, in the user cache."""
    return resolve_assets("builtin", suite="libero_spatial", render="fast").root
