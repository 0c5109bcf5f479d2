"""How objects settle from LIBERO's initial states: the check that one asset folder can stand in for another.

The states are drops (spatial: 7 cm above the table, stacked bowls more), so shape, mass and contact of every object
decide where it comes to rest, and the first policy observation shows that.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mujoco
import numpy as np
from numpy.typing import NDArray

from runners.assets.hf_libero import activate

#: LIBERO's protocol lets objects fall for ten control steps before the policy acts.
SETTLE_STEPS = 10


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
        return np.linalg.norm((self.position - self.start)[..., :2], axis=-1)


def settle_task(root: Path, suite: str, task_id: int, indices: Sequence[int] | None = None) -> SettledTask:
    """Let the objects of one task fall for ``SETTLE_STEPS`` control steps from each initial state.

    The arm is held by gravity compensation instead of the controller: it touches nothing while objects settle, and
    plain ``mj_step`` takes a fifth of the time of ``env.step``.

    Args:
        root: assets folder. indices: initial states; all of the task when None.

    Raises:
        ValueError: unknown suite, task or index. RuntimeError: an init-state vector does not fit the model.
    """
    env, states = load_task(root, suite, task_id)
    try:
        chosen = range(len(states)) if indices is None else indices
        if any(not 0 <= i < len(states) for i in chosen):
            raise ValueError(f"indices: expected 0..{len(states) - 1} for {suite} task {task_id}, got {list(chosen)}")
        model, names = env.sim.model._model, tuple(env.env.objects_dict)
        rest = [_fall(model, np.asarray(states[i], dtype=np.float64), env) for i in chosen]
        fixture_ids = [env.env.obj_body_id[name] for name in env.env.fixtures_dict]
        fixtures = np.hstack([model.body_pos[fixture_ids], model.body_quat[fixture_ids]])
    finally:
        env.close()
    start, position, quaternion, speed, penetration = (np.asarray(column) for column in zip(*rest, strict=True))
    return SettledTask(
        suite, task_id, tuple(chosen), names, start, position, quaternion, speed, penetration, fixtures.copy()
    )


def load_task(root: Path, suite: str, task_id: int) -> tuple[Any, NDArray[np.float64]]:
    """Build hf-libero's environment without a renderer; return it, reset with seed 0, with its states [n, 1+nq+nv]."""
    activate(root)
    benchmarks = importlib.import_module("libero.libero.benchmark").get_benchmark_dict()
    if suite not in benchmarks:
        raise ValueError(f"suite: expected one of {', '.join(sorted(benchmarks))}, got {suite!r}")
    benchmark = benchmarks[suite]()
    if not 0 <= task_id < benchmark.n_tasks:
        raise ValueError(f"task_id: expected 0..{benchmark.n_tasks - 1} for {suite}, got {task_id}")
    task = benchmark.get_task(task_id)
    paths = importlib.import_module("libero.libero").get_libero_path
    states = _init_states(Path(paths("init_states")) / task.problem_folder / task.init_states_file)
    env = importlib.import_module("libero.libero.envs.env_wrapper").ControlEnv(
        bddl_file_name=os.path.join(paths("bddl_files"), task.problem_folder, task.bddl_file),
        has_offscreen_renderer=False,
        use_camera_obs=False,
    )
    env.seed(0)  # fixtures are placed by numpy's global generator at every reset
    env.reset()
    return env, states


def _init_states(path: Path) -> NDArray[np.float64]:
    import torch

    return np.asarray(torch.load(path, weights_only=False))  # a pickled numpy array that ships inside hf-libero


def _fall(model: mujoco.MjModel, state: NDArray[np.float64], env: Any) -> tuple[Any, ...]:
    """Settle one state; returns start, position, quaternion, speed and penetration."""
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
    return np.linalg.norm(a.position - b.position, axis=-1)
