"""The LIBERO suites: limits, task files, instructions and initial states, read from the installed hf-libero."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from runners.assets.hf_libero import package_dir

#: Suite id -> policy steps before truncation, as in the OpenVLA and OFT scripts (longest demonstration plus slack).
LIBERO_SUITES: dict[str, int] = {
    "libero_spatial": 220,
    "libero_object": 280,
    "libero_goal": 300,
    "libero_10": 520,
    "libero_90": 400,
}

#: Our camera name -> robosuite's.
CAMERAS = {"agentview": "agentview", "wrist": "robot0_eye_in_hand"}


@dataclass(frozen=True, slots=True)
class LiberoTask:
    """One task. ``init_states`` float64[50, 1 + nq + nv]: time, qpos, qvel."""

    suite: str
    task_id: int
    name: str
    instruction: str
    bddl_file: Path
    init_states: NDArray[np.float64]


def load_task(suite: str, task_id: int) -> LiberoTask:
    """Task ``task_id`` in the official order (order index 0).

    Imports hf-libero: call ``libero_runtime.prepare`` first.

    Raises:
        ValueError: unknown suite or task.
    """
    if suite not in LIBERO_SUITES:
        raise ValueError(f"suite: expected one of {', '.join(LIBERO_SUITES)}, got {suite!r}")
    import torch
    from libero.libero.benchmark import task_maps

    tasks = list(task_maps[suite].values())
    if not 0 <= task_id < len(tasks):
        raise ValueError(f"task_id: suite {suite} has tasks 0 .. {len(tasks) - 1}, got {task_id}; see suite.task_ids")
    task = tasks[task_id]
    # Pickled numpy arrays, which torch >= 2.6 refuses by default; the file belongs to the installed package.
    states = torch.load(package_dir() / "init_files" / task.problem_folder / task.init_states_file, weights_only=False)
    return LiberoTask(
        suite=suite,
        task_id=task_id,
        name=task.name,
        instruction=task.language,
        bddl_file=package_dir() / "bddl_files" / task.problem_folder / task.bddl_file,
        init_states=np.asarray(states, dtype=np.float64),
    )
