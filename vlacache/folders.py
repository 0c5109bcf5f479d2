"""Folders on disk: what survives a power cut, and replacing a whole one so that a kill leaves the old or the new."""

from __future__ import annotations

import os
import shutil
from pathlib import Path


def temporary_folder(folder: Path) -> Path:
    """Name of the neighbour in which the new content of ``folder`` is made; whatever lay there is removed."""
    temporary = folder.with_name(f".{folder.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    return temporary


def replace_folder(temporary: Path, folder: Path) -> None:
    """Put ``temporary``, whole, in the place of ``folder``. The caller holds the lock that keeps other writers away.

    No call of the system replaces a folder that is not empty: the old one is moved aside first, and ``recover_folder``
    puts it back after a kill between the two moves.
    """
    recover_folder(folder)
    for file in temporary.rglob("*"):
        sync_path(file)
    sync_path(temporary)
    if folder.exists():
        os.replace(folder, _aside(folder))
    os.replace(temporary, folder)
    sync_path(folder.parent)
    shutil.rmtree(_aside(folder), ignore_errors=True)


def recover_folder(folder: Path) -> None:
    """Put back, or clean away, what a killed ``replace_folder`` moved aside; does nothing where there is nothing."""
    aside = _aside(folder)
    if not aside.exists():
        return
    if folder.exists():
        shutil.rmtree(aside)
    else:
        os.replace(aside, folder)


def _aside(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.old")


def sync_path(path: Path) -> None:
    """Make what was written to a file, or renamed and made in a folder, survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
