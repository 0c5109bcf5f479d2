"""Asset folders and packs (``libero.tar.xz``) that the user names."""

from __future__ import annotations

import lzma
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from runners.assets.user_cache import (
    file_sha256,
    manifest_digest,
    publish_tree,
    read_manifest,
    tree_manifest,
    user_cache_dir,
)

#: Packs whose contents were looked at, by sha256. Another pack is used too, but its results say ``folder``.
KNOWN_PACKS: dict[str, str] = {
    "libero.tar.xz": "6dc57889561a4995b9a1acd4ece475a8dd887084902931f9156913221efd8a5d",
}

PACK_NAME = "libero.tar.xz"

#: A LIBERO ``assets`` folder has at least these.
_LIBERO_FOLDERS = ("articulated_objects", "scenes", "stable_scanned_objects")


@dataclass(frozen=True, slots=True)
class LocatedAssets:
    """An assets folder ready for use. ``digest`` is a hex sha256, ``detail`` a base name."""

    root: Path
    source: Literal["shared-pack", "folder"]
    digest: str
    detail: str


def locate(place: Path, *, named_by: str) -> LocatedAssets:
    """Find the LIBERO assets at ``place``: the folder itself, its ``libero/``, or a pack, which is unpacked once.

    Args:
        place: a folder or a pack file. named_by: where the user wrote it, for error messages.

    Raises:
        ValueError: nothing usable there. RuntimeError: the pack is damaged.
    """
    place = place.expanduser()
    if place.is_file():
        return unpack(place)
    if not place.is_dir():
        raise ValueError(f"{named_by}: no folder or pack at {place}; name a LIBERO assets folder or {PACK_NAME}")
    for root in (place, place / "libero"):
        if is_libero_folder(root):
            return LocatedAssets(root.resolve(), "folder", manifest_digest(tree_manifest(root)), root.resolve().name)
    if (place / PACK_NAME).is_file():
        return unpack(place / PACK_NAME)
    raise ValueError(
        f"{named_by}: {place} holds no LIBERO assets; expected the folders {', '.join(_LIBERO_FOLDERS)} in it "
        f"or in its libero/, or a file {PACK_NAME}"
    )


def is_libero_folder(root: Path) -> bool:
    """Whether ``root`` looks like LIBERO's ``assets`` folder."""
    return all((root / name).is_dir() for name in _LIBERO_FOLDERS)


def unpack(pack: Path) -> LocatedAssets:
    """Unpack once into the user cache, under the pack's sha256.

    Raises:
        RuntimeError: the archive is truncated, damaged, unsafe, or holds no ``libero/`` folder. Nothing is kept.
    """
    digest = file_sha256(pack)
    target = publish_tree(user_cache_dir() / "packs" / digest[:16], lambda folder: _extract(pack, folder))
    known = KNOWN_PACKS.get(pack.name) == digest
    return LocatedAssets(target / "libero", "shared-pack" if known else "folder", digest, pack.name)


def _extract(pack: Path, folder: Path) -> None:
    if not hasattr(tarfile, "data_filter"):
        raise RuntimeError("this Python cannot unpack archives safely; expected 3.11.4 or newer")
    try:
        with tarfile.open(pack, "r:*") as archive:
            archive.extractall(folder, filter="data")
            while archive.fileobj is not None and archive.fileobj.read(1 << 20):
                pass  # to the end: the compressor's checksum and its end mark come after the last file
    except (tarfile.TarError, lzma.LZMAError, EOFError, OSError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0].rstrip(":")
        raise RuntimeError(f"pack {pack.name}: cannot be unpacked ({reason}); copy or download it again") from error
    if not is_libero_folder(folder / "libero"):
        raise RuntimeError(
            f"pack {pack.name}: expected a folder libero/ with {', '.join(_LIBERO_FOLDERS)} in it; use another pack"
        )


def stored_digest(root: Path) -> str:
    """Digest of a tree made by ``publish_tree``, from its manifest."""
    return manifest_digest(read_manifest(root))
