"""The summary of a run as its file holds it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from runners.report import build_summary, load_run

ARMS = ("policy", "baseline")


def summary_of(run: Path) -> dict[str, Any]:
    """As JSON gives it back."""
    summary = build_summary(load_run(run))
    return json.loads(json.dumps(summary, allow_nan=False))
