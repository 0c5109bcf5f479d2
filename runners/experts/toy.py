"""Expert of the toy suite: straight to the target square, then close."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from runners.envs.toy import SQUARE_HALF, STEP_SIZE, ToyState
from runners.experts.scripted import ScriptedPolicy


class ToyExpert(ScriptedPolicy):
    """Stateless: every action follows from the current state."""

    def reset(self, seed: int) -> None:
        """Nothing to forget."""

    def act(self) -> NDArray[np.float64]:
        """Move towards the target square; close once half a square away from its centre."""
        state: ToyState = self.env.privileged()
        offset = state.squares[state.target] - state.gripper[:2]
        action = np.zeros(7)
        action[:2] = np.clip(offset / STEP_SIZE, -1.0, 1.0)
        action[6] = 1.0 if np.abs(offset).max() < 0.5 * SQUARE_HALF else -1.0
        return action
