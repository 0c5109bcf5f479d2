"""Controls of a shipped checkpoint by its model card, for tables beside which nobody ran one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import vlacache
from runners.report.model_card import CARD_FILE, full_assets_label
from runners.report.pairs import Outcomes

#: Where the package keeps its checkpoints (``vlacache.models.factory.PACKAGED``, which would import torch).
PACKAGED = Path(vlacache.__file__).parent / "models" / "checkpoints"

#: ``source`` of a control that no run beside the table shows.
CARD_SOURCE = "model card"


def find_card_control(
    model: str, summary: Mapping[str, Any], outcomes: Outcomes, min_episodes: int
) -> dict[str, Any] | None:
    """The longest control of ``model`` in the card of the run's weights, on the run's tasks only.

    The card counts per task, not per episode: the episodes are not those of the run, and ``source`` says so.

    Returns:
        As ``runners.report.controls.find_controls``; None without a card, or when it has no control of the run's
        suite, placement, assets and rules with all its tasks and ``min_episodes`` of them.
    """
    tasks = {str(task) for task, _, _ in outcomes}
    where = (summary["suite"], summary["placement"], full_assets_label(summary["assets_provenance"]))
    rules = {"reseed": summary["reseed"], **summary["episode_rules"]}
    best: dict[str, int] | None = None
    for control in read_card(summary["checkpoint"]).get("controls", ()):
        same = (control["suite"], control["placement"], control["assets"]) == where
        # Cards of earlier versions do not say their rules.
        same &= control.get("rules", rules) == rules
        if control["name"] != model or not same or not tasks <= set(control["tasks"]):
            continue
        rows = [control["tasks"][task] for task in tasks]
        sums = {key: sum(row[key] for row in rows) for key in ("successes", "trials")}
        if sums["trials"] >= min_episodes and (best is None or sums["trials"] > best["trials"]):
            best = sums
    if best is None:
        return None
    own = sum(outcomes.values())
    return {
        "model": model,
        "source": CARD_SOURCE,
        "successes": best["successes"],
        "num_episodes": best["trials"],
        "success_rate": best["successes"] / best["trials"],
        "baseline_successes": own,
        "baseline_episodes": len(outcomes),
        "baseline_rate": own / len(outcomes),
    }


def read_card(checkpoint: str | None) -> dict[str, Any]:
    """The card of the shipped weights that ``<name>@<12 digits of the sha256>`` means; empty for others."""
    digest = str(checkpoint or "").rpartition("@")[2]
    if len(digest) < 12:
        return {}
    for path in sorted(PACKAGED.glob(f"*/{CARD_FILE}")):
        card: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if str(card["sha256"]).startswith(digest):
            return card
    return {}
