"""One writer for a folder: an exclusive lock on a file in it."""

from __future__ import annotations

import fcntl
import json
import os
from pathlib import Path
from typing import Any


class FolderBusyError(RuntimeError):
    """Another process writes into the folder."""


class FolderLock:
    """Exclusive ``flock`` on a file that also says, in JSON, who holds it.

    The kernel frees the lock of a killed process; what it wrote stays readable for the next one.

    Args:
        path: the lock file; made if need be. advice: what to do when it is taken, after "wait for it, stop it, or".

    Raises:
        FolderBusyError: another process holds it.
    """

    def __init__(self, path: Path, advice: str = "use another folder") -> None:
        self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = self._read().get("pid", "unknown")
            os.close(self._file)
            raise FolderBusyError(
                f"{path.parent} is being written by process {holder}: wait for it, stop it, or {advice}"
            ) from error
        self._take_over(self._read())
        self._write()

    def release(self, *, forget: bool = True) -> None:
        """Free the lock; ``forget`` drops the process id from the file. Once is enough, twice does no harm."""
        if self._file < 0:
            return
        if forget:
            self._write(pid=None)
        os.close(self._file)
        self._file = -1

    def _take_over(self, found: dict[str, Any]) -> None:
        """Called once with what the last holder left in the file, before it is written anew."""

    def _content(self) -> dict[str, Any]:
        """What the file holds besides the process id."""
        return {}

    def _read(self) -> dict[str, Any]:
        try:
            data = json.loads(os.pread(self._file, 1 << 20, 0) or b"{}")
        except ValueError:  # killed inside a write
            return {}
        return data if isinstance(data, dict) else {}

    def _write(self, pid: int | None = -1) -> None:
        content = json.dumps({"pid": os.getpid() if pid == -1 else pid, **self._content()}).encode()
        os.pwrite(self._file, content, 0)
        os.ftruncate(self._file, len(content))
