"""Pack demos into files of at most 60 MiB, to train on a machine without simulator and pyarrow.

python scripts/pack_demos.py demos/spatial_official demos/spatial_wide --output packs
python scripts/pack_demos.py demos/spatial_official --output packs --image-size 224 --quality 85   (a third of it)
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

if __package__ in (None, ""):
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from runners.argv import finite, integer
from vlacache.train.packing import recompress, write_packs
from vlacache.train.reader import read_demos


def main() -> int:
    """Read, shrink if asked, write: 0 done, 2 bad input, 130 interrupted."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("demos", type=Path, nargs="+")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--views", nargs="+", default=["agentview", "wrist"])
    parser.add_argument("--max-mib", type=finite(0, above=True), default=60.0)
    parser.add_argument("--image-size", type=integer(1), help="resize the pictures, as the model would")
    parser.add_argument("--quality", type=integer(1, 100), default=90, help="JPEG quality of resized pictures")
    given = parser.parse_args()
    try:
        print(pack(given))
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"stopped: the packs in {given.output} are not complete, delete them", file=sys.stderr)
        return 130
    return 0


def pack(given: argparse.Namespace) -> str:
    """Do it; returns what was written, in words."""
    demos = read_demos(given.demos, given.views)
    if given.image_size is not None:
        demos = recompress(demos, given.image_size, given.quality)
    paths = write_packs(demos, given.output, max_bytes=int(given.max_mib * 2**20))
    size = sum(path.stat().st_size for path in paths) / 2**20
    return (
        f"{demos.num_episodes} demos, {demos.num_frames} frames: {len(paths)} files, {size:.1f} MiB in {given.output}"
    )


if __name__ == "__main__":
    sys.exit(main())
