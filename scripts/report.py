"""Rebuild the report of a run or of a sweep from its files: ``python scripts/report.py results/<run_id>``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # works without an installed package

from runners.journal import RUN_FILE
from runners.report import print_report, write_report
from runners.report.non_inferiority import MARGINS, parse_margin
from runners.report.sweep import print_sweep, write_sweep_report


def main(arguments: list[str] | None = None) -> int:
    """Returns the exit code: 0, or 1 with one line on standard error when the records cannot be reported."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="results/<run_id>, or results/<sweep_id> with one folder an arm")
    parser.add_argument(
        "--margin",
        action="append",
        metavar="POINTS:PAIRS",
        help="judge non-inferiority at POINTS on the first PAIRS pairs; may be repeated (default: 5:200 and 2:800)",
    )
    given = parser.parse_args(arguments)
    folder = given.folder
    try:
        margins = MARGINS if given.margin is None else tuple(parse_margin(text) for text in given.margin)
        if (folder / RUN_FILE).exists():
            write_report(folder, margins=margins)
            print_report(folder)
        else:
            print_sweep(write_sweep_report(folder, margins))
    except (OSError, ValueError, RuntimeError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
