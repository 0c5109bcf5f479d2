"""OpenVLA on SIMPLER's robots: gripper and rotation rules against an independent transcription, and end to end."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from tests.models.twins import observation
from vlacache.core.policies import build_cache_policy
from vlacache.models.factory import LoadedModel, ModelConfig, load_model
from vlacache.models.policy import CachedPolicy
from vlacache.models.postprocess import RobotPostprocess, build_postprocess
from vlacache.models.published import for_robot
from vlacache.models.robots import GOOGLE_ROBOT, ROBOTS, WIDOWX, Robot, StickyGripper
from vlacache.models.twin import twin_config, write_openvla_twin
from vlacache.types import LIBERO_ACTION_SPEC, Observation

#: Of the published statistics of fractal20220817_data: 1 % and 99 % quantiles; the gripper is outside the mask.
LOW = (-0.22453527510166169, -0.14820013284683228, -0.231589707583189, -0.3517994859814644, -0.4193011274933815)
LOW += (-0.43643461108207704, 0.0)
HIGH = (0.17824687153100965, 0.14938379630446405, 0.21842354819178575, 0.5892666035890578, 0.35272657424211445)
HIGH += (0.44796681255102094, 1.0)


def post_of(robot: Robot, *, scaled: bool = False) -> RobotPostprocess:
    config = for_robot(twin_config("openvla"), robot.unnorm_key)
    if scaled:
        config = replace(config, action_low=LOW, action_high=HIGH, action_mask=(True,) * 6 + (False,))
    made = build_postprocess(config)
    assert isinstance(made, RobotPostprocess)
    return made


def forks_sticky(openings: list[float]) -> list[float]:
    """The Google robot's rule as the forks state it, with their names."""
    previous, sticky_is_on, repeat, sticky, out = None, False, 0, 0.0, []
    for current in openings:
        relative = 0.0 if previous is None else previous - current
        previous = current  # at every step
        if abs(relative) > 0.5 and not sticky_is_on:
            sticky_is_on, sticky = True, relative
        if sticky_is_on:
            repeat += 1
            relative = sticky
        if repeat == 15:
            sticky_is_on, repeat, sticky = False, 0, 0.0
        out.append(relative)
    return out


def test_a_close_is_held_fifteen_steps_then_followed_again() -> None:
    gripper = StickyGripper(hold=15, follows=True)
    openings = [1.0, 1.0, 0.0, *([1.0, 0.0] * 7), 0.0, 0.0, 1.0]
    commands = [gripper.command(opening) for opening in openings]
    assert commands == [0.0, 0.0, *([1.0] * 15), 0.0, 0.0, -1.0]


def test_the_reference_is_the_opening_of_the_step_before() -> None:
    """Closing in steps of 0.3 never adds up; CogACT's variant closes at the second."""
    openings = [1.0, 0.7, 0.4, 0.1]
    follows, stays = StickyGripper(hold=15, follows=True), StickyGripper()
    assert [follows.command(o) for o in openings] == pytest.approx([0.0, 0.3, 0.3, 0.3])
    assert [stays.command(o) for o in openings] == pytest.approx([0.0, 0.3, 0.6, 0.6])


@pytest.mark.parametrize("seed", range(5))
def test_the_google_robots_gripper_is_the_forks(seed: int) -> None:
    rng = np.random.default_rng(seed)
    openings = np.where(rng.random(200) < 0.1, rng.random(200), np.repeat(rng.random(20) > 0.5, 10)).tolist()
    post = post_of(GOOGLE_ROBOT)
    found = [post.executed(np.array([0.0] * 6 + [o]), "pick coke can")[0, 6] for o in openings]
    expected = forks_sticky(openings)
    assert found == pytest.approx(expected, abs=1e-12)
    assert sum(abs(command) > 0.5 for command in expected) > 30, "the sequence holds commands"


@pytest.mark.parametrize(("opening", "command"), [(0.0, -1.0), (0.5, -1.0), (0.50001, 1.0), (0.996, 1.0), (-0.3, -1.0)])
def test_widowx_is_absolute(opening: float, command: float) -> None:
    assert post_of(WIDOWX).executed(np.array([0.0] * 6 + [opening]), "put")[0, 6] == command


@pytest.mark.parametrize("robot", ROBOTS.values())
def test_rotations_leave_as_axis_times_angle(robot: Robot) -> None:
    """De-normalised Euler angles, roll about x first: against scipy, with the published quantiles."""
    rng, post = np.random.default_rng(0), post_of(robot, scaled=True)
    for _ in range(20):
        answer = rng.uniform(-1, 1, 7)
        found = post.executed(answer, "pick coke can")[0]
        raw = 0.5 * (answer + 1) * (np.array(HIGH) - LOW) + LOW
        assert np.allclose(found[:3], raw[:3], rtol=0, atol=1e-12)
        assert np.allclose(found[3:6], Rotation.from_euler("xyz", raw[3:6]).as_rotvec(), rtol=0, atol=1e-9)


def test_a_golden_rotation() -> None:
    """Yaw of a quarter turn after a roll of a quarter turn: a third of a turn about (1, 1, 1)."""
    answer = np.array([0.0, 0.0, 0.0, math.pi / 2, 0.0, math.pi / 2, 0.0])
    config = replace(for_robot(twin_config("openvla"), "bridge_orig"), action_mask=(False,) * 7)
    found = build_postprocess(config).executed(answer, "put")[0, 3:6]
    assert found == pytest.approx(np.full(3, 2 * math.pi / 3 / math.sqrt(3)))


def test_a_new_instruction_or_episode_starts_afresh() -> None:
    post = post_of(GOOGLE_ROBOT)

    def opening(value: float, text: str) -> float:
        return float(post.executed(np.array([0.0] * 6 + [value]), text)[0, 6])

    assert [opening(1.0, "a"), opening(0.0, "a"), opening(0.0, "b")] == [0.0, 1.0, 0.0]
    assert [opening(1.0, "b"), opening(1.0, "b")] == [-1.0, -1.0]
    post.reset()
    assert opening(1.0, "b") == 0.0


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("twins") / "openvla"
    write_openvla_twin(made, "openvla")
    file = made / "dataset_statistics.json"
    own = json.loads(file.read_text())["libero_spatial_no_noops"]
    file.write_text(json.dumps({robot.unnorm_key: own for robot in ROBOTS.values()} | {"taco_play": own}))
    return made


def load(folder: Path, key: str) -> LoadedModel:
    return load_model(ModelConfig("openvla", str(folder), dtype="float32", unnorm_key=key))


@pytest.mark.parametrize("robot", ROBOTS.values())
def test_end_to_end_on_a_picture_that_is_not_square(folder: Path, robot: Robot) -> None:
    loaded = load(folder, robot.unnorm_key)
    assert loaded.action_spec == robot.action_spec != LIBERO_ACTION_SPEC and loaded.info.views == (robot.camera,)
    assert loaded.model.config.image_steps == ("lanczos",), "no JPEG round trip, no crop"
    policy = CachedPolicy(loaded, build_cache_policy("none"))
    picture = observation(0, size=256).images["agentview"][:200]
    seen = Observation({robot.camera: picture}, "pick coke can", None, 0)
    actions = [policy.infer(seen).actions for _ in range(2)]
    assert actions[0].shape == (1, 7) and np.array_equal(actions[0][:, :6], actions[1][:, :6])
    assert np.isfinite(actions[0]).all() and (robot is WIDOWX or actions[1][0, 6] == 0.0)


def test_data_of_other_robots_are_refused(folder: Path) -> None:
    with pytest.raises(ValueError, match=r"a robot whose gripper and rotation rules are known, .* got 'taco_play'"):
        load(folder, "taco_play")
