"""The envs of the task at hand: built when first needed, closed before the next task, replaced after an error."""

from __future__ import annotations

import logging
from collections.abc import Callable

from runners.envs.base import Env
from runners.records import Arm
from runners.stopwatch import Stopwatch

logger = logging.getLogger(__name__)


class EnvBuildError(RuntimeError):
    """``make_env`` raised; the cause says what."""


class EnvPool:
    """One env that both arms share, or one for each arm where an episode depends on those before it.

    Args:
        make_env: task id -> env. per_arm: ``suite.reseed=task``. check: called with every new env; may raise.

    Attributes:
        seconds: spent building and closing envs.
    """

    def __init__(self, make_env: Callable[[int], Env], *, per_arm: bool, check: Callable[[int, Env], None]) -> None:
        self._make_env = make_env
        self._per_arm = per_arm
        self._check = check
        self._envs: dict[Arm, Env] = {}
        self.seconds = 0.0

    def get(self, task_id: int, arm: Arm) -> Env:
        """The env for ``arm``; the caller closes the pool before it moves to another task.

        Raises:
            EnvBuildError: ``make_env`` raised. Whatever ``check`` raises.
        """
        slot = self._slot(arm)
        if slot not in self._envs:
            with Stopwatch() as watch:
                try:
                    self._envs[slot] = self._make_env(task_id)
                except Exception as error:
                    raise EnvBuildError(f"task {task_id}: {error}") from error
            self.seconds += watch.seconds
            self._check(task_id, self._envs[slot])
        return self._envs[slot]

    def discard(self, arm: Arm) -> None:
        """Close the env of ``arm``, so that the next episode gets a fresh one."""
        self._close(self._slot(arm))

    def close(self) -> None:
        """Close every env."""
        for slot in list(self._envs):
            self._close(slot)

    def _slot(self, arm: Arm) -> Arm:
        return arm if self._per_arm else "baseline"

    def _close(self, slot: Arm) -> None:
        env = self._envs.pop(slot, None)
        if env is None:
            return
        with Stopwatch() as watch:
            try:
                env.close()
            except Exception:  # a simulator that broke may not close either; the records are what counts
                logger.warning("closing an env failed", exc_info=True)
        self.seconds += watch.seconds
