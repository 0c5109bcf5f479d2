"""Asset folders and packs (``libero.tar.xz``) that the user names."""

from __future__ import annotations

import lzma
import tarfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
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
    "maniskill.tar.xz": "9d88332ff05c5f5bc4688611eb0e6b992806d5cb58cef8f9d81fb63310a676bd",
}


@dataclass(frozen=True, slots=True)
class PackKind:
    """What the assets of one simulator look like on a disk.

    Attributes:
        what: for messages. pack: file name of the archive. folder: the archive's only top-level folder.
        contents: folders that are below ``folder`` at least.
    """

    what: str
    pack: str
    folder: str
    contents: tuple[str, ...]

    def is_folder(self, root: Path) -> bool:
        """Whether ``root`` looks like these assets."""
        return all((root / name).is_dir() for name in self.contents)


LIBERO_PACK = PackKind(
    what="LIBERO",
    pack="libero.tar.xz",
    folder="libero",
    contents=("articulated_objects", "scenes", "stable_scanned_objects"),
)


@dataclass(frozen=True, slots=True)
class LocatedAssets:
    """An assets folder ready for use. ``digest`` is a hex sha256, ``detail`` a base name."""

    root: Path
    source: Literal["shared-pack", "folder"]
    digest: str
    detail: str


def locate(place: Path, *, named_by: str, kind: PackKind = LIBERO_PACK) -> LocatedAssets:
    """Find assets at ``place``: the folder itself, its ``libero/``, or a pack, which is unpacked once.

    Args:
        place: a folder or a pack file. named_by: where the user wrote it, for error messages.
        kind: of which simulator.

    Raises:
        ValueError: nothing usable there. RuntimeError: the pack is damaged.
    """
    place = place.expanduser()
    if place.is_file():
        return unpack(place, kind)
    if not place.is_dir():
        raise ValueError(f"{named_by}: no folder or pack at {place}; name a {kind.what} assets folder or {kind.pack}")
    for root in (place, place / kind.folder):
        if kind.is_folder(root):
            return LocatedAssets(root.resolve(), "folder", manifest_digest(tree_manifest(root)), root.resolve().name)
    if (place / kind.pack).is_file():
        return unpack(place / kind.pack, kind)
    raise ValueError(
        f"{named_by}: {place} holds no {kind.what} assets; expected the folders {', '.join(kind.contents)} in it "
        f"or in its {kind.folder}/, or a file {kind.pack}"
    )


def is_libero_folder(root: Path) -> bool:
    """Whether ``root`` looks like LIBERO's ``assets`` folder."""
    return LIBERO_PACK.is_folder(root)


def unpack(pack: Path, kind: PackKind = LIBERO_PACK) -> LocatedAssets:
    """Unpack once into the user cache, under the pack's sha256.

    Raises:
        RuntimeError: the archive is truncated, damaged, unsafe, or holds no folder of ``kind``. Nothing is kept.
    """
    digest = file_sha256(pack)
    target = publish_tree(user_cache_dir() / "packs" / digest[:16], lambda folder: _extract(pack, folder, kind))
    known = KNOWN_PACKS.get(pack.name) == digest
    return LocatedAssets(target / kind.folder, "shared-pack" if known else "folder", digest, pack.name)


def _extract(pack: Path, folder: Path, kind: PackKind) -> None:
    try:
        with tarfile.open(pack, "r:*") as archive:
            _extract_safely(archive, folder)
            while archive.fileobj is not None and archive.fileobj.read(1 << 20):
                pass  # to the end: the compressor's checksum and its end mark come after the last file
    except (tarfile.TarError, lzma.LZMAError, EOFError, OSError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0].rstrip(":")
        raise RuntimeError(f"pack {pack.name}: cannot be unpacked ({reason}); copy or download it again") from error
    if not kind.is_folder(folder / kind.folder):
        raise RuntimeError(
            f"pack {pack.name}: expected a folder {kind.folder}/ with {', '.join(kind.contents)} in it; "
            "use another pack"
        )


def _extract_safely(archive: tarfile.TarFile, folder: Path) -> None:
    """Everything, if nothing of it leads out of ``folder``.

    Debian 12 has Python 3.11.2, without tarfile's filters; there only files and folders are taken, no links.
    """
    if hasattr(tarfile, "data_filter"):
        archive.extractall(folder, filter="data")
        return
    members = archive.getmembers()
    for member in members:
        path = PurePosixPath(member.name)
        if path.is_absolute() or ".." in path.parts or not (member.isfile() or member.isdir()):
            raise tarfile.TarError(f"{member.name} is no file or folder inside the pack")
        member.mode = 0o755 if member.isdir() else 0o644
    archive.extractall(folder, members)


def stored_digest(root: Path) -> str:
    """Digest of a tree made by ``publish_tree``, from its manifest."""
    return manifest_digest(read_manifest(root))
