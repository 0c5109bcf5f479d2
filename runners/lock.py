"""One writer for a run directory, and what it was doing when it died."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from vlacache.lock import FolderLock


class RunLock(FolderLock):
    """A ``FolderLock`` that also says which episodes are in flight.

    The marks of a killed process stay readable for the next one; killed inside a write they are lost, and attempts
    then count from the rows alone.
    """

    def __init__(self, path: Path, advice: str = "use another run_id") -> None:
        self.in_flight: dict[str, int] = {}
        super().__init__(path, advice)

    def mark(self, slug: str, attempt: int) -> None:
        """An episode begins."""
        self.in_flight[slug] = attempt
        self._write()

    def unmark(self, slug: str) -> None:
        """Its row is on the disk."""
        self.in_flight.pop(slug, None)
        self._write()

    def _take_over(self, found: dict[str, Any]) -> None:
        in_flight = found.get("in_flight", {})
        self.in_flight = in_flight if isinstance(in_flight, dict) else {}

    def _content(self) -> dict[str, Any]:
        return {"in_flight": self.in_flight}
