"""What a run would take: for ``runner.dry_run=true``."""

from __future__ import annotations

import itertools
import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runners.build import is_published
from runners.config import RunConfig
from runners.journal import read_episodes
from runners.plan import PairPlan
from runners.records import Arm
from runners.report.words import ranges
from runners.suite_names import TASK_MAX_STEPS


@dataclass(frozen=True, slots=True)
class RunCost:
    """What a run would take.

    Attributes:
        seconds: wall time of its episodes. bytes: records of its episodes and the report, without films.
        basis: where the figures come from.
    """

    seconds: float
    bytes: float
    basis: str


#: Measured on 2 cores of an AMD EPYC: model tiny_oft on libero_spatial with the built-in assets, 20 episodes of
#: 220 steps. Wall time of its episodes per env step: 151 s / 4400.
REFERENCE_STEP_S = 0.034
#: The same run's step files and rows per env step: 707 kB / 4400; its plots, report and summary once a run.
REFERENCE_STEP_BYTES = 161.0
RUN_BYTES = 415_000.0
REFERENCE_BASIS = (
    "not measured here: by the step from 20 episodes of libero_spatial with tiny_oft on 2 cores of an AMD EPYC, "
    "7.5 s and 35 kB for 220 steps; another suite, model or machine can differ severalfold"
)


def describe_plan(config: RunConfig, plan: Sequence[PairPlan], results: Path, *, device: str) -> str:
    """The episodes of a run, and an estimate of the hours and disk of those that are still to be rolled out.

    Args:
        config: of the run. plan: its pairs. results: folder whose runs may tell what an episode takes, and in which
            the run itself may have begun.
        device: name of the accelerator, or ``cpu``, as in ``RunRecord.device``.

    Raises:
        RuntimeError: the run's own records are corrupt.
    """
    arms = 1 if config.cache.name == "none" and not config.runner.self_pair else 2
    num_episodes = len(plan) * arms
    lines = [
        f"{config.suite.name}, model {config.model.name}, cache {config.cache.name}, seed {config.seed}",
        f"{len(plan)} initial states x {arms} arm{'s' if arms > 1 else ''} = "
        f"{num_episodes} episode{'s' if num_episodes > 1 else ''}",
    ]
    by_task: dict[int, list[int]] = defaultdict(list)
    for pair in plan:
        by_task[pair.task_id].append(pair.init_index)
    lines += [f"  task {task:>2}: initial states {ranges(indices, '-')}" for task, indices in by_task.items()]
    saved = 0 if config.run_id is None else num_saved(results / config.run_id, config, plan)
    missing = num_episodes - saved
    if saved > 0:
        lines.append(f"{saved} of them are saved in {results / str(config.run_id)}/, {missing} are missing")
    if missing > 0:
        lines.append(describe_cost(config, missing, results, device))
    lines.append("dry run: nothing was run or written")
    return "\n".join(lines)


def describe_cost(config: RunConfig, num_episodes: int, results: Path, device: str) -> str:
    """Hours and disk; no hours of a published model that has not run here: a tiny one's would be far off."""
    measured = measured_cost(results, config, num_episodes, device=device)
    cost = measured or reference_cost(config, num_episodes)
    films = "" if config.runner.video == "none" else " and the films"
    if measured is None and is_published(config.model.name):
        return (
            f"time not known: no episode of {config.model.name} on this suite, dtype and device in {results}/ yet; "
            f"docs/reproduce.md has GPU hours; about {_size(cost.bytes)}{films}"
        )
    return f"about {_duration(cost.seconds)} and {_size(cost.bytes)}{films} ({cost.basis})"


def num_saved(run_dir: Path, config: RunConfig, plan: Sequence[PairPlan]) -> int:
    """Episodes of ``plan`` that ended without an error in ``run_dir``; under ``reseed=task`` an open task starts over.

    Raises:
        RuntimeError: a line of ``episodes.jsonl`` is corrupt.
    """
    final = {record.key: record.status for record in read_episodes(run_dir)}
    finished = {key for key, status in final.items() if status != "error"}
    arms: dict[Arm, str] = {"baseline": "none"}
    if config.cache.name != "none" or config.runner.self_pair:
        arms["policy"] = config.cache.name
    count = 0
    for _, pairs in itertools.groupby(plan, key=lambda pair: pair.task_id):
        ended = [pair.key(arm, cache) in finished for pair in pairs for arm, cache in arms.items()]
        count += sum(ended) if config.suite.reseed == "episode" or all(ended) else 0
    return count


def reference_cost(config: RunConfig, num_episodes: int) -> RunCost:
    """From ``REFERENCE_STEP_S``, every episode at its full length, for a machine that has no records yet."""
    tasks = config.suite.tasks
    steps = num_episodes * sum(config.suite.step_limit(task) for task in tasks) / len(tasks)
    return RunCost(steps * REFERENCE_STEP_S, steps * REFERENCE_STEP_BYTES + RUN_BYTES, REFERENCE_BASIS)


def measured_cost(results: Path, config: RunConfig, num_episodes: int, *, device: str) -> RunCost | None:
    """From the finished episodes of the same suite, model, dtype and device below ``results``; None without any.

    Cost grows with the steps. An episode that was cut off at its ``max_steps`` counts with those of this run, one that
    ended before with its own, or with this run's when those are fewer.
    """
    seconds, size, steps, wanted, count = 0.0, 0, 0, 0, 0
    for run_dir, limit, rows in _comparable_runs(results, config, device):
        for row in rows:
            ours = config.suite.step_limit(row["task_id"])
            cut_off = row["num_steps"] >= (limit or TASK_MAX_STEPS[config.suite.name][row["task_id"]])
            wanted += ours if cut_off else min(row["num_steps"], ours)
            seconds += row["wall_s"]
            steps += row["num_steps"]
            count += 1
        size += _record_bytes(run_dir)
    if count == 0 or steps == 0:
        return None
    scale = wanted / steps * num_episodes / count
    basis = (
        f"from {count} episodes with this suite, model, dtype and device in {results}/: "
        f"{seconds / count:.1f} s and {steps / count:.0f} steps each"
    )
    return RunCost(seconds * scale, size * scale + RUN_BYTES, basis)


def _comparable_runs(
    results: Path, config: RunConfig, device: str
) -> Iterator[tuple[Path, int | None, list[dict[str, Any]]]]:
    """Folder, ``max_steps`` and rolled-out episodes of every run whose episodes cost what this run's do."""
    wanted = (config.suite.name, config.model.name, device)
    for run_file in sorted([*results.glob("*/run.json"), *results.glob("*/*/run.json")]):
        try:
            run = json.loads(run_file.read_text(encoding="utf-8"))
            rows = [json.loads(line) for line in (run_file.parent / "episodes.jsonl").open(encoding="utf-8")]
            same = (run["suite"], run["model"], run["device"]) == wanted and _same_dtype(run, config)
            steps = run["config"]["suite"]["max_steps"]
            limit = None if steps is None else int(steps)
            done = [row for row in rows if row["status"] != "error" and row["reused_from"] is None]
        except (OSError, ValueError, KeyError, TypeError):
            continue  # an estimate needs no broken run
        if same:
            yield run_file.parent, limit, done


def _same_dtype(run: Mapping[str, Any], config: RunConfig) -> bool:
    """``auto`` is settled only when the model is loaded, so it is compared with what the other run asked for."""
    asked = run["config"]["model"].get("dtype", "auto")
    return bool(config.model.dtype in (asked, run["dtype"]))


def _record_bytes(run_dir: Path) -> int:
    """Step files and rows of a run: what grows with its episodes, films left out."""
    files = [run_dir / "episodes.jsonl", *(run_dir / "steps").glob("*.parquet")]
    return sum(path.stat().st_size for path in files)


def _duration(seconds: float) -> str:
    if seconds >= 3600:
        return f"{seconds / 3600:.1f} hours"
    return f"{seconds / 60:.0f} minutes" if seconds >= 90 else f"{max(seconds, 1):.0f} s"


def _size(size: float) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{max(size / 1e6, 0.1):.1f} MB"
