"""Do objects settle with one assets folder where they settle with another? Prints a table; can draw all tasks.

python scripts/check_assets.py --reference auto          # built-in pack against VLACACHE_ASSETS_DIR
python scripts/check_assets.py --picture tasks.png       # agentview and wrist of every task, built-in pack
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
from PIL import Image

from runners.assets import resolve_assets
from runners.assets.settle import SettleRow, compare_task, settle_task
from runners.envs.libero import CAMERAS, make_libero_env


def main() -> None:
    """Parse the command line, then measure or draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--suite", default="libero_spatial")
    parser.add_argument("--tasks", type=int, nargs="+", default=list(range(10)), help="(default: all ten)")
    parser.add_argument("--assets", default="builtin", help="what to check (default: %(default)s)")
    parser.add_argument("--reference", default="auto", help="what to compare with (default: %(default)s)")
    parser.add_argument("--states", type=int, help="only the first N initial states (default: all)")
    parser.add_argument(
        "--jitter-mm", type=float, default=0.0, help="shift the starts of the checked side by normal noise of this size"
    )
    parser.add_argument("--picture", type=Path, help="draw the tasks into this PNG instead of comparing")
    args = parser.parse_args()
    if args.picture is not None:
        draw(args.suite, args.tasks, args.assets, args.picture)
        return
    print_table(compare(args.suite, args.tasks, args.assets, args.reference, args.states, args.jitter_mm / 1e3))


def compare(
    suite: str, tasks: list[int], assets: str, reference: str, num_states: int | None, jitter: float
) -> list[SettleRow]:
    """Settle every task with both folders; ``jitter`` in metres, for the checked side."""
    candidate_root = resolve_assets(assets, suite=suite, render="fast").root
    reference_root = resolve_assets(reference, suite=suite, render="fast").root
    indices = None if num_states is None else range(num_states)
    return [
        compare_task(
            settle_task(candidate_root, suite, t, indices, jitter=jitter),
            settle_task(reference_root, suite, t, indices),
        )
        for t in tasks
    ]


def print_table(rows: list[SettleRow]) -> None:
    """Markdown, one row a task and one for all."""
    print(
        "| task | states | within 5 mm | distance p95 | longest slide | slide of reference | deepest contact | lost |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for row in rows:
        print(
            f"| {row.task_id} | {row.num_states} | {row.same} | {row.distance_p95:.1f} mm | {row.slide:.1f} mm "
            f"| {row.slide_reference:.1f} mm | {row.penetration:.2f} mm | {row.lost} |"
        )
    states, same = sum(r.num_states for r in rows), sum(r.same for r in rows)
    print(
        f"| all | {states} | {same} ({same / states:.1%}) | | {max(r.slide for r in rows):.1f} mm "
        f"| {max(r.slide_reference for r in rows):.1f} mm | {max(r.penetration for r in rows):.2f} mm "
        f"| {sum(r.lost for r in rows)} |"
    )


def draw(suite: str, tasks: list[int], assets: str, path: Path) -> None:
    """Initial state 0 of each task after settling, both cameras, five tasks a row."""
    resolved = resolve_assets(assets, suite=suite, render="fast")
    cells = []
    for task in tasks:
        env = make_libero_env(suite, task, assets=resolved)
        try:
            env.reset(init_index=0, seed=0)
            images = env.observe(tuple(CAMERAS)).images
        finally:
            env.close()
        cells.append(np.vstack([images[name] for name in CAMERAS]))
    blank = np.full_like(cells[0], 255)
    cells += [blank] * (-len(cells) % 5)
    sheet = Image.fromarray(np.vstack([np.hstack(cells[i : i + 5]) for i in range(0, len(cells), 5)]))
    sheet.quantize(256).save(path, optimize=True)  # a third of the bytes


if __name__ == "__main__":
    main()
