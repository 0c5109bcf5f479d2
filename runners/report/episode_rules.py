"""By which rules the episodes of a run are made and end: runs that differ in one are never compared."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

#: Keys of ``suite`` that make other episodes of the same task and initial state, or choose among them.
EPISODE_RULES = ("backend", "protocol", "settings", "sensor_noise", "success_rule", "max_steps")


def episode_rules(config: Mapping[str, Any]) -> dict[str, Any]:
    """``EPISODE_RULES`` of a run's ``config``; None for a key that it does not have."""
    suite = config.get("suite")
    return {key: suite.get(key) if isinstance(suite, Mapping) else None for key in EPISODE_RULES}
