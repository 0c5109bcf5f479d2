"""The published 7B layout without its weights: manifest of key names and shapes, loader on a meta device."""

from __future__ import annotations

import functools
import itertools
import json
import math
import re
from pathlib import Path

import pytest
import torch

from tests.models.manifests import expand
from vlacache.models.filling import plan_fill
from vlacache.models.openvla import empty_model, key_rules
from vlacache.models.published import full_size
from vlacache.models.published_keys import action_head_shapes, proprio_projector_shapes, vlm_shapes
from vlacache.models.twin import twin_config
from vlacache.models.weights import StoredTensor

MANIFEST = json.loads((Path(__file__).parent / "data" / "openvla_keys.json").read_text())["files"]
SHARDS, HEAD, PROPRIO = MANIFEST
#: Of checkpoints.md's tower table: tensors and parameters.
TOWERS = {"featurizer": (343, 303_230_976), "fused_featurizer": (342, 427_680_704)}


def published(file: str) -> dict[str, tuple[int, ...]]:
    keys = MANIFEST[file]["keys"]
    return {key: tuple(shape) for pattern, shape in keys.items() for key in expand(pattern)}


@functools.cache
def stored(name: str) -> dict[str, StoredTensor]:
    """The manifest as the loader sees opened files."""
    shapes = published(SHARDS)
    if name == "openvla_oft":
        shapes |= {f"action_head.{k}": v for k, v in published(HEAD).items()}
        shapes |= {f"proprio_projector.{k}": v for k, v in published(PROPRIO).items()}
    return {key: StoredTensor(Path("manifest"), key, shape, torch.bfloat16) for key, shape in shapes.items()}


@functools.cache
def wanted_of(name: str) -> dict[str, tuple[int, ...]]:
    """Parameters of the 7B model on the meta device."""
    return {key: tuple(p.shape) for key, p in empty_model(full_size(name)).named_parameters()}


@pytest.mark.parametrize("file", [SHARDS, HEAD, PROPRIO])
def test_the_manifest_adds_up_to_the_published_total(file: str) -> None:
    assert sum(math.prod(shape) for shape in published(file).values()) == MANIFEST[file]["num_parameters"]


@pytest.mark.parametrize(("tower", "counts"), TOWERS.items())
def test_towers_add_up(tower: str, counts: tuple[int, int]) -> None:
    shapes = [shape for key, shape in published(SHARDS).items() if key.startswith(f"vision_backbone.{tower}.")]
    assert (len(shapes), sum(map(math.prod, shapes))) == counts


def test_what_twins_are_written_with_is_the_manifest() -> None:
    config = full_size("openvla_oft")
    assert vlm_shapes(config) == published(SHARDS)
    assert action_head_shapes(config) == published(HEAD)
    assert proprio_projector_shapes(config) == published(PROPRIO)


@pytest.mark.parametrize("name", ["openvla", "openvla_oft"])
def test_every_key_is_used_or_ignored_and_every_parameter_filled(name: str) -> None:
    """On the meta device, at 7B: the plan covers each parameter's rows exactly once."""
    wanted = wanted_of(name)
    plan = plan_fill(stored(name), key_rules(full_size(name)), wanted, name)
    rows: dict[str, list[tuple[int, int]]] = {key: [] for key in wanted}
    for fill in plan:
        size = wanted[fill.parameter][0]
        rows[fill.parameter].append((fill.start or 0, size if fill.stop is None else fill.stop))
    for key, spans in rows.items():
        edges = sorted(spans)
        assert edges[0][0] == 0 and edges[-1][1] == wanted[key][0], key
        assert all(a[1] == b[0] for a, b in itertools.pairwise(edges)), key
    filled = sum(math.prod(stored(name)[fill.key].shape) for fill in plan)
    assert filled == sum(map(math.prod, wanted.values()))


@pytest.mark.parametrize("name", ["openvla", "openvla_oft"])
def test_what_is_ignored_is_what_cannot_matter(name: str) -> None:
    """Each tower's last block and norm, SigLIP's pooling head, and OFT's text head; nothing else."""
    used = {fill.key for fill in plan_fill(stored(name), key_rules(full_size(name)), wanted_of(name), name)}
    prefixes = {
        "vision_backbone.featurizer.blocks.23.", "vision_backbone.featurizer.norm.",
        "vision_backbone.fused_featurizer.blocks.26.", "vision_backbone.fused_featurizer.norm.",
        "vision_backbone.fused_featurizer.attn_pool.",
    } | ({"language_model.lm_head."} if name == "openvla_oft" else set())  # fmt: skip
    ignored = set(stored(name)) - used
    assert ignored == {key for key in stored(name) if key.startswith(tuple(prefixes))}


@pytest.mark.parametrize("change", ["language_model.model.layers.31.mlp.up_proj.weight", "projector.fc2.bias"])
def test_a_key_that_is_absent_is_missed(change: str) -> None:
    rest = {key: tensor for key, tensor in stored("openvla").items() if key != change}
    with pytest.raises(ValueError, match="missing for"):
        plan_fill(rest, key_rules(full_size("openvla")), wanted_of("openvla"), "openvla")


def test_the_twin_differs_in_numbers_only() -> None:
    """Same names but for the depth."""

    def kinds(shapes: dict) -> set[str]:
        return {re.sub(r"\.\d+\.", ".N.", key) for key in shapes}

    assert kinds(vlm_shapes(twin_config("openvla"))) == kinds(published(SHARDS))
