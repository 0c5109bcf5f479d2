"""Where a checkpoint is: a local folder, or a hub id at a pinned revision."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

#: A fingerprint reads so many blocks of 1 MiB of each weight file, evenly spaced, so that 15 GB take a second.
_SAMPLED_BLOCKS = 32
_BLOCK_BYTES = 1 << 20
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
_COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True, slots=True)
class CheckpointFolder:
    """A checkpoint on disk. ``label`` names it in records and holds no path of this machine."""

    path: Path
    label: str


def find_checkpoint(
    checkpoint: str, revision: str | None, *, patterns: Sequence[str], ignore: Sequence[str] = ()
) -> CheckpointFolder:
    """The folder of a checkpoint; one on the hub is downloaded (or found in the hub's own cache) at its revision.

    Args:
        checkpoint: a folder, or ``owner/name``. revision: commit hash; required for the hub, None for a folder.
        patterns: files that are needed, e.g. ``*.safetensors``. ignore: of these, files that are not.

    Raises:
        FileNotFoundError: no such folder, and not a hub id. ValueError: a revision that is missing, not pinned or out
            of place. RuntimeError: the hub cannot be reached, or has no such repository or revision.
    """
    folder = local_folder(checkpoint, revision)
    if folder is not None:
        return CheckpointFolder(folder, f"{folder.resolve().name}@{fingerprint(folder, patterns, ignore)}")
    assert revision is not None  # of a hub id
    return CheckpointFolder(_download(checkpoint, revision, patterns, ignore), f"{checkpoint}@{revision[:12]}")


def local_folder(checkpoint: str, revision: str | None) -> Path | None:
    """The folder that ``checkpoint`` names, or None for a hub id with its revision; nothing is downloaded.

    Raises:
        FileNotFoundError, ValueError: see ``find_checkpoint``.
    """
    folder = Path(checkpoint).expanduser()
    if folder.is_dir():
        if revision is not None:
            raise ValueError(f"model.revision: only for hub ids, got {revision!r} with the folder {folder.name}")
        return folder
    if not _HUB_ID.fullmatch(checkpoint) or checkpoint.startswith("."):
        raise FileNotFoundError(f"model.checkpoint: expected a folder or a hub id 'owner/name', got {checkpoint!r}")
    if revision is None or not _COMMIT.fullmatch(revision):
        raise ValueError(
            f"model.revision: expected the commit hash (40 hex digits) of {checkpoint} on the hub, got {revision!r}; "
            "a branch moves, so results could not be reproduced"
        )
    return None


def fingerprint(folder: Path, patterns: Sequence[str], ignore: Sequence[str] = ()) -> str:
    """12 hex digits over names, sizes and evenly spaced blocks of the files that match ``patterns``.

    Whole files are hashed up to 32 MiB each; beyond that another training changes every block, so samples tell it.
    """
    digest = hashlib.sha256()
    skipped = {file for pattern in ignore for file in folder.glob(pattern)}
    for file in sorted({file for pattern in patterns for file in folder.glob(pattern)} - skipped):
        size = file.stat().st_size
        digest.update(f"{file.relative_to(folder).as_posix()} {size}\n".encode())
        stride = max(_BLOCK_BYTES, (size - _BLOCK_BYTES) // (_SAMPLED_BLOCKS - 1))
        with file.open("rb") as opened:
            for offset in range(0, size, stride):
                opened.seek(offset)
                digest.update(opened.read(_BLOCK_BYTES))
    return digest.hexdigest()[:12]


def _download(repo_id: str, revision: str, patterns: Sequence[str], ignore: Sequence[str]) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        return Path(
            snapshot_download(
                repo_id, revision=revision, allow_patterns=list(patterns), ignore_patterns=list(ignore) or None
            )
        )
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise RuntimeError(
            f"model.checkpoint: could not get {repo_id} at {revision[:12]} from the hub ({error}); check the id, the "
            "revision and the network, or download it by hand and give the folder"
        ) from error
