"""Do success rates rank policies as others do: with the cache against without it, or simulated against real ones?

    python scripts/rank_policies.py results/model_a results/model_b results/model_c
    python scripts/rank_policies.py results/model_a results/model_b results/model_c --real real.json

Each run is of another model, all on the same episodes. SIMPLER's two measures, per row of its tables (per task where it
has none): MMRV, 0 at best, and Pearson's correlation, 1 at best. ``real.json`` has a rate for each run and row:
{"model_a": {"move near": 0.63}, ...}; it is compared with the runs' baseline.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # works without an installed package

from runners.identity import differences, flatten
from runners.report import build_summary, load_run
from runners.report.markdown import table
from runners.report.ranking import mean_maximum_rank_violation, pearson_correlation

#: What all runs must have in common, so that their rates are of the same episodes.
SHARED = ("suite", "placement", "reseed", "episode_rules", "assets_provenance")
Rates = Mapping[str, Mapping[str, float]]


def main(arguments: list[str] | None = None) -> int:
    """Returns the exit code: 0, or 1 with one line on standard error."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path, help="results/<run_id>, at least two")
    parser.add_argument("--real", type=Path, help="JSON with the rates of real robots")
    given = parser.parse_args(arguments)
    try:
        print(compare(given.runs, given.real))
    except (OSError, ValueError, RuntimeError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def compare(runs: Sequence[Path], real: Path | None) -> str:
    """A Markdown table, one line for each row that every run has.

    Raises:
        ValueError: fewer than two runs, runs of different episodes or without a row in common, a run without a cache
            (where ``real`` is None), or a rate that ``real`` lacks.
    """
    absent = [str(run) for run in runs if not run.is_dir()]
    if absent:
        raise ValueError(f"expected folders of runs, there is no {', '.join(absent)}")
    if len(runs) < 2:
        raise ValueError(f"expected at least two runs to rank, got {len(runs)}")
    summaries = {run.name: build_summary(load_run(run, traces=False)) for run in runs}
    _refuse_mixtures(summaries)
    baseline: Rates = {name: rates_of(summary, "baseline") for name, summary in summaries.items()}
    if real is None:
        header, reference = "with the cache against without", baseline
        idle = [name for name, summary in summaries.items() if summary["mirrored"]]
        if idle:
            raise ValueError(f"expected runs with a cache beside none, got {', '.join(idle)} with one arm; use --real")
        tested: Rates = {name: rates_of(summary, "policy") for name, summary in summaries.items()}
    else:
        header, reference = "simulated against real", json.loads(real.read_text(encoding="utf-8"))
        tested = baseline
        if unknown := [name for name in summaries if name not in reference]:
            raise ValueError(f"expected rates of {', '.join(unknown)} in {real.name}, it has {', '.join(reference)}")
    lines = []
    for row in next(iter(tested.values())):
        if all(row in rates for rates in tested.values()):
            sim, told = ([_rate(rates, name, row) for name in summaries] for rates in (tested, reference))
            lines.append(
                [row, f"{mean_maximum_rank_violation(sim, told):.3f}", f"{pearson_correlation(sim, told):.3f}"]
            )
    if not lines:
        partly = sorted({row["name"] for summary in summaries.values() for row in summary["families"] or []})
        raise ValueError(
            "expected a row that every run has played completely, there is none"
            + (f"; in part: {', '.join(partly)}" if partly else "")
        )
    return table([f"{len(runs)} policies, {header}", "MMRV", "Pearson"], lines)


def rates_of(summary: Mapping[str, Any], arm: str) -> dict[str, float]:
    """Success of one arm by row: SIMPLER's complete rows, elsewhere the tasks that have an episode."""
    if summary["families"]:
        return {row["name"]: row["success_rate"][arm] for row in summary["families"] if row["complete"]}
    return {task["name"]: task["success_rate"][arm] for task in summary["tasks"] if task["num_episodes"] > 0}


def _rate(rates: Rates, run: str, row: str) -> float:
    try:
        return float(rates[run][row])
    except (KeyError, TypeError) as error:
        raise ValueError(f"expected a rate of {run} for {row!r}, found none in the file of --real") from error


def _refuse_mixtures(summaries: Mapping[str, Mapping[str, Any]]) -> None:
    shared = {name: flatten({key: summary[key] for key in SHARED}) for name, summary in summaries.items()}
    first, *others = shared
    for name in others:
        if found := differences(shared[first], shared[name]):
            raise ValueError(f"expected runs of the same episodes; {first} and {name} differ: {'; '.join(found)}")


if __name__ == "__main__":
    sys.exit(main())
