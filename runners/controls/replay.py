"""``model=replay``: the actions of another episode of the task, played back with closed eyes.

What it solves can be solved without looking at anything, not even at the robot itself.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runners.envs.base import Env, PrivilegedPolicy
from runners.experts.scripted import ScriptedPolicy

#: Recordings of a task that episodes choose from.
POOL = 5
MAX_TRIES = 20


class ReplayPolicy(ScriptedPolicy):
    """Plays what the expert did in a training episode of the same task and placement.

    Training episodes start from no evaluation's state, so an episode is never replayed onto itself. They are recorded
    when first needed, in an env of their own, outside the timed calls.

    Args:
        make_env: task id -> env; the env must have ``reset_training``. expert: of the suite.
    """

    name = "replay"

    def __init__(self, make_env: Callable[[int], Env], expert: PrivilegedPolicy) -> None:
        super().__init__()
        self._make_env = make_env
        self._expert = expert
        self._recordings: dict[tuple[int, int], NDArray[np.float64]] = {}
        self._actions = np.zeros((0, 7))
        self._next = 0

    def reset(self, seed: int) -> None:
        """Choose one of ``POOL`` recordings of the attached env's task by ``seed``.

        Raises:
            ValueError: the suite has no training episodes. RuntimeError: the expert solved none of ``MAX_TRIES``.
        """
        key = (self.env.spec.task_id, seed % POOL)
        if key not in self._recordings:
            self._recordings[key] = self._record(*key)
        self._actions, self._next = self._recordings[key], 0

    def act(self) -> NDArray[np.float64]:
        """The next recorded action; after the last, stand still with the gripper as it is."""
        if self._next < len(self._actions):
            self._next += 1
            return self._actions[self._next - 1]
        return np.array([0.0] * 6 + [self._actions[-1][6]])

    def _record(self, task_id: int, number: int) -> NDArray[np.float64]:
        """Actions float64[T, 7] of the first solved training episode among those of this number."""
        env: Any = self._make_env(task_id)
        try:
            if not hasattr(env, "reset_training"):
                raise ValueError(f"model=replay: suite {env.spec.suite} has no training episodes; use a LIBERO suite")
            for attempt in range(MAX_TRIES):
                actions = self._play(env, number + POOL * attempt)
                if actions is not None:
                    return actions
        finally:
            env.close()
        raise RuntimeError(f"model=replay: the expert solved none of {MAX_TRIES} training episodes of task {task_id}")

    def _play(self, env: Any, index: int) -> NDArray[np.float64] | None:
        now = env.reset_training(index=index, seed=0)
        self._expert.attach(env)
        self._expert.reset(0)
        actions = []
        while not now.done:
            actions.append(self._expert.infer(env.observe()).actions[0].astype(np.float64))
            now = env.step(actions[-1])
        return np.stack(actions) if now.success and actions else None
