"""What a run would take: for ``runner.dry_run=true``."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runners.config import RunConfig
from runners.plan import PairPlan


@dataclass(frozen=True, slots=True)
class EpisodeCost:
    """Mean cost of one episode. ``basis`` says where the figures come from."""

    seconds: float
    bytes: float
    basis: str


def describe_plan(config: RunConfig, plan: Sequence[PairPlan], results: Path) -> str:
    """The episodes of a run, and an estimate of its hours and disk."""
    arms = 1 if config.cache.name == "none" and not config.runner.self_pair else 2
    num_episodes = len(plan) * arms
    lines = [
        f"{config.suite.name}, model {config.model.name}, cache {config.cache.name}, seed {config.seed}",
        f"{len(plan)} initial states x {arms} arm{'s' if arms > 1 else ''} = {num_episodes} episodes",
    ]
    by_task: dict[int, list[int]] = defaultdict(list)
    for pair in plan:
        by_task[pair.task_id].append(pair.init_index)
    lines += [f"  task {task:>2}: initial states {_ranges(indices)}" for task, indices in by_task.items()]
    cost = measured_cost(results, config)
    if cost is None:
        lines.append(
            "time and disk: no episode of this suite and model has been run here yet, so nothing is known; "
            "run a few (suite.task_ids=[0] suite.episodes_per_task=1) and ask again"
        )
    else:
        hours, megabytes = num_episodes * cost.seconds / 3600, num_episodes * cost.bytes / 1e6
        lines.append(f"about {_hours(hours)} and {megabytes:.0f} MB ({cost.basis})")
    lines.append("dry run: nothing was run or written")
    return "\n".join(lines)


def measured_cost(results: Path, config: RunConfig) -> EpisodeCost | None:
    """Mean over the finished episodes of the same suite and model below ``results``; None when there are none.

    An episode of another ``max_steps`` counts by its steps, as all cost but building the env grows with them.
    """
    seconds, size, steps, count = 0.0, 0, 0, 0
    for run_dir, rows in _runs(results, config):
        for row in rows:
            if row["status"] == "error" or row["reused_from"] is not None:
                continue
            seconds += row["wall_s"]
            steps += row["num_steps"]
            count += 1
        size += sum(path.stat().st_size for path in run_dir.rglob("*") if path.is_file())
    if count == 0 or steps == 0:
        return None
    scale = min(1.0, config.suite.max_steps / (steps / count))
    basis = f"from {count} episodes of this suite and model in {results}/, {seconds / count:.1f} s each"
    return EpisodeCost(seconds / count * scale, size / count * scale, basis)


def _runs(results: Path, config: RunConfig) -> Iterator[tuple[Path, list[dict[str, Any]]]]:
    for run_file in sorted([*results.glob("*/run.json"), *results.glob("*/*/run.json")]):
        try:
            run = json.loads(run_file.read_text(encoding="utf-8"))
            rows = [json.loads(line) for line in (run_file.parent / "episodes.jsonl").open(encoding="utf-8")]
        except (OSError, json.JSONDecodeError):
            continue  # an estimate needs no broken run
        if (run.get("suite"), run.get("model")) == (config.suite.name, config.model.name):
            yield run_file.parent, rows


def _ranges(indices: Sequence[int]) -> str:
    """``0-4, 7``."""
    spans: list[list[int]] = []
    for index in indices:
        if spans and index == spans[-1][1] + 1:
            spans[-1][1] = index
        else:
            spans.append([index, index])
    return ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in spans)


def _hours(hours: float) -> str:
    return f"{hours:.1f} hours" if hours >= 1 else f"{hours * 60:.0f} minutes"
