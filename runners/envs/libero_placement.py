"""Puts a LIBERO scene where an episode starts that is not one of the suite's init states. World frame, SI units.

Evaluation under ``placement=wide`` and every training episode start here. A training episode never uses an init state
of the package: under ``official`` it takes what LIBERO's own placement sampler draws, as the authors' init states were
made, arm noise included.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from runners.envs.wide.draft import ARM_NOISE, TOP_DRAWER, WideLayout
from runners.envs.wide.layout import Stream

FINGER_START = (0.020833, -0.020833)  # of every official init state


def training_rng(task_id: int, index: int, seed: int) -> np.random.Generator:
    """Generator of training episode ``index``, for what LIBERO's sampler does not draw."""
    return np.random.default_rng([int(Stream.TRAINING), task_id, index, seed])


def sampled_state(robosuite_env: Any, rng: np.random.Generator) -> NDArray[np.float64]:
    """What the reset has just drawn, the arm moved by noise, as an init state float64[1 + nq + nv]."""
    qpos = robosuite_env.sim.data.qpos.copy()
    return _init_state(robosuite_env, qpos, ARM_NOISE * rng.standard_normal(7))


def wide_state(robosuite_env: Any, layout: WideLayout) -> NDArray[np.float64]:
    """Move the fixtures to ``layout``; its objects and arm as an init state float64[1 + nq + nv].

    Fixtures are bodies of the model without a joint. The next reset puts them back (``ModelRebuild``).
    """
    model = robosuite_env.sim.model._model
    for name, pose in layout.fixtures.items():
        body = robosuite_env.obj_body_id[name]
        model.body_pos[body, :2] = pose.position[:2]
        model.body_quat[body] = pose.quat_wxyz
    qpos = robosuite_env.sim.data.qpos.copy()
    for name, pose in layout.objects.items():
        start = model.joint(f"{name}_joint0").qposadr[0]
        qpos[start : start + 7] = [*pose.position, *pose.quat_wxyz]
    qpos[model.joint(TOP_DRAWER).qposadr[0]] = layout.top_drawer
    return _init_state(robosuite_env, qpos, layout.arm_offset)


def _init_state(robosuite_env: Any, qpos: NDArray[np.float64], arm_offset: NDArray[np.float64]) -> NDArray[np.float64]:
    """Time 0, ``qpos`` with the arm at its start plus ``arm_offset``, everything at rest."""
    robot = robosuite_env.robots[0]
    qpos[robot._ref_joint_pos_indexes] = robot.init_qpos + arm_offset
    qpos[robot._ref_gripper_joint_pos_indexes] = FINGER_START
    return np.concatenate([[0.0], qpos, np.zeros(robosuite_env.sim.model.nv)])
