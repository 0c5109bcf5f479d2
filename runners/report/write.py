"""Write everything a run's report consists of into the run's own folder, each file atomically."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from runners.files import write_text_atomic
from runners.report.controls import add_controls, find_controls
from runners.report.load import load_run
from runners.report.markdown import format_markdown
from runners.report.non_inferiority import MARGINS, Margin
from runners.report.pairs import baseline_outcomes, pair_episodes
from runners.report.summary import build_summary

PLOTS = "plots"


def write_report(
    run_dir: str | Path, controls: str | Path | None = None, margins: Sequence[Margin] = MARGINS
) -> dict[str, Any]:
    """Write ``summary.json``, ``report.md`` and ``plots/*.png`` into ``run_dir``; returns the summary.

    Args:
        run_dir: folder of the run. controls: folder in which runs of ``model=blind`` and ``model=replay`` are looked
            for; None for the folder that ``run_dir`` is in. margins: on which non-inferiority is judged.

    The same records give the same bytes: nothing here reads a clock or a random source without a fixed seed.

    Raises:
        FileNotFoundError, ValueError: the records are missing, corrupt or mixed (see ``load_run``).
    """
    from runners.report.plots import write_plots  # matplotlib only when something is drawn

    root = Path(run_dir)
    frames = load_run(root)
    summary = build_summary(frames, margins)
    outcomes = baseline_outcomes(pair_episodes(frames.episodes, mirrored=summary["mirrored"]))
    beside = root.absolute().parent if controls is None else Path(controls)
    add_controls(summary, find_controls(beside, summary, outcomes), outcomes, frames.run["config"])
    write_text_atomic(root / "summary.json", to_json(summary))
    plots = write_plots(frames, summary, root / PLOTS)
    write_text_atomic(root / "report.md", format_markdown(summary, frames.run, [f"{PLOTS}/{name}" for name in plots]))
    return summary


def to_json(document: Any) -> str:
    """Indented JSON; a NaN or infinity raises instead of making a file that is not JSON."""
    return json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
