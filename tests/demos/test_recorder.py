"""What a recorder asks of its environment."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import mujoco
import pytest

from runners.demos.episode import DemoRecorder, Recording, env_steps


class AlreadySolved:
    """An environment in which nothing is left to do; remembers how it was started."""

    def __init__(self, recording: Recording) -> None:
        self.spec = SimpleNamespace(success_rule="any_step", max_steps=env_steps(recording), task_id=4)
        self.starts: list[dict[str, Any]] = []

    def reset_training(self, **start: Any) -> SimpleNamespace:
        self.starts.append(start)
        return SimpleNamespace(success=True)

    def observe(self, cameras: object = ()) -> None:
        """No picture is looked at."""

    def privileged(self) -> SimpleNamespace:
        return SimpleNamespace(model=mujoco.MjModel.from_xml_string("<mujoco/>"))


@pytest.mark.parametrize("jitter", [(), ("colour",), ("light", "fixtures")])
def test_fixtures_are_drawn_apart_when_asked(jitter: tuple[str, ...]) -> None:
    recording = Recording(jitter=jitter)
    env = AlreadySolved(recording)
    expert = SimpleNamespace(attach=lambda env: None)
    assert DemoRecorder(env, expert, recording).record(index=3, seed=7) is None  # type: ignore[arg-type]
    assert env.starts[-1] == {"index": 3, "seed": 7, "other_fixtures": "fixtures" in jitter}
