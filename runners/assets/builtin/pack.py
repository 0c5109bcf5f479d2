"""From the table to a folder of files, the same bytes on every machine."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from runners.assets.builtin.arenas import TABLE_ARENA_PATH, table_arena_xml
from runners.assets.builtin.fixtures import FIXTURES
from runners.assets.builtin.mjcf import object_xml
from runners.assets.builtin.objects import MOVABLE
from runners.assets.builtin.textures import TEXTURES, png
from runners.assets.user_cache import manifest_digest, publish_tree, user_cache_dir

#: For people: raised when looks or physics change. The digest of the files tells every change.
GENERATOR_VERSION = "1"

#: Suites whose every object, fixture and arena is in the table.
COVERED_SUITES: tuple[str, ...] = ("libero_spatial",)


def builtin_files() -> dict[str, bytes]:
    """Path below the assets folder -> contents."""
    files = {f"textures/{name}.png": png(draw()) for name, draw in TEXTURES.items()}
    files[TABLE_ARENA_PATH] = table_arena_xml(_texture_paths(TABLE_ARENA_PATH)).encode()
    for row in (*MOVABLE, *FIXTURES):
        files[row.path] = object_xml(row, _texture_paths(row.path)).encode()
    return files


def files_digest(files: dict[str, bytes]) -> str:
    """Hex sha256 over names and contents."""
    return manifest_digest({name: [len(data), hashlib.sha256(data).hexdigest()] for name, data in files.items()})


def builtin_pack(suite: str) -> tuple[Path, str]:
    """Return (folder, hex digest), generating the pack into the user cache when it is absent or damaged.

    Raises:
        ValueError: the pack does not cover the suite.
    """
    if suite not in COVERED_SUITES:
        raise ValueError(
            f"assets=builtin: the built-in pack covers {', '.join(COVERED_SUITES)}, not {suite}; "
            "use assets=auto (with VLACACHE_ASSETS_DIR, or LIBERO's download) or assets=<folder>"
        )
    files = builtin_files()
    digest = files_digest(files)
    folder = publish_tree(user_cache_dir() / "builtin" / digest[:16], lambda target: _write(files, target), hashed=True)
    return folder, digest


def _write(files: dict[str, bytes], target: Path) -> None:
    for name, data in files.items():
        path = target / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def _texture_paths(xml_path: str) -> dict[str, str]:
    up = os.path.dirname(xml_path)
    return {name: os.path.relpath(f"textures/{name}.png", up).replace(os.sep, "/") for name in TEXTURES}
