"""A run that is made larger: more initial states of each task after the same first ones, everything else as it was.

What is stored stays: no row is changed, pairs keep their places, and so which arm runs first and which baselines are
timed again. No torch, no simulator.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from runners.identity import GROWING_KEY, differences, flatten, is_larger, run_identity, without
from runners.records import RunRecord

SUMMARY_FILE = "summary.json"


def check_same_run(run_dir: Path, stored: RunRecord, run: RunRecord, ignore: tuple[str, ...] = ()) -> None:
    """Raise ``ValueError`` when ``run`` may not continue ``stored``, be it as large as before or larger.

    Args:
        run_dir: of ``stored``. run: what is about to be run. ignore: identity keys that are not known yet.
    """
    ignore = (*ignore, GROWING_KEY) if is_larger(stored, run) else ignore
    differing = differences(without(run_identity(stored), ignore), without(run_identity(run), ignore))
    if differing:
        raise ValueError(
            f"{run_dir} holds a run with another configuration (stored != given):\n  "
            + "\n  ".join(differing)
            + _advise_size(stored, run)
            + "\nUse another run_id, or go back to the stored values to continue this run."
        )


def _advise_size(stored: RunRecord, run: RunRecord) -> str:
    """Why another number of episodes does not continue the run, where that is what differs."""
    counts = [flatten(record.config).get(GROWING_KEY) for record in (stored, run)]
    if counts[0] == counts[1] or is_larger(stored, run):
        return ""
    if run.config["suite"].get("reseed") == "task":
        return f"\nUnder suite.reseed=task a run keeps its {GROWING_KEY}: an episode depends on those before it."
    return f"\nA run can be continued with a larger {GROWING_KEY}, never with a smaller one."


def grow(stored: RunRecord, run: RunRecord) -> RunRecord:
    """``stored`` with the size of ``run``, which ``check_same_run`` has let pass; its earlier size in ``grown``."""
    suite = {**stored.config["suite"], "episodes_per_task": run.config["suite"]["episodes_per_task"]}
    step = {
        "episodes_per_task": stored.config["suite"]["episodes_per_task"],
        "git_commit": run.git_commit,
        "at": run.created_at,
    }
    return replace(
        stored,
        config={**stored.config, "suite": suite},
        config_hash=run.config_hash,
        grown=[*stored.grown, step],
    )
