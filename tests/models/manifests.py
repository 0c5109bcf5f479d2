"""Committed manifests of published key names, in a shell's brace notation."""

from __future__ import annotations

import itertools
import re


def expand(pattern: str) -> list[str]:
    """``a{0..1}.{x,y}`` -> ``a0.x, a0.y, a1.x, a1.y``."""
    parts = re.split(r"\{(.*?)\}", pattern)
    options = []
    for index, part in enumerate(parts):
        bounds = re.fullmatch(r"(\d+)\.\.(\d+)", part)
        if index % 2 == 0:
            options.append([part])
        elif bounds:
            options.append([str(i) for i in range(int(bounds[1]), int(bounds[2]) + 1)])
        else:
            options.append(part.split(","))
    return ["".join(chosen) for chosen in itertools.product(*options)]
