"""For which suites a checkpoint of our own was made, read from the facts beside its weights."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

TRAINING_FILE, CARD_FILE = "training.json", "card.json"


def training_suites(folder: Path) -> tuple[str, ...]:
    """Suites of the demonstrations of all training runs of a checkpoint; empty where nothing tells.

    ``training.json`` names them under ``collections`` of every run. A checkpoint of which one run does not say so is
    taken to be made for the suites that its model card has results of, and those that the other runs name.
    """
    training = _read(folder / TRAINING_FILE)
    runs = [*training.get("stages", ()), training]
    named = [[str(one["suite"]) for one in run.get("collections", ())] for run in runs]
    results = [str(result["suite"]) for result in _read(folder / CARD_FILE).get("evaluations", ())]
    if not all(named):
        named = [*named, results] if results else []
    return tuple(sorted({suite for suites in named for suite in suites}))


def warn_other_suite(suite: str, model: str, made_for: Sequence[str]) -> str | None:
    """What to say when weights are used on a suite that they were not made for; the toy suite claims no success."""
    if not made_for or suite in (*made_for, "toy"):
        return None
    return (
        f"WARNING: these weights of {model} were made for {', '.join(made_for)}, this run is {suite}: expect no "
        "success, and nothing from comparing successes. Latency and MACs hold at the reuse ratio shown."
    )


def _read(file: Path) -> Mapping[str, Any]:
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}  # facts may be missing beside weights that run all the same
    return data if isinstance(data, dict) else {}
