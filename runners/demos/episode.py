"""One demonstration: the expert acts, the env is disturbed, every step is written down."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runners.demos.dataset import OFFSETS, POINTS, VIEWS, DemoRows, encode_picture
from runners.demos.labels import SceneLabels
from runners.demos.looks import LOOKS, LookJitter
from runners.demos.noise import ActionNoise, NoiseSettings
from runners.demos.novice import LEAD_STEPS, RELEASE_STEPS, Novice
from runners.envs.libero import CONTROL_HZ, LiberoEnv
from runners.envs.wide.layout import Stream
from runners.experts.scripted import ScriptedPolicy

#: Undisturbed steps after the first success. A chunk of 8 actions then has all its labels, also from a picture just
#: before success: let go, back off. The tail itself has no pictures, as an evaluated episode ends at success.
TAIL_STEPS = 8


#: Where fixtures stand is drawn apart from the objects, as in official episodes (``LiberoEnv.reset_training``).
FIXTURES = "fixtures"
#: What may be drawn anew for each demo.
JITTERS = (*LOOKS, FIXTURES)


@dataclass(frozen=True, slots=True)
class Recording:
    """How to record.

    Attributes:
        frame_stride: env steps between two rows with pictures; the first such row is drawn for each demo.
        max_steps: without success until then the demo is thrown away.
        jitter: what is drawn anew for each demo, a choice of ``JITTERS``.
    """

    frame_stride: int = 3
    max_steps: int = 220
    noise: NoiseSettings = field(default_factory=NoiseSettings)
    jitter: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.frame_stride < 1 or self.max_steps < 1:
            raise ValueError(f"expected frame_stride and max_steps of at least 1, got {self}")


def env_steps(recording: Recording) -> int:
    """Steps that an env must allow for a demo with everything before and after what is recorded."""
    return LEAD_STEPS + RELEASE_STEPS + recording.max_steps + TAIL_STEPS


class DemoRecorder:
    """Records demos of one task.

    Args:
        env: built with ``success_rule="any_step"`` and ``max_steps`` of at least ``env_steps(recording)``.
        expert: of the env's suite. novice: acts first; the expert begins where it is interrupted.
    """

    def __init__(
        self, env: LiberoEnv, expert: ScriptedPolicy, recording: Recording, novice: Novice | None = None
    ) -> None:
        if env.spec.success_rule != "any_step" or env.spec.max_steps < env_steps(recording):
            raise ValueError(
                f"env: expected success_rule any_step and max_steps >= {env_steps(recording)}, "
                f"got {env.spec.success_rule} and {env.spec.max_steps}"
            )
        self._env, self._expert, self._recording, self._novice = env, expert, recording, novice
        expert.attach(env)
        env.reset_training(index=0, seed=0)
        env.observe(VIEWS)  # opens the renderer, which sets colours of its own
        looks = tuple(kind for kind in recording.jitter if kind != FIXTURES)
        self._looks = LookJitter(env.privileged().model, looks)

    def record(self, *, index: int, seed: int) -> tuple[DemoRows, int] | None:
        """Play training episode ``index`` of collection ``seed``.

        Returns:
            Its rows and the row that led to success; None when the expert did not get there, or the novice did.
        """
        recording = self._recording
        rng = np.random.default_rng([int(Stream.DEMONSTRATION), self._env.spec.task_id, index, seed])
        phase = int(rng.integers(recording.frame_stride))
        noise = ActionNoise(recording.noise, rng)
        self._looks.apply(rng)
        apart = FIXTURES in recording.jitter
        now = self._env.reset_training(index=index, seed=seed, other_fixtures=apart)
        if now.success:
            return None
        labels = SceneLabels(self._env.privileged())
        if self._novice is not None and not self._novice.lead(self._env, rng):
            return None
        self._expert.reset(seed)
        rows, success_row = DemoRows(), None
        while success_row is None or len(rows) <= success_row + TAIL_STEPS:
            if success_row is None and len(rows) >= recording.max_steps:
                return None
            with_pictures = success_row is None and len(rows) % recording.frame_stride == phase
            row = self._observe(labels, with_pictures)
            action = self._expert.act()
            executed = noise.disturb(action) if success_row is None else action
            now = self._env.step(executed)
            if now.success and success_row is None:
                success_row = len(rows)
            actions = {"action": action.astype(np.float32), "executed_action": executed.astype(np.float32)}
            rows.append({**row, **actions, "success": now.success, **_clock(len(rows))})
        return rows, success_row

    def _observe(self, labels: SceneLabels, with_pictures: bool) -> dict[str, Any]:
        """State, pictures and labels of the current step."""
        observation = self._env.observe(VIEWS if with_pictures else ())
        labels.update(self._env.observed_qpos())
        row: dict[str, Any] = {"observation.state": observation.proprio}
        for view in VIEWS:
            row[f"observation.images.{view}"] = _picture(observation.images.get(view))
            for point in POINTS:
                row[f"aux.{view}.{point}"] = labels.pixel(view, point)
        return row | {f"aux.{point}_offset": labels.offset(point) for point in OFFSETS}


def _clock(step: int) -> dict[str, Any]:
    return {"timestamp": step / CONTROL_HZ, "frame_index": step}


def _picture(image: NDArray[np.uint8] | None) -> dict[str, Any] | None:
    return None if image is None else encode_picture(image)
