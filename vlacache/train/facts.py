"""What identifies a run and its demos: compared when a run is continued, written beside every checkpoint."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vlacache.train.checkpointing import TrainState
from vlacache.train.config import TrainConfig
from vlacache.train.demos import Demos

#: Facts that two sittings of a run have in common, besides the numbers of its config.
_SHARED = ("demos", "init_from", "init_heads", "dtype")


def run_facts(
    config: TrainConfig, demos: Demos, init_from: Path | None, heads: Path | None, dtype: torch.dtype
) -> dict[str, Any]:
    """Numbers, demos, where they were collected, and what the run begins with: a checkpoint, auxiliary heads."""
    return {
        "config": json.loads(json.dumps(config.to_dict())),
        "demos": demos_facts(demos),
        "collections": collections_of(demos.info),
        "init_from": None if init_from is None else digest_of((init_from / "model.safetensors").read_bytes()),
        "init_heads": None if heads is None else digest_of(heads.read_bytes()),
        "dtype": str(dtype).removeprefix("torch."),
    }


def differences(config: TrainConfig, stored: dict[str, Any], asked: dict[str, Any]) -> list[str]:
    """``name: stored != asked`` of all that must agree before a run is continued.

    States written before demos had a digest of their labels are compared without it.
    """
    there = dict(stored["demos"])
    there.setdefault("labels", asked["demos"]["labels"])
    stored = {**stored, "demos": there}
    changed = [key for key in _SHARED if stored.get(key) != asked[key]]
    return config.differences(stored["config"]) + [f"{key}: {stored.get(key)} != {asked[key]}" for key in changed]


def validation_differences(stored: TrainState, asked: Mapping[str, Any] | None) -> list[str]:
    """As ``differences``, of the validation: successes on other episodes cannot be compared with the stored best.

    A sitting without evaluations (None), a state without a best, and one of an older version agree with all. One that
    has no more than the name of the assets is compared without them.
    """
    there = stored.facts.get("validation")
    if asked is None or there is None or stored.best is None:
        return []
    if isinstance(there.get("assets"), str):
        asked = {key: value for key, value in asked.items() if key != "assets"}
    return [f"validation {key}: {there.get(key)} != {asked[key]}" for key in asked if there.get(key) != asked[key]]


def demos_facts(demos: Demos) -> dict[str, Any]:
    """Sizes, ``digest`` of the actions and pictures, ``labels``: digest of everything else that is trained on."""
    arrays = (demos.state, demos.episode, demos.task, demos.frame_rows, demos.offsets, demos.aux)
    names = json.dumps([demos.views, demos.instructions, demos.aux_names])
    return {
        "episodes": demos.num_episodes,
        "frames": demos.num_frames,
        "tasks": len(demos.instructions),
        "digest": digest_of(demos.action.tobytes(), demos.jpeg.tobytes()),
        "labels": digest_of(names.encode(), *(np.ascontiguousarray(array).tobytes() for array in arrays)),
    }


def collections_of(info: dict[str, Any]) -> list[dict[str, Any]]:
    """Settings of every collection in a set, ``episodes`` of each, in the order of the set; each once."""
    found: list[dict[str, Any]] = []
    for part in _parts(info):
        if "collection" not in part:
            continue
        entry = {"episodes": part.get("total_episodes"), **part["collection"]}
        entry |= {key: part[key] for key in ("recompressed", "commits") if key in part}
        if entry not in found:
            found.append(entry)
    return found


def digest_of(*parts: bytes) -> str:
    """First 16 hex digits of the sha256 of the parts, one after the other."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.hexdigest()[:16]


def _parts(info: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Infos of the folders that were joined, also where a joined set was packed and joined again."""
    if "parts" not in info:
        yield info
        return
    rest = {key: value for key, value in info.items() if key != "parts"}
    for part in info["parts"]:
        yield from _parts({**rest, **part})
