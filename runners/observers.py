"""What may watch a run: progress, video, W&B. Watching changes no result, and a watcher that fails stops no run."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from runners.envs.base import EnvSpec
from runners.plan import PairPlan
from runners.records import Arm, EpisodeKey, EpisodeRecord, RunRecord, StepRecord
from vlacache.types import ActionChunk, Observation

if TYPE_CHECKING:
    from runners.store import RunStore

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class EpisodeInfo:
    """The episode that is about to run.

    Attributes:
        attempt: 1 for the first try. pair_order: 0 when its arm runs first in the pair, 1 when second.
        pair_position: place of the pair within its task. reseed: ``episode``, or ``task`` when it depends on order.
    """

    run_id: str
    key: EpisodeKey
    spec: EnvSpec
    attempt: int = 1
    pair_order: int = 0
    pair_position: int = 0
    reseed: Literal["episode", "task"] = "episode"


@dataclass(frozen=True, slots=True)
class RunInfo:
    """The run that is about to start or to continue.

    Attributes:
        keys: every episode of the run in order, finished ones included. store: for reading records.
    """

    run: RunRecord
    run_dir: Path
    plan: tuple[PairPlan, ...]
    keys: tuple[EpisodeKey, ...]
    arms: tuple[Arm, ...]
    store: RunStore


@dataclass(frozen=True, slots=True)
class SuiteOutcome:
    """What one call of ``run_suite`` did; rates and latencies are the report's business.

    Attributes:
        num_run, num_reused, num_found: episodes rolled out now, copied from a shared baseline, finished before.
        num_errors: of those rolled out now. num_missing: planned episodes without a success or a failure.
        wall_s, sim_s, model_s: seconds of the call, inside simulators (building them included), inside policies.
        interrupted: stopped before the plan was through.
    """

    num_run: int
    num_reused: int
    num_found: int
    num_errors: int
    num_missing: int
    wall_s: float
    sim_s: float
    model_s: float
    interrupted: bool = False

    @property
    def overhead_ratio(self) -> float:
        """Share of the wall time spent neither in a simulator nor in a policy."""
        return 1.0 - (self.sim_s + self.model_s) / self.wall_s if self.wall_s > 0 else 0.0


class Observer:
    """Base class: every hook does nothing. Override what is needed."""

    def on_run_start(self, run: RunInfo) -> None:
        """Before the first episode of this process."""

    def cameras(self, episode: EpisodeInfo) -> Sequence[str]:
        """Cameras to render at every step of this episode for ``on_frame``; none by default."""
        return ()

    def on_episode_start(self, episode: EpisodeInfo) -> None:
        """Before the episode is reset."""

    def on_frame(self, episode: EpisodeInfo, step: int, images: Mapping[str, NDArray[np.uint8]]) -> None:
        """Pictures uint8[H, W, 3] of the state before action ``step``, and of the last state."""

    def on_call(self, episode: EpisodeInfo, observation: Observation, chunk: ActionChunk) -> None:
        """After a policy call."""

    def on_step(self, episode: EpisodeInfo, step: StepRecord) -> None:
        """After an env step."""

    def on_episode_end(self, episode: EpisodeInfo, record: EpisodeRecord, steps: Sequence[StepRecord]) -> None:
        """After the episode's records are on the disk."""

    def on_record(self, record: EpisodeRecord) -> None:
        """A row came without a rollout: a baseline copied from another run, or an env that could not be built."""

    def on_run_end(self, outcome: SuiteOutcome) -> None:
        """After the last episode, also when the run was stopped."""


class ObserverGroup(Observer):
    """Several observers as one. An observer that raises is reported once and left out from then on."""

    def __init__(self, observers: Iterable[Observer]) -> None:
        self._observers = list(observers)

    def on_run_start(self, run: RunInfo) -> None:
        """See ``Observer``."""
        self._notify(lambda o: o.on_run_start(run))

    def cameras(self, episode: EpisodeInfo) -> Sequence[str]:
        """Cameras that any observer asks for, in order of first mention."""
        names: dict[str, None] = {}
        self._notify(lambda o: names.update(dict.fromkeys(o.cameras(episode))))
        return tuple(names)

    def on_episode_start(self, episode: EpisodeInfo) -> None:
        """See ``Observer``."""
        self._notify(lambda o: o.on_episode_start(episode))

    def on_frame(self, episode: EpisodeInfo, step: int, images: Mapping[str, NDArray[np.uint8]]) -> None:
        """See ``Observer``."""
        self._notify(lambda o: o.on_frame(episode, step, images))

    def on_call(self, episode: EpisodeInfo, observation: Observation, chunk: ActionChunk) -> None:
        """See ``Observer``."""
        self._notify(lambda o: o.on_call(episode, observation, chunk))

    def on_step(self, episode: EpisodeInfo, step: StepRecord) -> None:
        """See ``Observer``."""
        self._notify(lambda o: o.on_step(episode, step))

    def on_episode_end(self, episode: EpisodeInfo, record: EpisodeRecord, steps: Sequence[StepRecord]) -> None:
        """See ``Observer``."""
        self._notify(lambda o: o.on_episode_end(episode, record, steps))

    def on_record(self, record: EpisodeRecord) -> None:
        """See ``Observer``."""
        self._notify(lambda o: o.on_record(record))

    def on_run_end(self, outcome: SuiteOutcome) -> None:
        """See ``Observer``."""
        self._notify(lambda o: o.on_run_end(outcome))

    def _notify(self, hook: Callable[[Observer], object]) -> None:
        for observer in list(self._observers):
            try:
                hook(observer)
            except Exception:
                logger.warning(
                    "%s failed and is switched off; the run and its records go on",
                    type(observer).__name__,
                    exc_info=True,
                )
                self._observers.remove(observer)
