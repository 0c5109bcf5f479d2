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
from tests.train.runs import FAST, losses, trainer
from vlacache.core.policies import build_cache_policy
from vlacache.models.factory import LoadedModel, ModelConfig, load_model
from vlacache.models.policy import CachedPolicy
from vlacache.train.checkpointing import load_state
from vlacache.train.demos import Demos
from vlacache.train.log import JsonlLogger
from vlacache.train.schedule import ema_decay, keep_share, learning_rate

pytestmark = pytest.mark.usefixtures("small_models")


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
from tests.train.runs import FAST, trainer
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


def test_an_evaluation_runs_once_however_often_the_run_is_continued(demos: Demos, tmp_path: Path) -> None:
    first, second = Scripted(0.5), Scripted(0.6)
    trainer(FAST, demos, tmp_path, evaluate=first, stop_after=6).run()
    trainer(FAST, demos, tmp_path, evaluate=second).run()
    assert (len(first.models), len(second.models)) == (1, 1)
    trainer(FAST, demos, tmp_path, evaluate=Scripted()).run()  # a finished run asks nothing


def test_normalisation_comes_from_the_demos(demos: Demos, tmp_path: Path) -> None:
    config = trainer(FAST, demos, tmp_path).model_config
    assert config.action_low[6] == -1.0 and config.action_high[6] == 1.0
    assert config.action_high[0] == pytest.approx(np.quantile(demos.action[:, 0].astype("f8"), 0.99), abs=1e-5)
    assert config.action_high[3] - config.action_low[3] == pytest.approx(0.01)  # never moves: a range all the same
    assert config.proprio_low[2] == pytest.approx(np.quantile(demos.state[:, 2].astype("f8"), 0.01), abs=1e-5)


def test_the_last_updates_are_logged_too(demos: Demos, tmp_path: Path) -> None:
    """Twelve updates, five a line; what is left at a stop is not a line yet, at the end it is."""
    config = replace(FAST, log_steps=5)
    trainer(config, demos, tmp_path, stop_after=7).run()
    assert len(losses(tmp_path)) == 1
    trainer(config, demos, tmp_path).run()
    steps = [json.loads(line)["step"] for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [step for step in steps if step != 6] == [5, 10, 12] and len(losses(tmp_path)) == 3


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
