"""One writer for a run directory, and what it was doing when it died."""

from __future__ import annotations

import fcntl
import json
import os
from pathlib import Path
from typing import Any


class RunLock:
    """Exclusive ``flock`` on a file that also says who holds it and which episodes are in flight.

    The kernel frees the lock of a killed process; its in-flight marks stay readable for the next one.
    """

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = self._read().get("pid", "unknown")
            os.close(self._file)
            raise RuntimeError(
                f"{path.parent} is being written by process {holder}: wait for it, stop it, or use another run_id"
            ) from error
        in_flight = self._read().get("in_flight", {})
        self.in_flight: dict[str, int] = in_flight if isinstance(in_flight, dict) else {}
        self._write()

    def mark(self, slug: str, attempt: int) -> None:
        """An episode begins."""
        self.in_flight[slug] = attempt
        self._write()

    def unmark(self, slug: str) -> None:
        """Its row is on the disk."""
        self.in_flight.pop(slug, None)
        self._write()

    def release(self, *, forget: bool) -> None:
        """Free the lock; ``forget`` drops the process id, marks stay."""
        if forget:
            self._write(pid=None)
        os.close(self._file)

    def _read(self) -> dict[str, Any]:
        try:
            data = json.loads(os.pread(self._file, 1 << 20, 0) or b"{}")
        except ValueError:  # killed inside a write: the marks are lost, attempts then count from the rows alone
            return {}
        return data if isinstance(data, dict) else {}

    def _write(self, pid: int | None = -1) -> None:
        content = json.dumps({"pid": os.getpid() if pid == -1 else pid, "in_flight": self.in_flight}).encode()
        os.pwrite(self._file, content, 0)
        os.ftruncate(self._file, len(content))
