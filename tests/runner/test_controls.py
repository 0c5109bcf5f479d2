"""The control policies: pictures without content, actions without a model."""

from __future__ import annotations

from contextlib import closing

import numpy as np
import pytest

from runners.assets import resolve_assets
from runners.controls.blind import BlindPolicy, mean_colours
from runners.controls.replay import POOL, ReplayPolicy
from runners.envs.base import Env, PrivilegedPolicy
from runners.envs.libero import make_libero_env
from runners.envs.toy import make_toy_env
from runners.experts import build_expert
from vlacache.types import LIBERO_ACTION_SPEC, ActionChunk, InferenceStats, Observation, Policy


class Seeing:
    """Keeps what it was shown."""

    name, weights, action_spec, cameras, num_open_loop_steps = "seeing", "trained", LIBERO_ACTION_SPEC, ("front",), 3

    def __init__(self) -> None:
        self.seen: list[Observation] = []
        self.seeds: list[int] = []

    def reset(self, seed: int) -> None:
        self.seeds.append(seed)

    def infer(self, observation: Observation) -> ActionChunk:
        self.seen.append(observation)
        return ActionChunk(np.zeros((3, 7), dtype=np.float32), InferenceStats())


def test_blind_passes_on_everything_but_the_pictures() -> None:
    inner = Seeing()
    blind = BlindPolicy(inner)
    assert isinstance(blind, Policy)
    assert (blind.weights, blind.cameras, blind.num_open_loop_steps) == ("trained", ("front",), 3)
    picture = np.random.default_rng(0).integers(0, 256, size=(8, 8, 3), dtype=np.uint8)
    shown = Observation({"front": picture}, "do it", np.arange(8, dtype=np.float32), step=5)
    blind.reset(7)
    assert len(blind.infer(shown).actions) == 3
    (seen,) = inner.seen
    assert inner.seeds == [7]
    assert (seen.instruction, seen.step, seen.proprio) == (shown.instruction, 5, shown.proprio)
    assert seen.images["front"].shape == picture.shape
    assert (seen.images["front"] == seen.images["front"][0, 0]).all()


def test_mean_colour_is_rounded_per_channel() -> None:
    picture = np.zeros((2, 2, 3), dtype=np.uint8)
    picture[0] = (10, 255, 1)
    (colour,) = {tuple(pixel) for pixel in mean_colours({"a": picture})["a"].reshape(-1, 3)}
    assert colour == (5, 128, 0)


def test_replay_refuses_a_suite_without_training_episodes() -> None:
    replay = ReplayPolicy(make_toy_env, build_expert("toy"))
    replay.attach(make_toy_env())
    with pytest.raises(ValueError, match="no training episodes"):
        replay.reset(0)


@pytest.mark.sim
def test_replay_plays_an_episode_that_is_not_the_evaluated_one() -> None:
    """Same actions whatever the scene looks like; the wide bowl is somewhere else, so nothing is lifted."""
    assets = resolve_assets("builtin", suite="libero_spatial", render="fast")
    built = []

    def make_env(task_id: int) -> Env:
        built.append(make_libero_env("libero_spatial", task_id, assets=assets, placement="wide"))
        return built[-1]

    replay = ReplayPolicy(make_env, build_expert("libero_spatial"))
    assert isinstance(replay, PrivilegedPolicy)
    with closing(make_libero_env("libero_spatial", 8, assets=assets, placement="wide")) as env:
        played, outcomes = [], []
        for init_index, seed in ((0, 1), (1, 1 + POOL)):
            replay.attach(env)
            replay.reset(seed)
            now = env.reset(init_index=init_index, seed=0)
            actions = []
            while not now.done:
                actions.append(replay.infer(env.observe()).actions[0])
                now = env.step(actions[-1])
            played.append(actions)
            outcomes.append(now.success)
    assert len(built) == 1, "one recording serves both episodes"
    np.testing.assert_array_equal(played[0][:60], played[1][:60])
    assert outcomes == [False, False]
    np.testing.assert_array_equal(played[0][-1][:6], np.zeros(6))
    with pytest.raises(RuntimeError, match="closed"):
        built[0].reset(init_index=0, seed=0)
