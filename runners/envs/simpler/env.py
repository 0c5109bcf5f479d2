"""SIMPLER's tasks behind the env contract.

What is not obvious, and why it is so:

- An episode never stops on success: it runs to ``max_steps`` and success is the flag at the last step
  (``success_rule="final_step"``, SIMPLER's). The other rules can be read from the same rollout.
- Every reset builds a new physics scene, which makes episodes independent of what ran before.
- The env seed changes nothing: upstream's layouts are a grid, and its only random draws have a fixed seed.
- Behind robot and objects stands a photo, the same in every frame bit by bit. ``sensor_noise`` adds normal noise of so
  many grey levels to each picture, seeded by episode and step, as a camera has.
- Actions are taken as they come: metres, radians, without bounds or scaling.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import sapien
from numpy.typing import NDArray

from runners.envs.base import EnvSpec, TimeStep
from runners.envs.lifecycle import EpisodeLifecycle
from runners.envs.simpler.look import Look
from runners.envs.simpler.picture import Frame, draw
from vlacache.types import Observation


class Episode(Protocol):
    """One running episode of one robot's task.

    Attributes:
        instruction: in words; may change while the episode runs. look: of its pictures.
        flags: what the task's rules say after the last step, a dataclass with ``success``.
    """

    instruction: str
    look: Look
    flags: Any

    def step(self, action: NDArray[np.floating]) -> bool:
        """One control step; whether the task is done after it."""
        ...

    def proprio(self) -> NDArray[np.float32]:
        """State of the robot, float32[S]."""
        ...

    def tool_pose(self) -> sapien.Pose:
        """World pose of the tool."""
        ...

    def poses(self) -> Mapping[str, sapien.Pose]:
        """World poses of the bodies of ``look``."""
        ...


class Task(Protocol):
    """Starts the episodes of one task."""

    def start(self, init_index: int) -> Episode:
        """A new episode of layout ``init_index``, settled and ready for its first step."""
        ...


@dataclass(frozen=True, slots=True)
class LayoutFacts:
    """How the record of an episode differs from that of the task's others; the fields are those of ``EnvSpec``."""

    instruction: str
    setting: str | None = None
    stand_ins: tuple[str, ...] = ()


class SimplerEnv:
    """One SIMPLER task; fulfils ``runners.envs.base.Env``.

    Args:
        facts: of each layout. sensor_noise: standard deviation in grey levels (0 .. 255), independent between pixels
            and colours.
    """

    def __init__(self, spec: EnvSpec, task: Task, facts: Sequence[LayoutFacts], sensor_noise: float = 0.0) -> None:
        self.spec = spec
        self._facts = facts
        self._sensor_noise = sensor_noise
        self._noise_seed: tuple[int, ...] = ()
        self._task: Task | None = task
        self._lifecycle = EpisodeLifecycle(spec)
        self._episode: Episode | None = None

    def reset(self, *, init_index: int, seed: int) -> TimeStep:
        """Build layout ``init_index`` and let its objects settle; ``seed`` changes nothing. See ``Env.reset``."""
        self._lifecycle.check_reset(init_index)
        if self._task is None:
            raise RuntimeError("the env was closed: build a new one")
        self._noise_seed = (seed, self.spec.task_id, init_index)
        self._episode = None  # frees the old scene before the new one is built
        facts = self._facts[init_index]  # beforehand: the record of an episode that cannot start has them too
        self.spec = replace(self.spec, instruction=facts.instruction, setting=facts.setting, stand_ins=facts.stand_ins)
        self._episode = self._task.start(init_index)
        return self._lifecycle.begin(success=False)

    def step(self, action: NDArray[np.floating]) -> TimeStep:
        """One control step without a picture. See ``Env.step``."""
        self._lifecycle.check_step(action)
        success = self.privileged().step(np.asarray(action, dtype=np.float64))
        return self._lifecycle.advance(success=success)

    def observe(self, cameras: Sequence[str] = ()) -> Observation:
        """Proprio and the named pictures of the current state. See ``Env.observe``."""
        self._lifecycle.check_observe(cameras)
        episode = self.privileged()
        frames = {name: self.frame() for name in cameras}
        return Observation(
            images={name: self._noisy(frame.image) for name, frame in frames.items()},
            instruction=episode.instruction,
            proprio=episode.proprio(),
            step=self._lifecycle.step,
            objects={name: frame.objects for name, frame in frames.items()},
        )

    def _noisy(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        if self._sensor_noise == 0:
            return image
        rng = np.random.default_rng([*self._noise_seed, self._lifecycle.step])
        noise = self._sensor_noise * rng.standard_normal(image.shape, dtype=np.float32)
        return np.clip(np.rint(image + noise), 0, 255).astype(np.uint8)

    def frame(self) -> Frame:
        """Picture of the current state with the bodies that its pixels show."""
        episode = self.privileged()
        return draw(episode.look, episode.poses())

    def privileged(self) -> Episode:
        """The running episode.

        Raises:
            RuntimeError: before ``reset`` or after ``close``.
        """
        if self._episode is None:
            raise RuntimeError("no episode is running: call reset(init_index=..., seed=...) first")
        return self._episode

    def close(self) -> None:
        """Free the scene. May be called twice; ``reset`` and ``step`` raise ``RuntimeError`` afterwards."""
        self._episode, self._task = None, None
