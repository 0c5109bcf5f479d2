"""Folders and files that look like a model and are not quite one: refused, by name, and nothing is overwritten."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from vlacache.models.checking import check_model
from vlacache.models.cogact.twin import write_cogact_twin
from vlacache.models.factory import ModelConfig, load_model
from vlacache.models.twin import write_openvla_twin

KEYS = {"openvla": "libero_spatial", "openvla_oft": "libero_spatial", "cogact": "bridge_orig"}


@pytest.fixture
def oft(tmp_path: Path) -> Path:
    write_openvla_twin(tmp_path / "oft", "openvla_oft")
    return tmp_path / "oft"


def request(folder: Path, name: str) -> ModelConfig:
    return ModelConfig(name, str(folder), unnorm_key=KEYS[name], dtype="float32")


def edit(file: Path, *keys: str, value: Any) -> None:
    """Set one entry of a JSON file."""
    data = json.loads(file.read_text())
    place = data
    for key in keys[:-1]:
        place = place[key]
    place[keys[-1]] = value
    file.write_text(json.dumps(data))


def test_a_twin_overwrites_nothing_but_a_twin(tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    shard = mine / "model-00004-of-00007.safetensors"
    shard.write_bytes(b"15 GB")
    (mine / "config.json").write_text("{}")
    for write in (lambda: write_openvla_twin(mine, "openvla"), lambda: write_cogact_twin(mine)):
        with pytest.raises(ValueError, match="an earlier twin, got mine with other files; nothing was written"):
            write()
    assert shard.read_bytes() == b"15 GB" and (mine / "config.json").read_text() == "{}"
    with pytest.raises(ValueError, match=r"got the file config\.json"):
        write_openvla_twin(mine / "config.json", "openvla")


def test_a_twin_replaces_a_twin_of_another_kind_whole(oft: Path) -> None:
    (oft / "notes.txt").write_text("mine")
    write_openvla_twin(oft, "openvla")
    assert not list(oft.glob("*_checkpoint.pt")) and (oft / "notes.txt").read_text() == "mine"
    load_model(request(oft, "openvla"))
    with pytest.raises(ValueError, match="exactly one action_head"):
        load_model(request(oft, "openvla_oft"))


@pytest.mark.parametrize("name", ["vision_backbone--1000_checkpoint.pt", "noisy_action_projector--1000_checkpoint.pt"])
def test_other_variants_of_oft_are_not_loaded_as_plain_ones(oft: Path, name: str) -> None:
    torch.save({}, oft / name)
    for refuse in (load_model, check_model):
        with pytest.raises(ValueError, match=f"got \\['{name}'\\] too"):
            refuse(request(oft, "openvla_oft"))


def test_head_and_projector_are_of_one_step(oft: Path) -> None:
    (oft / "proprio_projector--1000_checkpoint.pt").rename(oft / "proprio_projector--50_checkpoint.pt")
    with pytest.raises(ValueError, match=r"of the same step, got action_head--1000_.* proprio_projector--50_"):
        load_model(request(oft, "openvla_oft"))


@pytest.mark.parametrize(
    ("name", "file", "keys", "value", "message"),
    [
        ("openvla", "config.json", ("pad_to_multiple_of",), 1_000_000, "within the vocabulary of 32064, got 256 and"),
        ("openvla", "config.json", ("n_action_bins",), 40_000, "within the vocabulary of 32064, got 40000 and"),
        ("openvla", "config.json", ("text_config", "rope_theta"), 10**400, "rope_theta: expected a number above 0"),
        ("openvla", "preprocessor_config.json", ("tvf_normalize_params", 0, "std"), [0, 0, 0], "std: .* above 0"),
        ("cogact", "sizes.json", ("llm", "num_attention_heads"), 7, "llm: hidden_size: expected a multiple of"),
        ("cogact", "sizes.json", ("dit", "num_heads"), 7, "dit: hidden_size: expected a multiple of num_heads"),
    ],
)
def test_sizes_that_no_model_has(
    tmp_path: Path, name: str, file: str, keys: tuple[Any, ...], value: Any, message: str
) -> None:
    write_cogact_twin(tmp_path) if name == "cogact" else write_openvla_twin(tmp_path, name)
    edit(tmp_path / file, *keys, value=value)
    for refuse in (load_model, check_model):
        with pytest.raises(ValueError, match=message):
            refuse(request(tmp_path, name))


def test_a_dry_run_finds_what_needs_no_tensors(oft: Path) -> None:
    check_model(request(oft, "openvla_oft"))
    check_model(ModelConfig("openvla", "openvla/openvla-7b", revision="a" * 40))
    check_model(ModelConfig("tiny_oft", "builtin"))
    with pytest.raises(ValueError, match="expected OpenVLA, got OFT's"):
        check_model(request(oft, "openvla"))
    with pytest.raises(ValueError, match="needs its published weights"):
        check_model(ModelConfig("openvla"))
    with pytest.raises(ValueError, match="expected the commit hash"):
        check_model(ModelConfig("openvla", "openvla/openvla-7b", revision="main"))
    with pytest.raises(FileNotFoundError, match="expected a folder or a hub id"):
        check_model(ModelConfig("openvla", "/nope"))
    with pytest.raises(FileNotFoundError, match="expected a folder, got"):
        check_model(ModelConfig("tiny_oft", "/nope"))
    shard = sorted(oft.glob("model-*.safetensors"))[1]
    shutil.move(shard, oft / "elsewhere")
    with pytest.raises(FileNotFoundError, match=f"missing \\['{shard.name}'\\]"):
        check_model(request(oft, "openvla_oft"))


@pytest.mark.parametrize(
    "key", ["vision_backbone.featurizer.attn_pool.evil", "vision_backbone.fused_featurizer.blocks.3.evil.weight"]
)
def test_what_is_ignored_is_what_the_published_file_has(tmp_path: Path, key: str) -> None:
    write_openvla_twin(tmp_path, "openvla")
    index = tmp_path / "model.safetensors.index.json"
    shard = tmp_path / sorted(set(json.loads(index.read_text())["weight_map"].values()))[0]
    save_file({**load_file(shard), key: torch.zeros(3)}, shard)
    edit(index, "weight_map", key, value=shard.name)
    with pytest.raises(ValueError, match=re.escape(f"unknown ['{key}']")):
        load_model(request(tmp_path, "openvla"))
