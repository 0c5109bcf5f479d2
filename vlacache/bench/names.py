"""Names of the JSON files that the measuring scripts write: one for each thing that can be measured, none twice."""

from __future__ import annotations

import argparse
import hashlib
import re
from collections.abc import Sequence
from pathlib import Path

from vlacache.models.factory import ModelInfo

#: Of this checkout; ``scripts/bench_docs.py`` reads it.
BENCH_FOLDER = Path(__file__).resolve().parents[2] / "results" / "bench"


def result_name(
    info: ModelInfo, args: argparse.Namespace, defaults: argparse.ArgumentParser, keys: Sequence[str]
) -> str:
    """``<model>[_random_<scale> or _untrained][_<option>_<value> ...]``, in characters that every file system takes.

    Args:
        keys: options that make another measurement; each is in the name where it is not the default of its parser.
    """
    if info.checkpoint.startswith("random"):
        weights = info.checkpoint
    else:
        weights = "untrained" if info.weights == "untrained" else ""
    changed = [_shown(key, getattr(args, key)) for key in keys if getattr(args, key) != defaults.get_default(key)]
    return "_".join(filter(None, map(_short, [info.name, weights, *changed])))


def slug(text: str) -> str:
    """Lower case, digits and single underscores."""
    return re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_")


def _shown(key: str, value: object) -> str:
    if value is True:
        return key
    words = map(str, value if isinstance(value, list) else [value])
    return " ".join([key, *(Path(word).stem if "/" in word else word for word in words)])


def _short(text: str) -> str:
    """A slug that many parts of fit into a file's name."""
    name = slug(text)
    return name if len(name) <= 60 else f"{name[:48]}_{hashlib.sha256(name.encode()).hexdigest()[:8]}"
