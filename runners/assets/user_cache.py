"""Folders of files in a user cache: written once, atomically, and checked before every use.

A tree is built in a temporary folder beside its final place, gets a manifest, and is renamed. So a tree is complete
or absent; a process that is killed leaves only a temporary folder, which the next builder removes.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

MANIFEST = ".manifest.json"


def user_cache_dir() -> Path:
    """``$VLACACHE_CACHE_DIR``, else ``$XDG_CACHE_HOME/vlacache-bench``, else ``~/.cache/vlacache-bench``."""
    if chosen := os.environ.get("VLACACHE_CACHE_DIR"):
        return Path(chosen).expanduser()
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "vlacache-bench"


def file_sha256(path: Path) -> str:
    """Hex sha256 of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def tree_manifest(root: Path) -> dict[str, list[int | str]]:
    """``{relative posix path: [bytes, sha256]}`` of every file below ``root``, sorted, without the manifest itself."""
    files = sorted(p for p in root.rglob("*") if p.is_file() and p.name != MANIFEST)
    return {p.relative_to(root).as_posix(): [p.stat().st_size, file_sha256(p)] for p in files}


def manifest_digest(manifest: dict[str, list[int | str]]) -> str:
    """Hex sha256 over names and contents; the same on every machine for the same files."""
    lines = "".join(f"{name}\0{sha}\n" for name, (_, sha) in sorted(manifest.items()))
    return hashlib.sha256(lines.encode()).hexdigest()


def read_manifest(root: Path) -> dict[str, list[int | str]]:
    """The manifest that ``publish_tree`` wrote. Raises ``OSError`` or ``ValueError`` when it is missing or broken."""
    manifest = json.loads((root / MANIFEST).read_text(encoding="utf-8"))
    if not isinstance(manifest, dict) or not manifest:
        raise ValueError(f"{root / MANIFEST}: expected a table of files; remove the folder {root}")
    return manifest


def is_intact(root: Path, *, hashed: bool) -> bool:
    """Whether every file of the manifest is there with its size and, when ``hashed``, its sha256."""
    try:
        manifest = read_manifest(root)
        for name, (size, sha) in manifest.items():
            path = root / name
            if path.stat().st_size != size or (hashed and file_sha256(path) != sha):
                return False
    except (OSError, ValueError, TypeError):
        return False
    return True


def publish_tree(target: Path, build: Callable[[Path], None], *, hashed: bool = False) -> Path:
    """Return ``target``, building it first when it is absent or damaged.

    Args:
        target: final folder. build: writes the files into the empty folder it is given; its exceptions pass through
            and leave no tree behind. hashed: compare contents on reuse (small trees), not only sizes.
    """
    if is_intact(target, hashed=hashed):
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    with _locked(target.parent / f".{target.name}.lock"):
        if is_intact(target, hashed=hashed):  # another process built it while we waited
            return target
        prefix = f".tmp-{target.name}-"
        for leftover in target.parent.glob(f"{prefix}*"):  # of a killed builder: we hold the lock, nobody uses it
            shutil.rmtree(leftover, ignore_errors=True)
        staging = Path(tempfile.mkdtemp(prefix=prefix, dir=target.parent))
        try:
            staging.chmod(0o755)
            build(staging)
            (staging / MANIFEST).write_text(json.dumps(tree_manifest(staging), indent=0), encoding="utf-8")
            if target.exists():
                shutil.rmtree(target)
            staging.rename(target)
        except BaseException:
            shutil.rmtree(staging, ignore_errors=True)
            raise
    return target


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold an exclusive lock between processes; the kernel frees it when the process dies."""
    with path.open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield
