"""Success of a policy on a fixed, small set of episodes, without a run directory: what training selects by."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runners.assets import ResolvedAssets, resolve_assets
from runners.envs.base import Env, EnvSpec, TimeStep
from runners.observers import EpisodeInfo
from runners.plan import PairPlan, plan_episodes
from runners.rollout import check_compatible, rollout_episode
from vlacache.types import Observation, Policy

#: Seed of validation episodes: demonstrations have small ones, so that no start is both trained on and validated.
VALIDATION_SEED = 2**31 - 1


class TrainingStarts:
    """An env whose episodes begin where training episodes do, so that a validation spends no state that tables use.

    ``reset(init_index=n, seed=s)`` is training start ``n`` of seed ``s``: official, what LIBERO's sampler draws, with
    the arm noise of the init states and fixtures of another draw, as in evaluation; wide, a layout of the training
    stream.

    Args:
        env: has ``reset_training`` (every LIBERO env). count: starts that are offered, 0 .. count-1.
    """

    def __init__(self, env: Any, count: int) -> None:
        self._env = env
        self.spec: EnvSpec = replace(env.spec, num_init_states=count)

    def reset(self, *, init_index: int, seed: int) -> TimeStep:
        """Begin at training start ``init_index``."""
        apart = self.spec.placement == "official"
        now: TimeStep = self._env.reset_training(index=init_index, seed=seed, other_fixtures=apart)
        return now

    def step(self, action: NDArray[np.floating]) -> TimeStep:
        """As the env's."""
        now: TimeStep = self._env.step(action)
        return now

    def observe(self, cameras: Sequence[str] = ()) -> Observation:
        """As the env's."""
        observation: Observation = self._env.observe(cameras)
        return observation

    def privileged(self) -> Any:
        """As the env's."""
        return self._env.privileged()

    def close(self) -> None:
        """As the env's."""
        self._env.close()


def validation_assets(suite: str, assets: str) -> ResolvedAssets:
    """``assets`` as in the configs, with the rendering that fits them."""
    return resolve_assets(assets, suite=suite, render="fast" if assets == "builtin" else "reference")


def validation_env(suite: str, task_id: int, placement: str, assets: ResolvedAssets, count: int) -> TrainingStarts:
    """An env of LIBERO with ``count`` validation starts: reset it with ``VALIDATION_SEED``."""
    from runners.envs.libero import make_libero_env

    render = assets.provenance.render
    return TrainingStarts(make_libero_env(suite, task_id, assets=assets, placement=placement, render=render), count)


@dataclass(frozen=True)
class ClosedLoop:
    """A validation set.

    Attributes:
        suite: of every episode. placements: name -> (task id -> env); success is the mean over all of them.
        task_ids: tasks. init_indices: of each task and placement; envs of ``TrainingStarts`` keep them apart from
            those that tables use.
        seed: env seed.
    """

    suite: str
    placements: Mapping[str, Callable[[int], Env]]
    task_ids: Sequence[int]
    init_indices: Sequence[int]
    seed: int = 0

    def evaluate(self, policy: Policy) -> dict[str, Any]:
        """Roll out every episode.

        Returns:
            ``success`` (0..1 over all episodes), ``episodes``, and per placement the successes of each task.

        Raises:
            RuntimeError: an episode ended in an error; its traceback is in the message.
            ValueError: policy and env do not fit together.
        """
        tables: dict[str, dict[str, int]] = {}
        for placement, make_env in self.placements.items():
            tables[placement] = {str(task): self._task(policy, make_env, placement, task) for task in self.task_ids}
        per_placement = len(self.task_ids) * len(self.init_indices)
        total = sum(sum(table.values()) for table in tables.values())
        result: dict[str, Any] = {"success": total / (per_placement * len(tables))}
        result |= {f"success/{name}": sum(table.values()) / per_placement for name, table in tables.items()}
        result |= {f"tasks/{name}": table for name, table in tables.items()}
        return {**result, "episodes": per_placement * len(tables)}

    def _task(self, policy: Policy, make_env: Callable[[int], Env], placement: str, task_id: int) -> int:
        env = make_env(task_id)
        try:
            check_compatible(env, policy)
            plan = plan_episodes(
                self.suite,
                [task_id],
                len(self.init_indices),
                self.init_indices,
                self.seed,
                placement,
                env.spec.num_init_states,
            )
            records = [rollout_episode(env, policy, _episode(pair, env.spec)).record for pair in plan]
        finally:
            env.close()
        for record in records:
            if record.status == "error":
                raise RuntimeError(f"validation: task {task_id}, state {record.init_index} failed:\n{record.error}")
        return sum(record.status == "success" for record in records)


def _episode(pair: PairPlan, spec: EnvSpec) -> EpisodeInfo:
    return EpisodeInfo("validation", pair.key("baseline", "none"), spec)
