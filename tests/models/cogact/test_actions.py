"""Un-normalisation, ensemble, gripper rules and rotations."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation
from torch import Tensor

from vlacache.models.cogact.actions import clip_and_binarize
from vlacache.models.cogact.ensemble import AdaptiveEnsemble
from vlacache.models.cogact.postprocess import EpisodePostprocess
from vlacache.models.cogact.twin import SIZES
from vlacache.models.config import VLAConfig
from vlacache.models.fields import Fields
from vlacache.models.heads import unnormalize
from vlacache.models.robots import (
    GOOGLE_ROBOT,
    ROBOTS,
    WIDOWX,
    Robot,
    StickyGripper,
    euler_to_rotation_vector,
    robot_of,
)
from vlacache.models.statistics import read_bounds


def config_of(robot: Robot) -> VLAConfig:
    """De-normalisation that changes nothing."""
    return SIZES.config(robot, ((-1.0,) * 7, (1.0,) * 7, (True,) * 6 + (False,)))


def chunk(rng: np.random.Generator) -> NDArray[np.float64]:
    return rng.normal(size=(16, 7))


# --- numbers --------------------------------------------------------------------------------------------------------


def test_clip_and_gripper_threshold() -> None:
    samples = np.zeros((3, 7), np.float32)
    samples[:, 0], samples[:, 6] = (-3.0, 0.4, 2.0), (0.4999, 0.5, 9.0)
    actions = clip_and_binarize(samples)
    assert actions[:, 0].tolist() == pytest.approx([-1.0, 0.4, 1.0]) and actions[:, 6].tolist() == [0.0, 1.0, 1.0]
    assert samples[2, 0] == 2.0  # the caller's array is not written to


# --- ensemble -------------------------------------------------------------------------------------------------------


def test_the_first_action_is_the_chunks_own() -> None:
    first = chunk(np.random.default_rng(0))
    assert np.allclose(AdaptiveEnsemble(7).add(first), first[0])


def test_alpha_zero_is_the_mean_of_what_was_predicted_for_now() -> None:
    rng, ensemble = np.random.default_rng(1), AdaptiveEnsemble(3, alpha=0.0)
    chunks = [chunk(rng) for _ in range(5)]
    actions = [ensemble.add(c) for c in chunks]
    assert np.allclose(actions[4], (chunks[4][0] + chunks[3][1] + chunks[2][2]) / 3)


def test_weights_prefer_what_agrees_with_the_newest() -> None:
    """Two predictions: alpha weighs the opposite one by exp(-2 alpha)."""
    ensemble = AdaptiveEnsemble(2, alpha=1.0)
    ensemble.add(np.full((16, 7), -1.0))
    weight = np.exp(-1) / (np.exp(1) + np.exp(-1))
    assert np.allclose(ensemble.add(np.ones((16, 7))), 1 - 2 * weight)


def test_a_zero_action_does_not_divide_by_zero() -> None:
    assert np.array_equal(AdaptiveEnsemble(2).add(np.zeros((16, 7))), np.zeros(7))


@given(st.integers(1, 16), st.integers(0, 2**32 - 1))
def test_the_action_lies_between_the_predictions(horizon: int, seed: int) -> None:
    rng, ensemble = np.random.default_rng(seed), AdaptiveEnsemble(horizon)
    chunks = [chunk(rng) for _ in range(horizon + 2)]
    action = [ensemble.add(c) for c in chunks][-1]
    predictions = np.stack([chunks[-1 - age][age] for age in range(horizon)])
    assert np.all(action >= predictions.min(0) - 1e-12) and np.all(action <= predictions.max(0) + 1e-12)


def test_impossible_horizons_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        AdaptiveEnsemble(0)
    with pytest.raises(ValueError, match="at least 7 actions, got 4"):
        AdaptiveEnsemble(7).add(np.zeros((4, 7)))


# --- gripper --------------------------------------------------------------------------------------------------------


def test_a_close_is_held_ten_steps_whatever_the_policy_says() -> None:
    gripper = StickyGripper()
    commands = [gripper.command(opening) for opening in [1, 1, 0, *([1, 0] * 4), 0, 0, 0]]
    assert commands == [0, 0, *([1] * 10), 0, 0]


def test_the_reference_changes_only_when_a_hold_starts() -> None:
    """Closing in steps of 0.3 adds up to a command; a reference that followed would never see one."""
    gripper = StickyGripper()
    assert [gripper.command(o) for o in (1.0, 0.7, 0.4)] == pytest.approx([0.0, 0.3, 0.6])


def test_half_is_not_yet_a_command_and_reset_forgets_the_hold() -> None:
    gripper = StickyGripper()
    assert [gripper.command(o) for o in (1.0, 0.5)] == [0.0, 0.5] and not gripper.is_holding
    gripper.command(0.0)
    assert gripper.is_holding
    gripper.reset()
    assert gripper.command(0.0) == 0.0 and not gripper.is_holding


def test_widowx_is_absolute() -> None:
    post = EpisodePostprocess(config_of(WIDOWX))
    samples = np.zeros((16, 7))
    samples[:, 6] = 1.0
    assert post.command(samples, "a")[6] == 1.0
    samples[:, 6] = 0.0
    post.reset()
    assert post.command(samples, "a")[6] == -1.0


@pytest.mark.parametrize("robot", ROBOTS.values())
def test_a_new_instruction_starts_afresh(robot: Robot) -> None:
    rng = np.random.default_rng(3)
    used, fresh = EpisodePostprocess(config_of(robot)), EpisodePostprocess(config_of(robot))
    for _ in range(4):
        used.command(chunk(rng), "pick up the can")
    last = chunk(rng)
    assert np.array_equal(used.command(last, "open the drawer"), fresh.command(last, "open the drawer"))
    following = chunk(rng)
    assert np.array_equal(used.command(following, "open the drawer"), fresh.command(following, "open the drawer"))


def test_unknown_statistics_name_no_robot() -> None:
    with pytest.raises(ValueError, match=r"model\.unnorm_key"):
        robot_of("libero_spatial")


# --- rotation -------------------------------------------------------------------------------------------------------


@given(st.tuples(*[st.floats(-1.5, 1.5)] * 3))
def test_rotation_vector_is_the_same_rotation(euler: tuple[float, float, float]) -> None:
    ours = Rotation.from_rotvec(euler_to_rotation_vector(np.array(euler)))
    assert (ours.inv() * Rotation.from_euler("xyz", euler)).magnitude() < 1e-9


def test_no_rotation_is_zero() -> None:
    assert euler_to_rotation_vector(np.zeros(3)).tolist() == [0.0, 0.0, 0.0]


# --- oracle ---------------------------------------------------------------------------------------------------------


def test_actions_are_the_oracles(oracle: Mapping[str, Tensor], oracle_statistics: dict[str, Any]) -> None:
    low, high, mask = read_bounds(Fields(oracle_statistics[GOOGLE_ROBOT.unnorm_key], "oracle"), "action", 7)
    normalized = clip_and_binarize(oracle["policy0.samples"][0].numpy())
    assert np.allclose(normalized, oracle["policy0.actions_normalized"], rtol=0, atol=1e-9)
    assert np.allclose(unnormalize(normalized, low, high, mask), oracle["policy0.actions"], rtol=0, atol=1e-9)


@pytest.mark.parametrize(("horizon", "alpha"), [(1, 0.1), (2, 0.1), (7, 0.1), (4, 1.0), (16, 0.0)])
def test_ensemble_is_the_oracles(oracle: Mapping[str, Tensor], horizon: int, alpha: float) -> None:
    ensemble = AdaptiveEnsemble(horizon, alpha)
    actions = np.stack([ensemble.add(c) for c in oracle["rec20a.chunks"].numpy()])
    assert np.allclose(actions, oracle[f"rec20a.ensemble.h{horizon}.a{alpha}"], rtol=0, atol=1e-9)


@pytest.mark.parametrize("robot", ROBOTS.values())
def test_commands_are_the_oracles(oracle: Mapping[str, Tensor], robot: Robot) -> None:
    """A whole recorded episode: ensemble, axis-angle, gripper and, for the sticky one, its state after every step."""
    post = EpisodePostprocess(config_of(robot))  # the recorded chunks are de-normalised already: bounds of +-1
    resets = set(oracle["rec20a.reset_before_step"].tolist())
    chunks = oracle["rec20a.chunks"].numpy()
    states = oracle[f"rec20a.{robot.name}.sticky_state"].numpy()
    instruction = "first"
    for step, recorded in enumerate(chunks):
        instruction = f"new at {step}" if step in resets else instruction
        command = post.command(recorded, instruction)
        expected = oracle[f"rec20a.{robot.name}.action"][step].numpy()
        assert np.allclose(command, expected[:7], rtol=0, atol=1e-9)
        if post.gripper is not None:
            g = post.gripper
            assert [g.is_holding, g.num_held, g.held, g.reference] == pytest.approx(states[step].tolist())
