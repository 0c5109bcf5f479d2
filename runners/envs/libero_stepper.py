"""One control step of robosuite's OSC loop without the work whose result nobody reads; bit-equal trajectories.

robosuite 1.4 runs, for each of the 25 physics substeps of a control step: ``mj_forward``; the controller's own
``mj_forward``; ``mj_step`` (a third pass); then all observables. Position and velocity stages give the same numbers
each time, so here they run once. The constraint solver does not: it starts from the acceleration of the last solve, so
every solve leaves its trace in the last bits, and the solves that robosuite makes are made here as well, in order. The
controller's torque law, goal and gripper code are robosuite's own; only the reading of the state is replaced.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import mujoco
import numpy as np
from numpy.typing import NDArray

NUM_SUBSTEPS = 25  # 20 Hz control over 500 Hz physics
#: robosuite samples its observables once per control step. After a reset and a set init state, each of which advances
#: the sampling clock by one substep, that happens after the 24th substep; so for every step of an episode.
SAMPLED_SUBSTEP = 23


@dataclass(frozen=True, slots=True)
class Sample:
    """What robosuite's observables see in one control step.

    Positions come from the last kinematics pass, which precedes the integration; joints from after it.

    Attributes:
        qpos: float64[nq] at that kinematics pass, from which pictures are drawn.
        eef_pos: float64[3] grip site (m). hand_quat_wxyz: float64[4] of the hand body.
        gripper_qpos: float64[2] finger joints (m).
    """

    qpos: NDArray[np.float64]
    eef_pos: NDArray[np.float64]
    hand_quat_wxyz: NDArray[np.float64]
    gripper_qpos: NDArray[np.float64]


class LeanStepper:
    """Steps the simulation of one built robosuite environment with a single arm and an OSC_POSE controller.

    Make a new one after each robosuite reset: the reset replaces the controller.
    """

    def __init__(self, robosuite_env: Any) -> None:
        if int(robosuite_env.control_timestep / robosuite_env.model_timestep) != NUM_SUBSTEPS:
            raise RuntimeError(f"expected {NUM_SUBSTEPS} substeps per control step; did the control rate change?")
        robot = robosuite_env.robots[0]
        self._model, self._data = robosuite_env.sim.model._model, robosuite_env.sim.data._data
        # No force sensor is read, and computing them costs a pass over all contacts; they do not feed back.
        self._model.opt.disableflags |= mujoco.mjtDisableBit.mjDSBL_SENSOR
        self._controller, self._gripper = robot.controller, robot.gripper
        self._site = robot.eef_site_id
        self._hand = robosuite_env.sim.model.body_name2id(robot.robot_model.eef_name)
        self._arm_qpos = np.array(robot._ref_joint_pos_indexes)
        self._arm_qvel = np.array(robot._ref_joint_vel_indexes)
        self._gripper_qpos = np.array(robot._ref_gripper_joint_pos_indexes)
        self._arm_actuators = np.array(robot._ref_joint_actuator_indexes)
        self._gripper_actuators = np.array(robot._ref_joint_gripper_actuator_indexes)
        self._torque_low, self._torque_high = robot.torque_limits
        grip_range = self._model.actuator_ctrlrange[self._gripper_actuators]
        self._grip_bias = 0.5 * (grip_range[:, 1] + grip_range[:, 0])
        self._grip_weight = 0.5 * (grip_range[:, 1] - grip_range[:, 0])
        self._jacobian = np.zeros((6, self._model.nv))
        self._mass = np.zeros((self._model.nv, self._model.nv))

    def step(self, action: NDArray[np.floating]) -> Sample:
        """Advance one control step of 50 ms.

        Args:
            action: float[7] in robosuite's units.

        Returns:
            What the observables see.
        """
        model, data = self._model, self._data
        arm, grip = action[:6], action[6:]
        sample = None
        for substep in range(NUM_SUBSTEPS):
            mujoco.mj_step1(model, data)  # position and velocity stages; robosuite: sim.forward()
            self._solve()
            self._control(arm if substep == 0 else None, grip)
            if substep == SAMPLED_SUBSTEP:
                seen = data.qpos.copy(), data.site_xpos[self._site].copy(), data.xquat[self._hand].copy()
                mujoco.mj_step2(model, data)
                sample = Sample(*seen, gripper_qpos=data.qpos[self._gripper_qpos])
            else:
                mujoco.mj_step2(model, data)
        assert sample is not None  # SAMPLED_SUBSTEP < NUM_SUBSTEPS
        return sample

    def _solve(self) -> None:
        """Acceleration stage with the controls as they stand; moves the solver's warm start."""
        mujoco.mj_fwdActuation(self._model, self._data)
        mujoco.mj_fwdAcceleration(self._model, self._data)
        mujoco.mj_fwdConstraint(self._model, self._data)

    def _control(self, goal: NDArray[np.floating] | None, grip: NDArray[np.floating]) -> None:
        """Write the controls of this substep; ``goal`` is given on the first substep of a control step."""
        controller, data = self._controller, self._data
        if controller.new_update:  # False once after a reset: robosuite then computes with the state of the reset
            self._solve()
            self._read_state()
        if goal is not None:
            controller.set_goal(goal)
        torques = controller.run_controller()
        data.ctrl[self._arm_actuators] = np.clip(torques, self._torque_low, self._torque_high)
        data.ctrl[self._gripper_actuators] = self._grip_bias + self._grip_weight * self._gripper.format_action(grip)

    def _read_state(self) -> None:
        """What ``Controller.update`` does, without its ``mj_forward`` and with one Jacobian call instead of four.

        Columns are picked by index as robosuite does, because the memory order that results is part of the
        bit-equality: compiled products of the torque law sum in an order that depends on it.
        """
        model, data, controller = self._model, self._data, self._controller
        position_rows, rotation_rows = self._jacobian[:3], self._jacobian[3:]
        mujoco.mj_jacSite(model, data, position_rows, rotation_rows, self._site)
        controller.ee_pos = data.site_xpos[self._site].copy()
        controller.ee_ori_mat = data.site_xmat[self._site].reshape(3, 3).copy()
        controller.ee_pos_vel = np.dot(position_rows, data.qvel)
        controller.ee_ori_vel = np.dot(rotation_rows, data.qvel)
        controller.joint_pos = data.qpos[self._arm_qpos]
        controller.joint_vel = data.qvel[self._arm_qvel]
        controller.J_pos = position_rows[:, self._arm_qvel]
        controller.J_ori = rotation_rows[:, self._arm_qvel]
        controller.J_full = self._jacobian[:, self._arm_qvel]
        mujoco.mj_fullM(model, self._mass, data.qM)
        controller.mass_matrix = self._mass[self._arm_qvel, :][:, self._arm_qvel]
        controller.new_update = False
