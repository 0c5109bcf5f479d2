"""Runs the plan: for every initial state the no-cache baseline and the policy, one after the other.

Interleaved, so that drift of the machine hits both arms; resumable, so that a kill costs at most the episode in flight.
"""

from __future__ import annotations

import itertools
import logging
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from runners.env_pool import EnvBuildError, EnvPool
from runners.envs.base import Env
from runners.interrupts import sigterm_as_interrupt
from runners.observers import EpisodeInfo, Observer, ObserverGroup, RunInfo, SuiteOutcome
from runners.plan import PairPlan, plan_episodes
from runners.records import Arm, EpisodeKey, EpisodeRecord
from runners.rollout import EpisodeResult, check_compatible, rollout_episode, warm_up_policy
from runners.sharing import SharedBaseline, select_retimed
from runners.stopwatch import Stopwatch
from runners.store import RunStore
from vlacache.types import Policy

__all__ = ["PairPlan", "RunnerSettings", "SuiteOutcome", "TooManyErrorsError", "plan_episodes", "run_suite"]

logger = logging.getLogger(__name__)


class TooManyErrorsError(RuntimeError):
    """More episodes ended in an error than ``runner.max_errors`` allows; everything recorded so far is kept."""


@dataclass(frozen=True, slots=True)
class RunnerSettings:
    """How to run a plan; the keys of ``configs/runner`` that ``run_suite`` needs.

    Attributes:
        cache: name of the policy arm's cache policy; ``none`` together with ``self_pair`` is the noise floor.
        reseed: ``suite.reseed``. Under ``task`` each arm has its own env and an interrupted task starts over.
        max_errors: episodes of this process that may end in an error; one more stops the run.
        shared_baseline: run directory whose finished baseline episodes may be copied in, or None.
        retime_pairs: with a shared baseline, pairs of each task whose baseline is rolled out here all the same.
    """

    cache: str = "none"
    reseed: Literal["episode", "task"] = "episode"
    max_errors: int = 10
    shared_baseline: Path | None = None
    retime_pairs: int = 1

    def __post_init__(self) -> None:
        if self.reseed not in ("episode", "task"):
            raise ValueError(f"suite.reseed: expected 'episode' or 'task', got {self.reseed!r}")
        if self.max_errors < 0:
            raise ValueError(f"runner.max_errors: expected 0 or more, got {self.max_errors}")
        if self.retime_pairs < 1:
            raise ValueError(f"runner.retime_pairs: expected 1 or more, got {self.retime_pairs}")


def run_suite(
    plan: Sequence[PairPlan],
    *,
    make_env: Callable[[int], Env],
    baseline: Policy,
    policy: Policy | None,
    store: RunStore,
    observers: Sequence[Observer] = (),
    settings: RunnerSettings,
) -> SuiteOutcome:
    """Roll out what ``store`` does not hold yet, and return when every planned episode has been tried.

    Args:
        plan: from ``plan_episodes``. make_env: task id -> env; called again after an error.
        baseline: the no-cache arm. policy: the other arm, or None for one arm (``cache=none``, the expert); both may
            share one model. For ``runner.self_pair`` pass a second no-cache policy and ``settings.cache="none"``.
        store: open store; finished episodes in it are not run again, errors are. observers: see ``Observer``.

    Raises:
        ValueError: env and policy do not fit together, or the shared baseline is another one. Before any episode.
        TooManyErrorsError: see ``RunnerSettings.max_errors``.
        KeyboardInterrupt: Ctrl-C or SIGTERM; the episode in flight is lost, the same command continues the run.
    """
    if not plan:
        raise ValueError("plan: expected at least one pair, got none; see plan_episodes")
    policies: dict[Arm, Policy] = {"baseline": baseline}
    if policy is not None:
        policies["policy"] = policy
    return _SuiteRunner(tuple(plan), make_env, policies, store, ObserverGroup(observers), settings).run()


class _SuiteRunner:
    """State of one call of ``run_suite``."""

    def __init__(
        self,
        plan: tuple[PairPlan, ...],
        make_env: Callable[[int], Env],
        policies: dict[Arm, Policy],
        store: RunStore,
        observers: ObserverGroup,
        settings: RunnerSettings,
    ) -> None:
        self._plan = plan
        self._policies = policies
        self._caches: dict[Arm, str] = {"baseline": "none", "policy": settings.cache}
        self._store = store
        self._observers = observers
        self._settings = settings
        self._pool = EnvPool(make_env, per_arm=settings.reseed == "task", check=self._check_env)
        self._shared: SharedBaseline | None = None
        if settings.shared_baseline is not None:
            self._shared = SharedBaseline(settings.shared_baseline, store.run)
        self._retimed = select_retimed(plan, settings.retime_pairs)
        self._warm = False
        self._num_found = sum(store.is_finished(key) for key in self._keys(plan))
        self._num_run = self._num_reused = self._num_errors = 0
        self._sim_s = self._model_s = 0.0

    def run(self) -> SuiteOutcome:
        """See ``run_suite``."""
        store, interrupted = self._store, True
        begun = time.perf_counter()
        with sigterm_as_interrupt():
            try:
                self._observers.on_run_start(
                    RunInfo(store.run, store.run_dir, self._plan, self._keys(self._plan), tuple(self._policies), store)
                )
                for task_id, pairs in itertools.groupby(self._plan, key=lambda pair: pair.task_id):
                    self._run_task(task_id, tuple(pairs))
                interrupted = False
            finally:
                self._pool.close()
                outcome = self._outcome(time.perf_counter() - begun, interrupted)
                self._observers.on_run_end(outcome)
        return outcome

    def _run_task(self, task_id: int, pairs: tuple[PairPlan, ...]) -> None:
        """All unfinished episodes of one task; its env is closed afterwards.

        Under ``reseed=task`` a task that was cut off starts over, and an error ends the task for this process: what
        comes after either would meet another random state than in an uninterrupted run.
        """
        ordered = self._settings.reseed == "task"
        keys = self._keys(pairs)
        if all(self._store.is_finished(key) for key in keys):
            return
        self._copy_shared(pairs)
        for pair, arm in itertools.chain.from_iterable(((p, a) for a in self._arms(p)) for p in pairs):
            final = self._store.episodes.get(self._key(pair, arm))
            copied = final is not None and final.reused_from is not None
            if copied or (not ordered and self._store.is_finished(self._key(pair, arm))):
                continue
            if self._run_episode(pair, arm).status == "error" and ordered:
                logger.warning("task %d ends here (suite.reseed=task): run the same command to start it over", task_id)
                break
        self._pool.close()

    def _run_episode(self, pair: PairPlan, arm: Arm) -> EpisodeRecord:
        """Roll out one episode, store it, tell the observers, count errors."""
        self._warm_up(pair)
        key = self._key(pair, arm)
        attempt = self._store.begin(key)
        order = self._arms(pair).index(arm)
        info = None
        try:
            env = self._pool.get(pair.task_id, arm)
        except EnvBuildError as error:
            result = EpisodeResult(self._record_without_env(key, attempt, order, error), ())
        else:
            info = EpisodeInfo(
                run_id=self._store.run.run_id,
                key=key,
                spec=env.spec,
                attempt=attempt,
                pair_order=order,
                pair_position=pair.position,
                reseed=self._settings.reseed,
            )
            result = rollout_episode(env, self._policies[arm], info, self._observers)
        record = result.record if self._shared is None else self._shared.mark_difference(result.record)
        if result.trace_layout is not None:
            self._store.set_trace_layout(*result.trace_layout)
        self._store.append(record, result.steps)
        self._account(record)
        if info is None:
            self._observers.on_record(record)
        else:
            self._observers.on_episode_end(info, record, result.steps)
        if record.status == "error":
            self._pool.discard(arm)
            self._check_errors(record)
        return record

    def _warm_up(self, pair: PairPlan) -> None:
        """Once a process: two calls of each arm, so that no recorded episode carries compile or allocation costs."""
        if self._warm:
            return
        for arm, policy in self._policies.items():
            try:
                env = self._pool.get(pair.task_id, arm)
            except EnvBuildError:
                return  # the episode records it; the next one warms up
            with Stopwatch() as watch:
                try:
                    warm_up_policy(env, policy, self._key(pair, arm))
                except Exception:
                    logger.warning("the warm-up of the %s arm failed", arm, exc_info=True)
                    self._pool.discard(arm)
            self._model_s += watch.seconds
        self._warm = True
        if self._settings.reseed == "task":
            self._pool.close()  # the reset above has moved the random state that the first episode starts from

    def _copy_shared(self, pairs: tuple[PairPlan, ...]) -> None:
        """Copy finished baseline episodes of another run, all but those that are timed again here."""
        if self._shared is None:
            return
        keys = [self._key(pair, "baseline") for pair in pairs if pair not in self._retimed]
        if self._settings.reseed == "task" and not all(key in self._shared for key in keys):
            return  # the rest could not be rolled out from the random state that it needs
        for key in keys:
            if key in self._shared and not self._store.is_finished(key):
                self._observers.on_record(self._shared.copy(key, self._store))
                self._num_reused += 1

    def _check_env(self, task_id: int, env: Env) -> None:
        planned = self._plan[0].suite
        if (env.spec.suite, env.spec.task_id) != (planned, task_id):
            got = f"{env.spec.suite} task {env.spec.task_id}"
            raise ValueError(f"make_env: expected {planned} task {task_id}, got {got}; plan and builder disagree")
        for policy in self._policies.values():
            check_compatible(env, policy)

    def _check_errors(self, record: EpisodeRecord) -> None:
        if self._num_errors <= self._settings.max_errors:
            return
        reason = (record.error or "").strip().splitlines()[-1]
        raise TooManyErrorsError(
            f"{self._num_errors} episodes ended in an error, more than runner.max_errors={self._settings.max_errors}. "
            f"The last one, {record.key.slug}: {reason}. Every finished episode is kept in {self._store.run_dir}; "
            "mend the cause and run the same command again, which tries the errors again."
        )

    def _record_without_env(self, key: EpisodeKey, attempt: int, order: int, error: EnvBuildError) -> EpisodeRecord:
        return EpisodeRecord(
            run_id=self._store.run.run_id,
            **asdict(key),
            status="error",
            first_success_step=None,
            num_steps=0,
            num_policy_calls=0,
            reused_from=None,
            error="".join(traceback.format_exception(error)),
            assets=self._store.run.assets,
            attempt=attempt,
            pair_order=order,
            reseed=self._settings.reseed,
        )

    def _account(self, record: EpisodeRecord) -> None:
        self._num_run += 1
        self._num_errors += record.status == "error"
        self._sim_s += record.sim_s
        self._model_s += record.model_s

    def _outcome(self, wall_s: float, interrupted: bool) -> SuiteOutcome:
        return SuiteOutcome(
            num_run=self._num_run,
            num_reused=self._num_reused,
            num_found=self._num_found,
            num_errors=self._num_errors,
            num_missing=sum(not self._store.is_finished(key) for key in self._keys(self._plan)),
            wall_s=wall_s,
            sim_s=self._sim_s + self._pool.seconds,
            model_s=self._model_s,
            interrupted=interrupted,
        )

    def _arms(self, pair: PairPlan) -> tuple[Arm, ...]:
        return tuple(arm for arm in pair.arms if arm in self._policies)

    def _key(self, pair: PairPlan, arm: Arm) -> EpisodeKey:
        return pair.key(arm, self._caches[arm])

    def _keys(self, pairs: Sequence[PairPlan]) -> tuple[EpisodeKey, ...]:
        return tuple(self._key(pair, arm) for pair in pairs for arm in self._arms(pair))
