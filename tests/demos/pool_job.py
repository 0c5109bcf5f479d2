"""Work for two processes, run as a command by ``test_pool.py``: each notes that it began, then that it went on."""

from __future__ import annotations

import signal
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from runners.demos.pool import run_in_processes


def begin(folder: Path) -> None:
    """Nothing to prepare."""
    folder.mkdir(exist_ok=True)


def work(folder: Path, number: int) -> int:
    """Touch a file every 50 ms for ten minutes."""
    for _ in range(12_000):
        (folder / f"{number}").touch()
        time.sleep(0.05)
    return number


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # as in a terminal; a background job ignores it
    root = Path(sys.argv[1])
    for _ in run_in_processes(2, begin, (root,), work, [(root, number) for number in range(4)]):
        pass
