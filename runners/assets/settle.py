"""How objects settle from LIBERO's initial states: the check that one asset folder can stand in for another.

The states are drops (spatial: 7 cm above the table, stacked bowls more), so shape, mass and contact of every object
decide where it comes to rest, and the first policy observation shows that.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from runners.envs.libero_runtime import prepare
from runners.envs.libero_tasks import load_task

if TYPE_CHECKING:  # imported where it is used: MuJoCo reads MUJOCO_GL, which prepare() sets, at its import
    import mujoco

#: LIBERO's protocol lets objects fall for ten control steps before the policy acts.
SETTLE_STEPS = 10

#: Two objects that come to rest closer than this count as settled in the same place, m.
SAME_PLACE = 0.005


@dataclass(frozen=True, slots=True)
class SettledTask:
    """Objects of one task after settling, n initial states, m objects, metres and unit quaternions (w, x, y, z).

    Attributes:
        suite, task_id, indices: which states. objects: names in BDDL order.
        start: float64[n, m, 3] positions in the initial state. position: float64[n, m, 3] after settling.
        quaternion: float64[n, m, 4] after settling. speed: float64[n] largest linear speed of an object, m/s.
        penetration: float64[n] deepest contact of an object, m.
        fixtures: float64[f, 7] poses of the fixtures (position, quaternion).
    """

    suite: str
    task_id: int
    indices: tuple[int, ...]
    objects: tuple[str, ...]
    start: NDArray[np.float64]
    position: NDArray[np.float64]
    quaternion: NDArray[np.float64]
    speed: NDArray[np.float64]
    penetration: NDArray[np.float64]
    fixtures: NDArray[np.float64]

    @property
    def slide(self) -> NDArray[np.float64]:
        """float64[n, m]: horizontal distance between initial and settled position, m."""
        return np.asarray(np.linalg.norm((self.position - self.start)[..., :2], axis=-1))


def settle_task(
    root: Path, suite: str, task_id: int, indices: Sequence[int] | None = None, *, jitter: float = 0.0
) -> SettledTask:
    """Let the objects of one task fall for ``SETTLE_STEPS`` control steps from each initial state.

    The arm is held by gravity compensation instead of the controller: it touches nothing while objects settle, and
    plain ``mj_step`` takes a fifth of the time of ``env.step``.

    Args:
        root: assets folder. indices: initial states; all of the task when None.
        jitter: standard deviation (m) of a seeded sideways shift of every object's start. Comparing a folder with
            itself under a shift of the size of its shape errors shows how much of a distance is chance.

    Raises:
        ValueError: unknown suite, task or index. RuntimeError: an init-state vector does not fit the model.
    """
    env, states = build_task(root, suite, task_id)
    try:
        chosen = range(len(states)) if indices is None else indices
        if any(not 0 <= i < len(states) for i in chosen):
            raise ValueError(f"indices: expected 0..{len(states) - 1} for {suite} task {task_id}, got {list(chosen)}")
        model, names = env.sim.model._model, tuple(env.env.objects_dict)
        starts = _shifted(states, model, [env.env.obj_body_id[name] for name in names], jitter)
        rest = [_fall(model, starts[i], env) for i in chosen]
        fixture_ids = [env.env.obj_body_id[name] for name in env.env.fixtures_dict]
        fixtures = np.hstack([model.body_pos[fixture_ids], model.body_quat[fixture_ids]])
    finally:
        env.close()
    start, position, quaternion, speed, penetration = (np.asarray(column) for column in zip(*rest, strict=True))
    return SettledTask(
        suite, task_id, tuple(chosen), names, start, position, quaternion, speed, penetration, fixtures.copy()
    )


def build_task(root: Path, suite: str, task_id: int) -> tuple[Any, NDArray[np.float64]]:
    """Build hf-libero's environment without a renderer; return it, reset with seed 0, with its states [n, 1+nq+nv]."""
    prepare(root)
    task = load_task(suite, task_id)
    env = importlib.import_module("libero.libero.envs.env_wrapper").ControlEnv(
        bddl_file_name=str(task.bddl_file), has_offscreen_renderer=False, use_camera_obs=False
    )
    env.seed(0)  # fixtures are placed by numpy's global generator at every reset
    env.reset()
    return env, task.init_states


def _shifted(
    states: NDArray[np.float64], model: mujoco.MjModel, bodies: Sequence[int], jitter: float
) -> NDArray[np.float64]:
    """The states with every free body moved in x and y by normal noise."""
    moved = np.array(states, dtype=np.float64)
    random = np.random.default_rng(0)
    for body in bodies:
        address = 1 + model.jnt_qposadr[model.body_jntadr[body]]  # a state begins with its time
        moved[:, address : address + 2] += random.normal(size=(len(moved), 2)) * jitter
    return moved


def _fall(model: mujoco.MjModel, state: NDArray[np.float64], env: Any) -> tuple[Any, ...]:
    """Settle one state; returns start, position, quaternion, speed and penetration."""
    import mujoco

    if state.size != 1 + model.nq + model.nv:
        raise RuntimeError(f"init state: expected {1 + model.nq + model.nv} numbers, got {state.size}; wrong assets?")
    data = mujoco.MjData(model)
    data.time, data.qpos[:], data.qvel[:] = state[0], state[1 : 1 + model.nq], state[1 + model.nq :]
    mujoco.mj_forward(model, data)
    bodies = [env.env.obj_body_id[name] for name in env.env.objects_dict]
    robot = env.robots[0]
    arm_dofs, arm_actuators = robot._ref_joint_vel_indexes, robot._ref_joint_actuator_indexes
    start = data.xpos[bodies].copy()
    substeps = round(1 / env.env.control_freq / model.opt.timestep)
    for _ in range(SETTLE_STEPS * substeps):
        data.ctrl[arm_actuators] = data.qfrc_bias[arm_dofs]
        mujoco.mj_step(model, data)
    speed = max(float(np.linalg.norm(data.cvel[body][3:])) for body in bodies)
    return start, data.xpos[bodies].copy(), data.xquat[bodies].copy(), speed, _penetration(model, data, bodies)


def _penetration(model: mujoco.MjModel, data: mujoco.MjData, bodies: Sequence[int]) -> float:
    touching = [
        -contact.dist
        for contact in data.contact[: data.ncon]
        if any(model.body_rootid[model.geom_bodyid[geom]] in bodies for geom in contact.geom)
    ]
    return max(touching, default=0.0)


def distance(a: SettledTask, b: SettledTask) -> NDArray[np.float64]:
    """float64[n, m]: how far apart the same object settled with the two folders, m."""
    if (a.suite, a.task_id, a.indices, a.objects) != (b.suite, b.task_id, b.indices, b.objects):
        raise ValueError("distance: expected the same task, states and objects on both sides")
    return np.asarray(np.linalg.norm(a.position - b.position, axis=-1))


@dataclass(frozen=True, slots=True)
class SettleRow:
    """One task, a candidate folder against a reference folder. Lengths in mm.

    Attributes:
        same: states in which every object of the candidate rests within ``SAME_PLACE`` of the reference's.
        distance_p95: over states and objects. slide: longest way an object moved sideways while settling;
        slide_reference: the same of the reference. penetration: deepest contact of the candidate's objects at rest.
        lost: objects of the candidate that fell below the table or are still fast (> 0.1 m/s).
    """

    task_id: int
    num_states: int
    same: int
    distance_p95: float
    slide: float
    slide_reference: float
    penetration: float
    lost: int


def compare_task(candidate: SettledTask, reference: SettledTask, *, table_z: float = 0.85) -> SettleRow:
    """Summarise one task; ``table_z`` is a height (m) below which nothing on the table can be."""
    apart = distance(candidate, reference)
    return SettleRow(
        task_id=candidate.task_id,
        num_states=len(candidate.indices),
        same=int((apart.max(axis=1) < SAME_PLACE).sum()),
        distance_p95=float(np.percentile(apart, 95)) * 1e3,
        slide=float(candidate.slide.max()) * 1e3,
        slide_reference=float(reference.slide.max()) * 1e3,
        penetration=float(candidate.penetration.max()) * 1e3,
        lost=int((candidate.position[..., 2] < table_z).sum() + (candidate.speed > 0.1).sum()),
    )
