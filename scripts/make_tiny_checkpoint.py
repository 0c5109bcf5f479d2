"""Write a tiny twin of a published checkpoint: its file formats, key names and sharding, with untrained weights.

    python scripts/make_tiny_checkpoint.py --model openvla_oft --output results/twin
    python run.py model=openvla_oft model.checkpoint=results/twin suite=libero_spatial

Seconds to run and a few MB: for trying the loaders, and for tests without a download.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from pathlib import Path

from vlacache.bench.command import one_line_errors
from vlacache.models.cogact.twin import write_cogact_twin
from vlacache.models.twin import write_openvla_twin

#: Model name -> writer of its twin, called with the folder and ``seed``.
WRITERS: dict[str, Callable[..., None]] = {
    name: partial(write_openvla_twin, name=name) for name in ("openvla", "openvla_oft")
} | {"cogact": write_cogact_twin}


def main() -> None:
    """Parse the command line and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, choices=sorted(WRITERS))
    parser.add_argument("--output", required=True, type=Path, help="folder: new, empty, or an earlier twin's")
    parser.add_argument("--seed", type=int, default=0, help="of the weights")
    options = parser.parse_args()
    with one_line_errors():
        WRITERS[options.model](options.output, seed=options.seed)
    size = sum(file.stat().st_size for file in options.output.rglob("*") if file.is_file())
    print(f"{options.output}: {options.model} twin, {size / 2**20:.1f} MiB, untrained")


if __name__ == "__main__":
    main()
