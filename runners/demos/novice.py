"""A trained policy that leads into a demonstration, so that the expert shows the way back from its mistakes.

The policy acts for a number of steps drawn for each demo, then the expert takes over and is recorded to the end
(HG-DAgger, Kelly et al., 2019, with a coin instead of a watching human). DART's noise cannot replace it: it leads to
places near the expert's way, not to the other bowl.
"""

from __future__ import annotations

from collections import deque

import numpy as np
from numpy.typing import NDArray

from runners.demos.labels import SceneLabels
from runners.envs.libero import LiberoEnv
from vlacache.types import Policy

#: The longest lead. Well-behaved episodes end at about 100 steps, so a longer one has gone wrong somewhere.
LEAD_STEPS = 150
#: Steps more in which the policy may let go of what it holds. Taking over then would teach to drop it.
RELEASE_STEPS = 30
HELD_DISTANCE = 0.12  # metres between the named object and the grip site


class Novice:
    """Plays the first steps of a demonstration. ``policy``: of the env's suite."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy

    def lead(self, env: LiberoEnv, labels: SceneLabels, rng: np.random.Generator) -> bool:
        """Act from the current state on; True when the expert can take over, False when there is nothing to show."""
        self._policy.reset(int(rng.integers(2**31)))
        num_steps = int(rng.integers(LEAD_STEPS))
        queue: deque[NDArray[np.float32]] = deque()
        closed = False
        for step in range(num_steps + RELEASE_STEPS):
            if step >= num_steps and not (closed and self._is_near(env, labels)):
                return True
            if not queue:
                chunk = self._policy.infer(env.observe(self._policy.cameras))
                queue.extend(chunk.actions[: self._policy.num_open_loop_steps])
            action = queue.popleft()
            closed = bool(action[6] > 0)
            if env.step(action).success:
                return False
        return False

    @staticmethod
    def _is_near(env: LiberoEnv, labels: SceneLabels) -> bool:
        labels.update(env.observed_qpos())
        return bool(np.linalg.norm(labels.offset("target")) < HELD_DISTANCE)
