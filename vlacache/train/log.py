"""One JSON object a line; a continued run first drops the lines that its state does not know yet."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, Protocol


class MetricLogger(Protocol):
    """Takes the numbers of an update."""

    def log(self, step: int, values: dict[str, Any]) -> None:
        """Numbers after ``step`` updates."""
        ...


class JsonlLogger:
    """Appends to a file."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def rewind(self, step: int, last_eval: int) -> None:
        """Forget what was logged after ``step``, evaluations after ``last_eval``, and half a last line."""
        if not self._path.is_file():
            return
        kept = [line for line in self._path.read_text().splitlines() if _is_known(line, step, last_eval)]
        temporary = self._path.with_suffix(".tmp")
        temporary.write_text("".join(f"{line}\n" for line in kept))
        os.replace(temporary, self._path)

    def log(self, step: int, values: dict[str, Any]) -> None:
        """Append one line."""
        with self._path.open("a") as file:
            file.write(json.dumps({"step": step, **values}) + "\n")


def _is_known(line: str, step: int, last_eval: int) -> bool:
    try:
        values = json.loads(line)
    except json.JSONDecodeError:
        return False
    return bool(values["step"] <= (last_eval if "closed_loop" in values else step))
