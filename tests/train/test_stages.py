"""What a training run begins with: weights and auxiliary heads of a run before it, or of another model."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.train.runs import FAST, trainer
from vlacache.models.factory import ModelConfig, load_model
from vlacache.train.demos import Demos

pytestmark = pytest.mark.usefixtures("small_models")


def test_a_stage_begins_with_the_averaged_weights_of_a_stopped_one(demos: Demos, tmp_path: Path) -> None:
    first = trainer(FAST, demos, tmp_path / "a", stop_after=4)
    first.run()
    second = trainer(replace(FAST, seed=7), demos, tmp_path / "b", init_from=tmp_path / "a" / "last", stop_after=2)
    averaged = first.engine.averaged_model().to(torch.bfloat16).float()
    assert torch.equal(second.engine.net.model.decoder.norm.weight, averaged.decoder.norm.weight)
    second.run()
    trainer(FAST, demos, tmp_path / "c", init_from=tmp_path / "b" / "last", stop_after=1).run()
    facts = json.loads((tmp_path / "c" / "last" / "training.json").read_text())
    assert [stage["step"] for stage in facts["stages"]] == [4, 2]
    assert [stage["config"]["seed"] for stage in facts["stages"]] == [FAST.seed, 7]
    assert facts["stages"][0]["sha256"].startswith(facts["stages"][1]["init_from"])


def test_a_stage_goes_on_with_the_auxiliary_heads_of_the_one_before(demos: Demos, tmp_path: Path) -> None:
    first = trainer(FAST, demos, tmp_path / "a", stop_after=4)
    first.run()
    options = {"init_from": tmp_path / "a" / "last", "stop_after": 1}
    second = trainer(replace(FAST, seed=7), demos, tmp_path / "b", **options)
    learnt = {n: v for n, v in first.engine.net.state_dict().items() if not n.startswith("model.")}
    ours = second.engine.net.state_dict()
    assert any(n.startswith("pointing.") for n in learnt) and all(torch.equal(ours[n], v) for n, v in learnt.items())
    second.run()
    (tmp_path / "a" / "heads.safetensors").unlink()
    with pytest.raises(ValueError, match="init_heads"):
        trainer(replace(FAST, seed=7), demos, tmp_path / "b", **options)


def test_a_stage_can_begin_with_the_vision_alone(demos: Demos, tmp_path: Path) -> None:
    trainer(FAST, demos, tmp_path / "a", stop_after=2).run()
    last = tmp_path / "a" / "last"
    config = replace(FAST, seed=7, init_parts="vision")
    begun = trainer(config, demos, tmp_path / "b", init_from=last).engine.net.state_dict()
    fresh = trainer(replace(config, init_parts="all"), demos, tmp_path / "c").engine.net.state_dict()
    trained = load_model(ModelConfig("tiny_oft", checkpoint=str(last), dtype="float32")).model.state_dict()
    assert any(n.startswith("model.vision.") for n in begun) and any(n.startswith("pointing.") for n in begun)
    for name, value in begun.items():
        is_vision = name.startswith("model.vision.")
        assert torch.equal(value, trained[name.removeprefix("model.")] if is_vision else fresh[name]), name


def test_heads_of_other_targets_are_left_alone(demos: Demos, tmp_path: Path) -> None:
    trainer(FAST, demos, tmp_path / "oft", stop_after=1).run()
    options = {"init_from": tmp_path / "oft" / "last"}
    with_heads = trainer(
        replace(FAST, model="tiny_openvla"), demos, tmp_path / "vla", **options
    ).engine.net.state_dict()
    (tmp_path / "oft" / "heads.safetensors").unlink()
    fresh = trainer(replace(FAST, model="tiny_openvla"), demos, tmp_path / "none", **options).engine.net.state_dict()
    assert all(torch.equal(with_heads[n], v) for n, v in fresh.items())


def test_a_second_model_begins_with_the_trunk_of_the_first(demos: Demos, tmp_path: Path) -> None:
    trainer(FAST, demos, tmp_path / "oft", evaluate=lambda loaded: {"success": 1.0}).run()
    source = tmp_path / "oft" / "best"
    config = replace(FAST, model="tiny_openvla")
    run = trainer(config, demos, tmp_path / "vla", init_from=source)
    oft = load_model(ModelConfig("tiny_oft", checkpoint=str(source), dtype="float32")).model
    ours, theirs = run.engine.net.model.state_dict(), oft.state_dict()
    shared = [k for k in ours if k.startswith(("vision.", "decoder.", "embed."))]
    assert shared and all(torch.equal(ours[k], theirs[k]) for k in shared)
    assert run.model_config.action_high == oft.config.action_high
    # The state is given in other numbers: its projector and its range stay behind.
    assert not torch.equal(ours["proprio.fc2.weight"], theirs["proprio.fc2.weight"])
    assert run.model_config.proprio_low != oft.config.proprio_low
    assert run.run().step == 12


def test_a_folder_without_a_checkpoint_is_named(demos: Demos, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"init_from: .*nowhere: expected a checkpoint folder .* config\.json"):
        trainer(FAST, demos, tmp_path / "a", init_from=tmp_path / "nowhere")
