"""A run of the toy suite as its own process, slow enough to be killed: ``python -m tests.runner.toy_job <run_dir>``."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.runner.helpers import ChunkPolicy, ToyRun


def main() -> None:
    ToyRun(Path(sys.argv[1]), episodes_per_task=3, policy=ChunkPolicy(reuse=0.5, sleep_s=0.01))()


if __name__ == "__main__":
    main()
