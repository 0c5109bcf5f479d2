"""The part of the env contract that is the same for every simulator: who may call what, when an episode ends."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from runners.envs.base import EnvSpec, SuccessRule, TimeStep


class EpisodeLifecycle:
    """Counts the steps of one episode and refuses calls that the contract forbids."""

    def __init__(self, spec: EnvSpec) -> None:
        self._spec = spec
        self._step = 0
        self._started = False
        self._done = False

    @property
    def step(self) -> int:
        """Env steps taken since ``begin``."""
        return self._step

    def check_reset(self, init_index: int) -> None:
        """Raise ``ValueError`` for an ``init_index`` outside the suite; the running episode ends either way."""
        self._started = False
        if not 0 <= init_index < self._spec.num_init_states:
            raise ValueError(
                f"init_index: {self._spec.suite} task {self._spec.task_id} has initial states 0 .. "
                f"{self._spec.num_init_states - 1}, got {init_index}; "
                "change suite.init_indices or suite.episodes_per_task"
            )

    def begin(self, *, success: bool) -> TimeStep:
        """The episode stands at step 0."""
        self._step, self._done, self._started = 0, False, True
        return TimeStep(step=0, success=success, done=False)

    def check_step(self, action: NDArray[np.floating]) -> None:
        """Raise ``RuntimeError`` outside an episode, ``ValueError`` for a malformed action."""
        if not self._started:
            raise RuntimeError("step before reset: call reset(init_index=..., seed=...) first")
        if self._done:
            raise RuntimeError(f"step after the episode ended at step {self._step}: call reset for the next episode")
        self._spec.action_spec.validate(action)

    def advance(self, *, success: bool) -> TimeStep:
        """Count one step that has been simulated."""
        self._step += 1
        self._done = is_over(self._spec.success_rule, success, self._step, self._spec.max_steps)
        return TimeStep(step=self._step, success=success, done=self._done)

    def check_observe(self, cameras: Sequence[str]) -> None:
        """Raise ``RuntimeError`` before ``reset``, ``ValueError`` for a camera the task does not have."""
        if not self._started:
            raise RuntimeError("observe before reset: call reset(init_index=..., seed=...) first")
        unknown = [name for name in cameras if name not in self._spec.cameras]
        if unknown:
            raise ValueError(f"cameras: expected names from {list(self._spec.cameras)}, got {unknown}")


def is_over(rule: SuccessRule, success: bool, step: int, max_steps: int) -> bool:
    """Whether an episode ends here: at the first success under rule ``first``, else only at ``max_steps``."""
    return (rule == "first" and success) or step >= max_steps
