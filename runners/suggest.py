"""Words for errors about names: what exists, and what was probably meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def suggestion(given: str, known: Iterable[str]) -> str:
    """``"; did you mean 'adaptive'?"``, or an empty string when nothing is near."""
    near = difflib.get_close_matches(given, list(known), n=1, cutoff=0.6)
    return f"; did you mean '{near[0]}'?" if near else ""


def one_of(known: Iterable[str]) -> str:
    """``"it is one of a, b, c"`` in sorted order."""
    return f"choose from {', '.join(sorted(known))}"
