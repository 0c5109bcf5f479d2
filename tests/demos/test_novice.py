"""When a policy that leads into a demonstration hands over."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from runners.build import build_novice
from runners.demos.collect import Collection, collect
from runners.demos.dataset import find_episodes, read_episode, read_info
from runners.demos.episode import TAIL_STEPS, Recording
from runners.demos.novice import LEAD_STEPS, RELEASE_STEPS, Novice
from vlacache.models.factory import ModelConfig, load_model
from vlacache.train.export import export_checkpoint


class FakeEnv:
    """Notes the actions; solved after ``success_at`` of them."""

    def __init__(self, success_at: int | None = None) -> None:
        self.actions: list[Any] = []
        self._success_at = success_at

    def observe(self, cameras: tuple[str, ...]) -> int:
        return len(self.actions)

    def step(self, action: Any) -> SimpleNamespace:
        self.actions.append(action)
        return SimpleNamespace(success=len(self.actions) == self._success_at)

    def observed_qpos(self) -> None:
        return None


class FakePolicy:
    """Closes the gripper from step 0 until ``opens_at``; chunks of 8 of which 4 are executed."""

    cameras = ("agentview",)
    num_open_loop_steps = 4

    def __init__(self, opens_at: int) -> None:
        self._opens_at = opens_at
        self.calls: list[int] = []

    def reset(self, seed: int) -> None:
        self.calls.clear()

    def infer(self, step: int) -> SimpleNamespace:
        self.calls.append(step)
        actions = np.zeros((8, 7), np.float32)
        actions[:, 6] = [1.0 if step + i < self._opens_at else -1.0 for i in range(8)]
        return SimpleNamespace(actions=actions)


def labels(distance: float) -> Any:
    return SimpleNamespace(update=lambda qpos: None, offset=lambda point: np.array([0.0, distance, 0.0]))


def lead(env: FakeEnv, opens_at: int = 0, distance: float = 0.0, seed: int = 0) -> bool:
    return Novice(FakePolicy(opens_at)).lead(env, labels(distance), np.random.default_rng(seed))  # type: ignore[arg-type]


def drawn_steps(seed: int) -> int:
    rng = np.random.default_rng(seed)
    rng.integers(2**31)
    return int(rng.integers(LEAD_STEPS))


@pytest.mark.parametrize("seed", range(5))
def test_lead_has_the_drawn_length(seed: int) -> None:
    env = FakeEnv()
    assert lead(env, seed=seed)
    assert len(env.actions) == drawn_steps(seed)


def test_only_executed_actions_of_a_chunk_are_taken() -> None:
    policy = FakePolicy(0)
    assert Novice(policy).lead(FakeEnv(), labels(1.0), np.random.default_rng(1))  # type: ignore[arg-type]
    assert policy.calls == list(range(0, drawn_steps(1), 4))


def test_what_is_held_is_let_go_first() -> None:
    env, steps = FakeEnv(), drawn_steps(0)
    assert lead(env, opens_at=steps + 10)
    assert len(env.actions) == steps + 11  # up to the first action that opens


def test_a_closed_hand_elsewhere_is_taken_over() -> None:
    env = FakeEnv()
    assert lead(env, opens_at=10_000, distance=0.3)
    assert len(env.actions) == drawn_steps(0)


def test_nothing_to_show_when_it_succeeds_or_never_lets_go() -> None:
    assert not lead(FakeEnv(success_at=drawn_steps(0) - 1))
    env = FakeEnv()
    assert not lead(env, opens_at=10_000)
    assert len(env.actions) == drawn_steps(0) + RELEASE_STEPS


def test_any_embedded_model_can_lead(tmp_path: Path) -> None:
    export_checkpoint(load_model(ModelConfig("tiny_openvla")).model, tmp_path / "some", {})
    policy, name = build_novice(str(tmp_path / "some"))
    assert policy.cameras == ("agentview",) and policy.num_open_loop_steps == 1
    assert name.startswith("some@")


def test_a_leader_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere"):
        build_novice(str(tmp_path / "nowhere"))


@pytest.mark.sim
def test_demo_begins_where_the_policy_was_stopped(tmp_path: Path) -> None:
    collection = Collection(
        "libero_spatial", (7,), 1, 3, "wide", novice="builtin", recording=Recording(frame_stride=20)
    )
    collect(collection, tmp_path, progress=lambda line: None)
    info = read_info(tmp_path)
    assert info is not None and info["collection"]["novice"].startswith("tiny_oft@")
    (meta,) = find_episodes(tmp_path).values()
    table = read_episode(tmp_path, 0)
    assert len(table) == meta.success_row + TAIL_STEPS + 1
    started = np.array(table.column("observation.state").to_pylist()[0][:3])
    alone = replace(collection, novice=None)
    collect(alone, tmp_path / "alone", progress=lambda line: None)
    home = np.array(read_episode(tmp_path / "alone", 0).column("observation.state").to_pylist()[0][:3])
    assert np.linalg.norm(started - home) > 0.02
    with pytest.raises(ValueError, match="novice"):
        collect(alone, tmp_path, progress=lambda line: None)
