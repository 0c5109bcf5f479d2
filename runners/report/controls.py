"""Blind controls beside a run: where closed eyes score nearly as well, a table cannot show that a cache does harm."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from runners.journal import EPISODES_FILE, RUN_FILE
from runners.report.load import load_run
from runners.report.words import percent

CONTROL_MODELS = ("blind", "replay")
#: A control within this of the baseline: the success of the table says little about what was seen.
MARGIN = 0.20
#: A control of fewer episodes is not shown: its rate means nothing.
MIN_EPISODES = 10
#: What a control must share with a run; ``blind`` also its checkpoint.
_SHARED = ("suite", "placement", "assets_provenance")


def find_controls(results: Path, summary: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Controls below ``results`` that belong to the run of ``summary``: the longest of each model.

    Folders that cannot be read are passed over: they are other runs' trouble.

    Returns:
        ``model``, ``run_id``, ``successes``, ``num_episodes``, ``success_rate`` of each, in the order of
        ``CONTROL_MODELS``.
    """
    if summary["model"] in CONTROL_MODELS:
        return []
    found: dict[str, dict[str, Any]] = {}
    for path in sorted([*results.glob(f"*/{RUN_FILE}"), *results.glob(f"*/*/{RUN_FILE}")]):
        control = _read_control(path.parent, summary)
        if control is None:
            continue
        best = found.get(control["model"])
        if best is None or control["num_episodes"] > best["num_episodes"]:
            found[control["model"]] = control
    return [found[model] for model in CONTROL_MODELS if model in found]


def _read_control(folder: Path, summary: Mapping[str, Any]) -> dict[str, Any] | None:
    try:
        run = json.loads((folder / RUN_FILE).read_text(encoding="utf-8"))
        if run.get("model") not in CONTROL_MODELS or not (folder / EPISODES_FILE).exists():
            return None
        frames = load_run(folder, traces=False)
    except (OSError, ValueError, RuntimeError):
        return None
    episodes = frames.episodes[(frames.episodes["arm"] == "baseline") & (frames.episodes["status"] != "error")]
    if len(episodes) < MIN_EPISODES:
        return None
    ours = {"suite": run["suite"], "placement": str(episodes["placement"].iloc[0]), "assets_provenance": run["assets"]}
    if any(ours[key] != summary[key] for key in _SHARED):
        return None
    if run["model"] == "blind" and run.get("checkpoint") != summary["checkpoint"]:
        return None
    successes = int((episodes["status"] == "success").sum())
    return {
        "model": str(run["model"]),
        "run_id": str(run["run_id"]),
        "successes": successes,
        "num_episodes": len(episodes),
        "success_rate": successes / len(episodes),
    }


def judge_controls(controls: Iterable[Mapping[str, Any]], baseline: float | None) -> list[str]:
    """One sentence for each control, a warning where it is within ``MARGIN`` of the success without cache."""
    lines = []
    for control in controls:
        rate = float(control["success_rate"])
        told = f"Control {control['model']}: {percent(rate)} ({control['successes']}/{control['num_episodes']})"
        if baseline is not None and rate >= baseline - MARGIN:
            lines.append(
                f"WARNING, this table cannot show harm: {told} is within {100 * MARGIN:.0f} points of no cache "
                f"({percent(baseline)}), so success here hardly depends on what is seen."
            )
        else:
            lines.append(f"{told}, without seeing the scene.")
    return lines


def add_controls(summary: dict[str, Any], controls: Sequence[Mapping[str, Any]]) -> None:
    """Put ``controls`` and their sentences into ``summary``."""
    summary["controls"] = [dict(control) for control in controls]
    summary["verdicts"] = [*judge_controls(controls, summary["success_rate"]["baseline"]), *summary["verdicts"]]
