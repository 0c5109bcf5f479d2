"""Training: the loss falls, a run continues bit by bit, and what is saved is what was evaluated."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.models.twins import observation
from vlacache.core.policies import build_cache_policy
from vlacache.models.factory import LoadedModel, ModelConfig, load_model
from vlacache.models.policy import CachedPolicy
from vlacache.train.checkpointing import load_state
from vlacache.train.config import TrainConfig
from vlacache.train.demos import Demos
from vlacache.train.log import JsonlLogger
from vlacache.train.loop import RunOptions, Trainer
from vlacache.train.schedule import ema_decay, keep_share, learning_rate

FAST = TrainConfig(
    samples=96, batch_size=8, micro_batch=4, learning_rate=3e-3, eval_samples=48, save_steps=1, log_steps=1,
    ema_decay=0.5, keep_shares=((0.0, 0.5), (0.5, 1.0)), precision="float32",
)  # fmt: skip
pytestmark = pytest.mark.usefixtures("small_models")


def trainer(config: TrainConfig, demos: Demos, folder: Path, **options) -> Trainer:
    given = {name: options.pop(name, None) for name in ("evaluate", "validation", "init_from")}
    return Trainer(config, demos, folder, **given, options=RunOptions(**{"num_threads": 2, **options}))


def losses(folder: Path) -> list[float]:
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [line["loss/action"] for line in lines if "loss/action" in line]


@pytest.mark.parametrize("model", ["tiny_oft", "tiny_openvla"])
def test_ten_steps_lower_the_loss(demos: Demos, tmp_path: Path, model: str) -> None:
    trainer(replace(FAST, model=model), demos, tmp_path, stop_after=10).run()
    values = losses(tmp_path)
    assert len(values) == 10 and np.mean(values[-3:]) < 0.9 * np.mean(values[:2])


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("model", ["tiny_oft", "tiny_openvla"])
def test_a_continued_run_is_bit_exact(demos: Demos, tmp_path: Path, model: str, precision: str) -> None:
    config = replace(FAST, model=model, samples=48, precision=precision)
    straight = trainer(config, demos, tmp_path / "a").run()
    trainer(config, demos, tmp_path / "b", stop_after=3).run()
    continued = trainer(config, demos, tmp_path / "b", num_threads=1).run()  # also: with another number of cores
    assert straight.step == continued.step == 6
    for part in ("weights", "ema"):
        ours, theirs = getattr(straight, part), getattr(continued, part)
        assert ours.keys() == theirs.keys() and all(torch.equal(ours[k], theirs[k]) for k in ours)
    assert losses(tmp_path / "a") == losses(tmp_path / "b")


def test_a_checkpoint_names_the_programs_that_trained_it(demos: Demos, tmp_path: Path) -> None:
    for stop, commit in ((1, "a" * 40), (1, "a" * 40), (1, None)):
        trainer(FAST, demos, tmp_path, stop_after=stop, commit=commit).run()
    facts = json.loads((tmp_path / "last" / "training.json").read_text())
    assert (facts["step"], facts["commits"]) == (3, ["a" * 40, "unknown"])


CHILD = """
import sys
from pathlib import Path
from tests.models.twins import small
from tests.train.test_training import FAST, trainer
from vlacache.models.tiny import TINY_MODELS
from vlacache.train.reader import read_lerobot
TINY_MODELS.update({name: small(config) for name, config in TINY_MODELS.items()})
trainer(FAST, read_lerobot(Path(sys.argv[1])), Path(sys.argv[2])).run()
"""


def test_a_killed_run_continues_with_the_same_command(folder: Path, demos: Demos, tmp_path: Path, repo_root) -> None:
    command = [sys.executable, "-c", CHILD, str(folder), str(tmp_path / "killed")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(repo_root)}
    child = subprocess.Popen(command, cwd=repo_root, env=environment)
    log = tmp_path / "killed" / "log.jsonl"
    limit = time.monotonic() + 120
    while (not log.is_file() or log.read_text().count("\n") < 3) and time.monotonic() < limit:
        time.sleep(0.01)
    child.send_signal(signal.SIGKILL)
    child.wait()
    state = load_state(tmp_path / "killed")
    assert state is not None and 2 <= state.step < FAST.total_steps, "killed too early or too late"
    subprocess.run(command, cwd=repo_root, env=environment, check=True)
    straight = trainer(FAST, demos, tmp_path / "straight").run()
    continued = load_state(tmp_path / "killed")
    assert continued is not None and continued.step == straight.step == 12
    assert all(torch.equal(straight.ema[k], continued.ema[k]) for k in straight.ema)
    assert len(losses(tmp_path / "killed")) == 12


def test_other_numbers_or_demos_do_not_continue_a_run(demos: Demos, tmp_path: Path) -> None:
    trainer(FAST, demos, tmp_path, stop_after=1).run()
    with pytest.raises(ValueError, match=r"learning_rate: 0.003 != 0.001"):
        trainer(replace(FAST, learning_rate=1e-3), demos, tmp_path)
    with pytest.raises(ValueError, match="demos"):
        trainer(FAST, replace(demos, action=demos.action * 0.5), tmp_path)


def test_averaged_weights_follow_the_recursion(demos: Demos, tmp_path: Path) -> None:
    run = trainer(FAST, demos, tmp_path)
    expected = run.engine.ema["embed.weight"].double().clone()
    for step in range(4):
        run.engine.update(run.batches.make(step), step)
        decay = ema_decay(FAST, step)
        expected = decay * expected + (1 - decay) * run.engine.net.model.embed.weight.detach().double()
    assert torch.allclose(run.engine.ema["embed.weight"].double(), expected, atol=1e-6)
    assert not torch.allclose(run.engine.ema["embed.weight"], run.engine.net.model.embed.weight, atol=1e-5)


def test_batches_depend_on_seed_and_update_alone(demos: Demos, tmp_path: Path) -> None:
    a, b = (trainer(FAST, demos, tmp_path / name).batches for name in "ab")
    b.make(3)
    first, second = a.make(7)[1], b.make(7)[1]
    assert torch.equal(first.inputs.patches, second.inputs.patches)
    assert torch.equal(first.targets.actions, second.targets.actions)
    epoch = np.concatenate([a.frames(step) for step in range(-(-demos.num_frames // 8) * 2)])
    assert sorted(epoch[: demos.num_frames]) == list(range(demos.num_frames))
    assert sorted(epoch[demos.num_frames : 2 * demos.num_frames]) == list(range(demos.num_frames))
    assert epoch[: demos.num_frames].tolist() != epoch[demos.num_frames : 2 * demos.num_frames].tolist()


def test_an_epoch_shows_every_move_and_a_share_of_the_pauses(demos: Demos, tmp_path: Path) -> None:
    """Odd frames are made pauses: the hand stands, the fingers still close."""
    action = demos.action.copy()
    pauses = np.arange(1, demos.num_frames, 2)
    moves = np.setdiff1d(np.arange(demos.num_frames), pauses)
    action[demos.frame_rows, 0] = 0.5
    action[demos.frame_rows[pauses], :-1] = 0.05
    action[:, -1] = 1.0
    batches = trainer(replace(FAST, pause_keep=0.25), replace(demos, action=action), tmp_path).batches
    num_pauses = round(0.25 * len(pauses))
    length = len(moves) + num_pauses
    frames = np.concatenate([batches.frames(step) for step in range(-(-3 * length // 8))])
    epochs = [set(frames[i * length : (i + 1) * length].tolist()) for i in range(3)]
    assert all(len(epoch) == length and epoch >= set(moves.tolist()) for epoch in epochs)
    assert len({frozenset(epoch) for epoch in epochs}) > 1, "other pauses in other epochs"


def test_frames_around_a_change_of_grip_come_again(demos: Demos, tmp_path: Path) -> None:
    """The command changes at one step of every episode, the hand stands still there."""
    action = demos.action.copy()
    action[:, :-1], action[:, -1] = 0.5, 1.0
    starts = np.searchsorted(demos.episode, np.arange(demos.num_episodes))
    change = starts + 9
    for start, at in zip(starts, change, strict=True):
        action[start:at, -1] = -1.0
    action[change, :-1] = 0.0
    changed = replace(demos, action=action)
    near = np.abs(demos.frame_rows[:, None] - change).min(axis=1) <= 2
    assert changed.near_grip_change(2).tolist() == near.tolist() and 0 < near.sum() < len(near)
    batches = trainer(replace(FAST, pause_keep=0.0, grip_repeats=3), changed, tmp_path).batches
    length = len(near) + 2 * int(near.sum())
    epoch = np.concatenate([batches.frames(step) for step in range(-(-length // 8))])[:length]
    assert np.bincount(epoch, minlength=len(near)).tolist() == np.where(near, 3, 1).tolist()


def test_frames_in_which_the_hand_turns_come_again(demos: Demos, tmp_path: Path) -> None:
    """About the vertical at more than half speed; where the grip changes too, the larger number holds."""
    action = demos.action.copy()
    action[:, :-1], action[:, -1] = 0.5, 1.0
    frame = np.arange(len(action))
    action[frame % 5 == 0, 5] = -0.8
    starts = np.searchsorted(demos.episode, np.arange(demos.num_episodes))
    action[starts, -1] = -1.0
    turning = replace(demos, action=action)
    turns, near = (frame % 5 == 0)[demos.frame_rows], turning.near_grip_change(2)
    assert 0 < (turns & near).sum() < turns.sum() < len(turns)
    batches = trainer(replace(FAST, grip_repeats=2, turn_repeats=3), turning, tmp_path).batches
    times = np.where(turns, 3, np.where(near, 2, 1))
    epoch = np.concatenate([batches.frames(step) for step in range(-(-times.sum() // 8))])[: times.sum()]
    assert np.bincount(epoch, minlength=len(times)).tolist() == times.tolist()


def test_demos_without_a_move_are_refused(demos: Demos, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="never moves"):
        trainer(replace(FAST, pause_keep=0.0), replace(demos, action=np.zeros_like(demos.action)), tmp_path)


def test_schedules() -> None:
    config = replace(
        FAST, samples=8000, warmup=0.1, learning_rate=1.0, keep_shares=((0.0, 0.25), (0.6, 0.5), (0.9, 1.0))
    )
    rates = [learning_rate(config, step) for step in range(config.total_steps)]
    assert rates[0] == pytest.approx(0.01) and max(rates) == pytest.approx(1.0) and rates[-1] < 1e-5
    assert rates[549] == pytest.approx(0.5 * (1 + math.cos(math.pi * 449 / 900)))
    assert [keep_share(config, s) for s in (0, 599, 600, 899, 900, 999)] == [0.25, 0.25, 0.5, 0.5, 1.0, 1.0]
    assert ema_decay(config, 0) == 0.1 and ema_decay(config, 10_000) == config.ema_decay


class Scripted:
    """Evaluations that say what the test wants, and remember the model they got."""

    def __init__(self, *values: float) -> None:
        self.values, self.models = list(values), []

    def __call__(self, loaded: LoadedModel) -> dict[str, float]:
        self.models.append(loaded)
        return {"success": self.values.pop(0)}


def actions(loaded: LoadedModel) -> np.ndarray:
    policy = CachedPolicy(loaded, build_cache_policy("none"))
    policy.reset(0)
    return policy.infer(observation()).actions


@pytest.mark.parametrize("model", ["tiny_oft", "tiny_openvla"])
def test_the_best_checkpoint_acts_as_the_evaluated_model(demos: Demos, tmp_path: Path, model: str) -> None:
    evaluate = Scripted(0.8, 0.3)
    state = trainer(replace(FAST, model=model), demos, tmp_path, evaluate=evaluate).run()
    assert (state.best, state.best_step, len(evaluate.models)) == (0.8, 6, 2)
    best = load_model(ModelConfig(model, checkpoint=str(tmp_path / "best"), dtype="bfloat16"))
    assert best.info.weights == "trained"
    for name, value in evaluate.models[0].model.state_dict().items():
        assert torch.equal(best.model.state_dict()[name], value), name
    assert np.allclose(actions(best), actions(evaluate.models[0]), atol=1e-2)
    last = evaluate.models[1].model.embed.weight
    assert not torch.equal(best.model.embed.weight, last), "the last model was not the best one"
    facts = json.loads((tmp_path / "best" / "training.json").read_text())
    assert facts["step"] == 6 and facts["validation"] == {"success": 0.8} and facts["demos"]["episodes"] == 4
    assert (tmp_path / "best" / "tokenizer.json").is_file() and (tmp_path / "last" / "model.safetensors").is_file()


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


def test_an_evaluation_runs_once_however_often_the_run_is_continued(demos: Demos, tmp_path: Path) -> None:
    first, second = Scripted(0.5), Scripted(0.6)
    trainer(FAST, demos, tmp_path, evaluate=first, stop_after=6).run()
    trainer(FAST, demos, tmp_path, evaluate=second).run()
    assert (len(first.models), len(second.models)) == (1, 1)
    trainer(FAST, demos, tmp_path, evaluate=Scripted()).run()  # a finished run asks nothing


def test_a_second_model_begins_with_the_trunk_of_the_first(demos: Demos, tmp_path: Path) -> None:
    trainer(FAST, demos, tmp_path / "oft", evaluate=Scripted(1.0, 1.0)).run()
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


def test_normalisation_comes_from_the_demos(demos: Demos, tmp_path: Path) -> None:
    config = trainer(FAST, demos, tmp_path).model_config
    assert config.action_low[6] == -1.0 and config.action_high[6] == 1.0
    assert config.action_high[0] == pytest.approx(np.quantile(demos.action[:, 0].astype("f8"), 0.99), abs=1e-5)
    assert config.action_high[3] - config.action_low[3] == pytest.approx(0.01)  # never moves: a range all the same
    assert config.proprio_low[2] == pytest.approx(np.quantile(demos.state[:, 2].astype("f8"), 0.01), abs=1e-5)


def test_a_log_is_taken_back_to_the_state(tmp_path: Path) -> None:
    journal = JsonlLogger(tmp_path / "log.jsonl")
    journal.log(2, {"loss": 1.0})
    journal.log(2, {"closed_loop": {"success": 0.5}})
    journal.log(4, {"loss": 0.5})
    journal.log(4, {"closed_loop": {"success": 0.6}})
    journal.log(6, {"loss": 0.4})
    with (tmp_path / "log.jsonl").open("a") as file:
        file.write('{"step": 3, "lo')
    journal.rewind(4, last_eval=2)  # killed in the evaluation after update 4
    kept = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [(line["step"], "loss" in line) for line in kept] == [(2, True), (2, False), (4, True)]
