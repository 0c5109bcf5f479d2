"""A policy that leads into a demonstration, so that the expert shows the way back from its mistakes.

The policy acts for a number of steps drawn for each demo, then the expert takes over and is recorded to the end
(HG-DAgger, Kelly et al., 2019, with a coin instead of a watching human). DART's noise cannot replace it: it leads to
places near the expert's way, not to the other bowl, and not to a hand that closed beside the rim.
"""

from __future__ import annotations

from collections import deque

import numpy as np
from numpy.typing import NDArray

from runners.envs.base import PrivilegedPolicy
from runners.envs.libero import LiberoEnv
from runners.experts.astray import lookalikes
from vlacache.types import Policy

#: The longest lead. Well-behaved episodes end at about 100 steps, so a longer one has gone wrong somewhere.
LEAD_STEPS = 150
#: Steps more in which the policy may let go of what it holds. Taking over then would teach to drop it; of another
#: object that looks the same as well, since a picture of the hand does not tell the two apart.
RELEASE_STEPS = 30


class Novice:
    """Plays the first steps of a demonstration. ``policy``: of the env's suite."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy

    def lead(self, env: LiberoEnv, rng: np.random.Generator) -> bool:
        """Act from the current state on; True when the expert can take over, False when there is nothing to show."""
        if isinstance(self._policy, PrivilegedPolicy):
            self._policy.attach(env)
        self._policy.reset(int(rng.integers(2**31)))
        num_steps = int(rng.integers(LEAD_STEPS))
        state = env.privileged()
        target = state.goal[0][1]
        graspable = [target, *lookalikes(state, target)]
        queue: deque[NDArray[np.float32]] = deque()
        for step in range(num_steps + RELEASE_STEPS):
            if step >= num_steps and not any(state.holds(name) for name in graspable):
                return True
            if not queue:
                chunk = self._policy.infer(env.observe(self._policy.cameras))
                queue.extend(chunk.actions[: self._policy.num_open_loop_steps])
            if env.step(queue.popleft()).success:
                return False
        return False
