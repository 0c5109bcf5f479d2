"""What can be refused before the model is loaded: a folder that cannot be written, another run's folder or baseline."""

from __future__ import annotations

import contextlib
import errno
import tempfile
from pathlib import Path

from runners.growth import check_same_run
from runners.journal import RUN_FILE, read_run
from runners.lock import RunLock
from runners.records import RunRecord
from runners.sharing import check_same_baseline
from runners.store import LOCK_FILE

#: Facts of a ``RunRecord`` that only the loaded model knows, as keys of ``run_identity``.
MODEL_KEYS: tuple[str, ...] = ("recorded.weights", "recorded.checkpoint", "recorded.dtype")


def check_before_loading(run_dir: Path, shared_baseline: Path | None, known: RunRecord) -> None:
    """Refuse now what ``RunStore`` and ``SharedBaseline`` would refuse later, and leave nothing on the disk.

    Args:
        run_dir: the run's folder, or ``results`` when the run has no id yet. shared_baseline: run folder, or None.
        known: the run's record without the facts of ``MODEL_KEYS``.

    Raises:
        ValueError: the folder holds another run, or the shared baseline is another one.
        RuntimeError: another process writes into the folder. OSError: the folder cannot be written.
    """
    if (run_dir / LOCK_FILE).exists():
        RunLock(run_dir / LOCK_FILE).release(forget=True)
    check_continued(run_dir, known)
    if shared_baseline is not None:
        check_same_baseline(shared_baseline, known, ignore=MODEL_KEYS)
    check_writable(run_dir)


def check_continued(run_dir: Path, known: RunRecord) -> None:
    """Raise ``ValueError`` when ``run_dir`` holds a run that ``known`` may not continue, be it larger. Only reads."""
    if (run_dir / RUN_FILE).exists():
        check_same_run(run_dir, read_run(run_dir), known, ignore=MODEL_KEYS)


def check_writable(folder: Path) -> None:
    """Write a file into ``folder`` and remove it again, with the folders that had to be made for it.

    Raises:
        OSError: it cannot be written.
    """
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"0")
    finally:
        for path in made:
            with contextlib.suppress(OSError):
                path.rmdir()


def describe_os_error(error: OSError) -> str:
    """One line: which file, what is wrong with it, what to do."""
    where = f"{error.filename}: " if error.filename is not None else ""
    advice = _ADVICE.get(error.errno or 0, "look at that path, then give the same command again")
    return f"{where}{error.strerror or error}; {advice}"


_ADVICE: dict[int, str] = {
    errno.ENOSPC: "free some space; the same command continues the run from its last saved episode",
    errno.EDQUOT: "free some space; the same command continues the run from its last saved episode",
    errno.EACCES: "make it writable, or start from another folder (results/ is made where the command is given)",
    errno.EROFS: "start from a folder that can be written (results/ is made where the command is given)",
    errno.ENOTDIR: "a file stands where a folder is needed: move it away",
    errno.EEXIST: "a file stands where a folder is needed: move it away",
    errno.ENAMETOOLONG: "choose a shorter name",
}
