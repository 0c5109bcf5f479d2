"""Writing files so that a kill or a power cut leaves the old content or the new one, never half of it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vlacache.folders import sync_path

TEMPORARY_SUFFIX = ".tmp"


@contextmanager
def atomic_path(target: Path) -> Iterator[Path]:
    """Yield a temporary neighbour of ``target``; on success fsync it, rename it to ``target``, fsync the folder.

    The caller holds whatever lock keeps a second writer away; the temporary name is fixed. The extension of
    ``target`` stays last, for writers that choose a format by it.
    """
    temporary = target.with_name(f".{target.stem}{TEMPORARY_SUFFIX}{target.suffix}")
    try:
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)
    sync_path(target.parent)


def write_text_atomic(target: Path, text: str) -> None:
    """Write UTF-8 text by way of ``atomic_path``."""
    with atomic_path(target) as temporary:
        temporary.write_text(text, encoding="utf-8")


def remove_leftovers(folder: Path) -> list[Path]:
    """Delete the temporary files that a killed writer left in ``folder``; return what was deleted."""
    leftovers = sorted(p for p in folder.glob(f".*{TEMPORARY_SUFFIX}*") if p.is_file())
    for path in leftovers:
        path.unlink()
    return leftovers
