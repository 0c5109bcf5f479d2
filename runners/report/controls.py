"""Blind controls beside a run: where closed eyes score nearly as well, a table cannot show that a cache does harm."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

from runners.journal import EPISODES_FILE, RUN_FILE, read_episodes, read_run
from runners.report.card_controls import CARD_SOURCE, find_card_control
from runners.report.episode_rules import EPISODE_RULES, episode_rules
from runners.report.pairs import Outcomes
from runners.report.words import percent

CONTROL_MODELS = ("blind", "replay")
#: A control within this of the baseline: the success of the table says little about what was seen.
TOO_CLOSE = Fraction(20, 100)
#: A control of fewer shared episodes is not shown: its rate means nothing.
MIN_EPISODES = 10
#: Keys of ``suite`` that say which episodes a run has and by which rules they end.
_SUITE_KEYS = ("placement", "reseed", "render", "task_ids", "episodes_per_task", "init_indices", *EPISODE_RULES)


def find_controls(results: Path, summary: Mapping[str, Any], outcomes: Outcomes) -> list[dict[str, Any]]:
    """The control of each model that shares most episodes with a run, else what the checkpoint's card says of it.

    A run below ``results`` counts when it has the suite, placement, reseeding, assets and ``EPISODE_RULES`` of the run
    (``blind`` also its checkpoint), episodes of all its tasks, and at least ``MIN_EPISODES`` that start as one of the
    run's. Folders that cannot be read are passed over: they are other runs' trouble.

    Args:
        results: folder with runs, directly or one folder down. summary: of the run. outcomes: of its baseline.

    Returns:
        In the order of ``CONTROL_MODELS``: ``model``, ``source`` (run id or ``CARD_SOURCE``), ``successes``,
        ``num_episodes``, ``success_rate`` of the control, and ``baseline_successes``, ``baseline_episodes``,
        ``baseline_rate`` of the run without cache: on the same episodes, beside a card on all of the run.
    """
    if summary["model"] in CONTROL_MODELS:
        return []
    found: dict[str, dict[str, Any]] = {}
    for path in sorted([*results.glob(f"*/{RUN_FILE}"), *results.glob(f"*/*/{RUN_FILE}")]):
        control = _read_control(path.parent, summary, outcomes)
        if control is None:
            continue
        best = found.get(control["model"])
        if best is None or control["num_episodes"] > best["num_episodes"]:
            found[control["model"]] = control
    for model in CONTROL_MODELS:
        told = None if model in found else find_card_control(model, summary, outcomes, MIN_EPISODES)
        if told is not None:
            found[model] = told
    return [found[model] for model in CONTROL_MODELS if model in found]


def _read_control(folder: Path, summary: Mapping[str, Any], outcomes: Outcomes) -> dict[str, Any] | None:
    try:
        if json.loads((folder / RUN_FILE).read_text(encoding="utf-8")).get("model") not in CONTROL_MODELS:
            return None
        if not (folder / EPISODES_FILE).exists():
            return None
        run, records = read_run(folder), read_episodes(folder)
    except (OSError, ValueError, RuntimeError, AttributeError):
        return None
    if run.model == "blind" and _digest(run.checkpoint) != _digest(summary["checkpoint"]):
        return None
    if episode_rules(run.config) != summary["episode_rules"]:
        return None
    ours = (summary["suite"], summary["placement"], summary["reseed"], summary["assets_provenance"])
    if any((record.suite, record.placement, record.reseed, record.assets) != ours for record in records):
        return None
    last = {record.key: record for record in records if record.arm == "baseline"}
    ended = {
        (record.task_id, record.init_index, record.env_seed): record.status == "success"
        for record in last.values()
        if record.status != "error"
    }
    return _compare(run.model, run.run_id, ended, outcomes)


def _digest(checkpoint: object) -> str:
    """What follows the ``@``: the same weights may lie in folders of different names."""
    return str(checkpoint).rpartition("@")[2]


def _compare(model: str, run_id: str, ended: Outcomes, outcomes: Outcomes) -> dict[str, Any] | None:
    """Both rates over the shared starts; None where these are too few or leave out a task of the run."""
    shared = [start for start in outcomes if start in ended]
    if len(shared) < MIN_EPISODES or {task for task, _, _ in shared} != {task for task, _, _ in outcomes}:
        return None
    successes, own = sum(ended[start] for start in shared), sum(outcomes[start] for start in shared)
    return {
        "model": model,
        "source": run_id,
        "successes": successes,
        "num_episodes": len(shared),
        "success_rate": successes / len(shared),
        "baseline_successes": own,
        "baseline_episodes": len(shared),
        "baseline_rate": own / len(shared),
    }


def judge_controls(controls: Iterable[Mapping[str, Any]]) -> list[str]:
    """One sentence for each control, a warning where it is within ``TOO_CLOSE`` of the success without cache."""
    return [_judge_control(control) for control in controls]


def _judge_control(control: Mapping[str, Any]) -> str:
    share = f"{percent(control['success_rate'])} ({control['successes']}/{control['num_episodes']})"
    own = f"{percent(control['baseline_rate'])} ({control['baseline_successes']}/{control['baseline_episodes']})"
    name = f"control {control['model']}, without seeing the scene: {share}"
    if control["source"] == CARD_SOURCE:
        told = f"{name} by the checkpoint's model card, on its own episodes of these tasks; no cache here: {own}."
    else:
        told = f"{name}; no cache on the same episodes: {own}."
    if control["source"] == CARD_SOURCE and control["baseline_episodes"] < MIN_EPISODES:
        return f"{told[0].upper()}{told[1:-1]}, too few to say whether success here depends on what is seen."
    rate = Fraction(control["successes"], control["num_episodes"])
    if rate < Fraction(control["baseline_successes"], control["baseline_episodes"]) - TOO_CLOSE:
        return told[0].upper() + told[1:]
    return (
        f"WARNING, this table cannot show harm: {told} That is within {100 * TOO_CLOSE} points, so success here "
        "hardly depends on what is seen."
    )


def note_missing_controls(
    controls: Sequence[Mapping[str, Any]], summary: Mapping[str, Any], outcomes: Outcomes, config: Mapping[str, Any]
) -> list[str]:
    """What to run where a control of a trained model is not there; ``config`` is that of the run."""
    if summary["weights"] != "trained" or summary["model"] in CONTROL_MODELS or len(outcomes) == 0:
        return []
    missing = [model for model in CONTROL_MODELS if model not in {control["model"] for control in controls}]
    if missing and len(outcomes) < MIN_EPISODES:
        return [f"No {' and no '.join(missing)} control: a table of fewer than {MIN_EPISODES} episodes has none."]
    return [
        f"No {model} control beside this table, so nothing here says how much of the success needs eyes: "
        f"`{control_command(model, summary, config)}`"
        for model in missing
    ]


def control_command(control: str, summary: Mapping[str, Any], config: Mapping[str, Any]) -> str:
    """The call of ``run.py`` that makes a control on the episodes of a run."""
    suite, model = config.get("suite"), config.get("model")
    words = [f"model={control}"]
    if control == "blind":
        words.append(f"model.base={summary['model']}")
        checkpoint = model.get("checkpoint") if isinstance(model, Mapping) else None
        words += [] if checkpoint is None else [f"model.checkpoint={checkpoint}"]
    words += [f"suite={summary['suite']}"]
    chosen = {"placement": summary["placement"], **(suite if isinstance(suite, Mapping) else {})}
    words += [f"suite.{key}={_word(chosen[key])}" for key in _SUITE_KEYS if chosen.get(key) is not None]
    words += [f"{key}={config[key]}" for key in ("seed", "assets") if config.get(key) is not None]
    return shlex.join(["python", "run.py", *words])


def _word(value: object) -> str:
    return f"[{','.join(map(str, value))}]" if isinstance(value, list | tuple) else str(value)


def add_controls(
    summary: dict[str, Any],
    controls: Sequence[Mapping[str, Any]],
    outcomes: Outcomes,
    config: Mapping[str, Any],
) -> None:
    """Put ``controls`` and their sentences into ``summary``: warnings first, what is missing last."""
    summary["controls"] = [dict(control) for control in controls]
    missing = note_missing_controls(controls, summary, outcomes, config)
    summary["verdicts"] = [*judge_controls(controls), *summary["verdicts"], *missing]
