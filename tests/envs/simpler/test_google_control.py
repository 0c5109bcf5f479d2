"""The Google robot's controllers without a simulator: paths, chaining, the gripper's memory."""

from __future__ import annotations

import math
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("ruckig")
pytest.importorskip("sapien")

from ruckig import InputParameter, Ruckig, Trajectory

from runners.envs.simpler.google_control import (
    ARM_LIMITS,
    GRIPPER_LIMITS,
    ArmController,
    GripperController,
    Limits,
    plan_path,
    sensed_velocity,
    shifted_pose,
)
from runners.envs.simpler.google_robot import NUM_SUBSTEPS, SIM_HZ

DT = 1 / 513
FINGER_LIMITS = np.array([[-0.0001, 1.3]] * 2)
IDENTITY = np.array([1.0, 0.0, 0.0, 0.0])


def seven_segments(distance: float, limits: Limits, time: float) -> float:
    """Position at ``time`` of a rest-to-rest move that reaches neither its acceleration nor its speed limit fully.

    Jerk +, 0, -, then the mirror image; the cruising part is left out, so ``distance`` must be short.
    """
    jerk, acceleration = limits.jerk, limits.acceleration
    ramp = acceleration / jerk
    # half the way: s = a (t^2 + ramp t) / 2 with t the time from the start to the middle, less one ramp
    flat = (-3 * ramp + math.sqrt(ramp**2 + 4 * distance / acceleration)) / 2
    assert flat > 0 and acceleration * (flat + ramp) < limits.velocity
    half = flat + 2 * ramp
    if time > half:
        return distance - seven_segments(distance, limits, max(2 * half - time, 0.0))
    if time <= ramp:
        return jerk * time**3 / 6
    if time <= ramp + flat:
        t = time - ramp
        return jerk * ramp**3 / 6 + jerk * ramp**2 / 2 * t + acceleration * t**2 / 2
    t = time - ramp - flat
    before = jerk * ramp**3 / 6 + jerk * ramp**2 / 2 * flat + acceleration * flat**2 / 2
    return before + (acceleration * (ramp / 2 + flat)) * t + acceleration * t**2 / 2 - jerk * t**3 / 6


def test_path_is_the_analytic_seven_segment_profile() -> None:
    path = plan_path(np.zeros(1), np.zeros(1), np.array([0.3]), ARM_LIMITS)
    expected = [seven_segments(0.3, ARM_LIMITS, i * DT) for i in range(172)]
    np.testing.assert_allclose(path.position[:, 0], expected, atol=1e-9)


def test_a_move_of_0_3_rad_takes_longer_than_one_control_step() -> None:
    path = plan_path(np.zeros(1), np.zeros(1), np.array([0.3]), ARM_LIMITS)
    assert path.position[-1, 0] < 0.15
    assert path.velocity[-1, 0] > 0.3


@settings(max_examples=50, deadline=None)
@given(
    goal=st.lists(st.floats(-2, 2), min_size=3, max_size=3),
    velocity=st.lists(st.floats(-3, 3), min_size=3, max_size=3),
    limits=st.sampled_from([ARM_LIMITS, GRIPPER_LIMITS]),
)
def test_paths_keep_their_limits(goal: list[float], velocity: list[float], limits: Limits) -> None:
    path = plan_path(np.zeros(3), np.array(velocity), np.array(goal), limits)
    # A start at the speed limit may pass it by what the limited jerk still allows.
    slack = limits.acceleration**2 / limits.jerk
    assert np.abs(path.velocity).max() <= limits.velocity + slack
    acceleration = np.diff(path.velocity, axis=0) / DT
    assert np.abs(acceleration).max() <= limits.acceleration + 1e-6
    np.testing.assert_allclose(path.velocity[0], np.clip(velocity, -limits.velocity, limits.velocity), atol=1e-12)


@settings(max_examples=50, deadline=None)
@given(
    goal=st.lists(st.floats(-3, 3), min_size=1, max_size=7),
    velocity=st.floats(-1, 1),
    limits=st.sampled_from([ARM_LIMITS, GRIPPER_LIMITS]),
)
def test_samples_are_those_of_the_planner(goal: list[float], velocity: float, limits: Limits) -> None:
    """To the bit: a rounding error in a target becomes another episode once something is touched."""
    size = len(goal)
    path = plan_path(np.zeros(size), np.full(size, velocity), np.array(goal), limits)
    request = InputParameter(size)
    request.current_position, request.current_velocity = [0.0] * size, [velocity] * size
    request.target_position = goal
    request.max_velocity = [limits.velocity] * size
    request.max_acceleration = [limits.acceleration] * size
    request.max_jerk = [limits.jerk] * size
    trajectory = Trajectory(size)
    Ruckig(size).calculate(request, trajectory)
    for i in range(0, NUM_SUBSTEPS + 1, 10):
        if i / SIM_HZ < trajectory.duration:
            position, speed, _ = trajectory.at_time(i / SIM_HZ)
            assert path.position[i].tolist() == list(position)
            assert path.velocity[i].tolist() == list(speed)


def test_shift_is_plain_and_turn_is_about_the_base_axes() -> None:
    quarter_z = np.array([math.sqrt(0.5), 0, 0, math.sqrt(0.5)])
    position, quaternion = shifted_pose(np.array([0.4, 0.1, 0.9]), quarter_z, np.array([0.02, 0, 0, 0, 0, 0.1]))
    np.testing.assert_allclose(position, [0.42, 0.1, 0.9])
    half = math.pi / 4 + 0.05
    np.testing.assert_allclose(quaternion, [math.cos(half), 0, 0, math.sin(half)], atol=1e-12)


class TestArm:
    """Two joints whose inverse kinematics is the target's x and y."""

    def arm(self) -> ArmController:
        return ArmController(lambda position, quaternion: position[:2])

    def plan(self, arm: ArmController, qpos: list[float], delta: list[float]) -> object:
        pose = (np.array([*qpos, 0.0]), IDENTITY)
        return arm.plan(np.array(qpos), np.zeros(2), pose, np.array([*delta, 0, 0, 0, 0]))

    def test_first_path_starts_at_the_sensed_state(self) -> None:
        path = self.plan(self.arm(), [0.1, -0.2], [0.02, 0.0])
        np.testing.assert_allclose(path.position[0], [0.1, -0.2])

    def test_later_paths_start_at_the_planned_waypoint_not_at_the_sensed_state(self) -> None:
        arm = self.arm()
        first = self.plan(arm, [0.0, 0.0], [0.2, 0.0])
        second = self.plan(arm, [0.5, 0.5], [0.0, 0.0])
        np.testing.assert_allclose(second.position[0], first.position[171])
        np.testing.assert_allclose(second.velocity[0], first.velocity[171])

    def test_goals_are_relative_to_the_sensed_pose(self) -> None:
        arm = self.arm()
        self.plan(arm, [0.0, 0.0], [0.01, 0.0])
        path = None
        for _ in range(10):
            path = self.plan(arm, [0.03, 0.0], [0.01, 0.0])
        np.testing.assert_allclose(path.position[-1], [0.04, 0.0], atol=1e-9)

    def test_without_a_solution_the_arm_goes_to_where_it_is(self) -> None:
        arm = ArmController(lambda position, quaternion: None)
        path = None
        for _ in range(10):
            path = self.plan(arm, [0.3, 0.1], [1.0, 0.0])
        np.testing.assert_allclose(path.position[-1], [0.3, 0.1], atol=1e-9)


class TestGripper:
    def gripper(self) -> GripperController:
        return GripperController(FINGER_LIMITS, np.zeros(2))

    def test_closing_aims_beyond_the_limit_and_zero_keeps_squeezing(self) -> None:
        gripper = self.gripper()
        gripper.plan(np.zeros(2), np.zeros(2), 1.0)
        np.testing.assert_allclose(gripper.goal, 1.31)
        gripper.plan(np.full(2, 0.7), np.zeros(2), 0.0)
        np.testing.assert_allclose(gripper.goal, 1.31)

    def test_opening_after_closing(self) -> None:
        gripper = self.gripper()
        for opening in (0.0, 0.2, 0.5):
            gripper.plan(np.full(2, opening), np.zeros(2), 1.0)
        gripper.plan(np.full(2, 0.8), np.zeros(2), -1.0)
        np.testing.assert_allclose(gripper.goal, -0.0101)

    def test_goal_is_relative_to_the_last_drive_target(self) -> None:
        gripper = self.gripper()
        path = gripper.plan(np.zeros(2), np.zeros(2), 1.0)
        gripper.plan(np.full(2, 0.05), np.zeros(2), -0.1)
        np.testing.assert_allclose(gripper.goal, np.maximum(path.position[-1] - 0.131, -0.0101))

    def test_dead_zone_holds_for_the_scaled_command(self) -> None:
        gripper = self.gripper()
        gripper.plan(np.zeros(2), np.zeros(2), 1.0)
        gripper.plan(np.zeros(2), np.zeros(2), -0.00076)
        np.testing.assert_allclose(gripper.goal, 1.31)
        gripper.plan(np.zeros(2), np.zeros(2), -0.00077)
        assert gripper.goal[0] < 1.31

    def test_commands_are_clipped_to_one(self) -> None:
        gripper = self.gripper()
        gripper.plan(np.zeros(2), np.zeros(2), 0.4)
        first = gripper.goal
        np.testing.assert_allclose(first, 0.524)
        other = self.gripper()
        other.plan(np.zeros(2), np.zeros(2), 7.0)
        np.testing.assert_allclose(other.goal, 1.31)


ORACLES = os.environ.get("VLACACHE_ORACLES_DIR")


@pytest.mark.skipif(not ORACLES, reason="VLACACHE_ORACLES_DIR is not set")
@pytest.mark.parametrize("name", ["coke_v_12__probe", "open_top_a0__probe", "place_a0_00__purp"])
def test_paths_are_the_recorded_ones(name: str) -> None:
    """Every step: waypoint 171 of arm and gripper, from the recorded sensed states and goals."""
    from runners.envs.simpler.replay import read_recording

    recording = read_recording(Path(ORACLES or "") / f"simpler/episodes/{name}.npz")
    data = recording.arrays
    joints = recording.facts["joint_names"]
    fingers = [joints.index(joint) for joint in recording.facts["gripper_joint_names"]]
    arm = [joints.index(joint) for joint in recording.facts["arm_joint_names"]]
    gripper = GripperController(FINGER_LIMITS, data["qpos"][0][fingers].astype(np.float64))
    start, velocity = data["qpos"][0][arm].astype(np.float64), data["qvel"][0][arm].astype(np.float64)
    for step, action in enumerate(data["action"]):
        path = plan_path(start, velocity, data["arm_target_qpos"][step].astype(np.float64), ARM_LIMITS)
        start, velocity = path.position[-1], path.velocity[-1]
        np.testing.assert_allclose(start, data["arm_plan_q1"][step], atol=1e-6)
        np.testing.assert_allclose(velocity, data["arm_plan_v1"][step], atol=5e-6)
        sensed = [data[key][step][fingers].astype(np.float64) for key in ("qpos", "qvel")]
        closing = gripper.plan(*sensed, float(action[6]))
        np.testing.assert_allclose(gripper.goal, data["gripper_target_qpos"][step], atol=1e-6)
        np.testing.assert_allclose(closing.position[-1], data["gripper_plan_q1"][step], atol=1e-6)


def test_a_held_finger_is_sensed_as_moving() -> None:
    """Where its target runs ahead of it, but not in free air, and not where the fingers hold each other."""
    qvel = np.array([0.3, 0.0])
    free = sensed_velocity(np.array([0.5, 0.5]), qvel, np.array([0.5005, 0.5]))
    assert np.array_equal(free, qvel)
    held = sensed_velocity(np.array([0.75, 0.75]), np.zeros(2), np.array([1.05, 0.45]))
    assert held == pytest.approx([3.0 * 0.3, -3.0 * 0.3])
    assert np.array_equal(sensed_velocity(np.array([1.07, 1.07]), np.zeros(2), np.array([1.3, 1.3])), np.zeros(2))
