"""Films and overlays, looked at as pictures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from runners.envs.toy import FaultyEnv, make_toy_env
from runners.film import read_film, read_info, write_film
from runners.journal import read_episodes
from runners.overlay import MARGIN, RELEVANT, REUSED, VIEW, VIEW_TOP, tint_view
from runners.suite import RunnerSettings
from runners.video import VideoObserver, VideoSelection
from tests.runner.helpers import ToyRun


def make_env(task_id: int):
    return make_toy_env(task_id, image_size=64, max_steps=12)


@pytest.fixture
def filmed(toy_run: ToyRun) -> ToyRun:
    toy_run.make_env = make_env
    toy_run.observers = [VideoObserver("first")]
    return toy_run


def films(toy_run: ToyRun) -> list[str]:
    return sorted(path.name for path in (toy_run.run_dir / "videos").glob("*.mp4"))


def test_first_pair_of_each_task_is_filmed_in_both_arms(filmed: ToyRun) -> None:
    filmed()
    assert films(filmed) == [
        "baseline-none-toy-t00-i000-s0-official.mp4",
        "baseline-none-toy-t01-i000-s0-official.mp4",
        "overlay-policy-adaptive-toy-t00-i000-s0-official.mp4",
        "overlay-policy-adaptive-toy-t01-i000-s0-official.mp4",
        "policy-adaptive-toy-t00-i000-s0-official.mp4",
        "policy-adaptive-toy-t01-i000-s0-official.mp4",
    ]
    assert not list((filmed.run_dir / "videos").glob(".*")), "raw frames are gone"


def test_film_shows_every_state_of_the_episode(filmed: ToyRun) -> None:
    filmed()
    for record in read_episodes(filmed.run_dir):
        if record.init_index == 0:
            film = filmed.run_dir / "videos" / f"{record.key.slug}.mp4"
            frames = list(read_film(film))
            info = read_info(film)
            assert len(frames) == info.num_frames == record.num_steps + 1
            assert (info.cameras, info.fps, info.attempt) == (("agentview", "wrist"), 20.0, 1)
            env = make_env(record.task_id)
            env.reset(init_index=0, seed=0)
            expected = env.observe(("agentview",)).images["agentview"].astype(float)
            assert frames[0].shape == (64, 128, 3)
            assert np.abs(frames[0][:, :64] - expected).mean() < 12, "lossy, but the same picture"


def test_filming_changes_no_episode(filmed: ToyRun, tmp_path: Path) -> None:
    filmed()
    plain = ToyRun(tmp_path / "plain", make_env=make_env)
    plain()
    for a, b in zip(read_episodes(filmed.run_dir), read_episodes(plain.run_dir), strict=True):
        assert (a.key, a.status, a.num_steps) == (b.key, b.status, b.num_steps)


@pytest.mark.parametrize(
    ("option", "chosen"),
    [("none", []), ("all", [(0, 0), (0, 1), (1, 0), (1, 1)]), ("first", [(0, 0), (1, 0)]), (["0:1"], [(0, 1)])],
)
def test_selection(option, chosen: list[tuple[int, int]]) -> None:
    selection = VideoSelection(option)
    assert [(t, i) for t in (0, 1) for i in (0, 1) if selection.includes(t, i, pair_position=i)] == chosen


@pytest.mark.parametrize("option", ["some", "0:1", ["0-1"], ["0:x"], [3]])
def test_other_selections_are_refused(option) -> None:
    with pytest.raises(ValueError, match=r"runner\.video: expected none, all, first or a list"):
        VideoObserver(option)


def test_retried_episode_replaces_its_film_and_the_overlay_follows(filmed: ToyRun) -> None:
    filmed.task_ids = [0]
    filmed.make_env = lambda task_id: FaultyEnv(make_env(task_id), 5)
    filmed()
    policy = filmed.run_dir / "videos" / "policy-adaptive-toy-t00-i000-s0-official.mp4"
    overlay = policy.with_name(f"overlay-{policy.name}")
    assert len(list(read_film(policy))) == 6
    before = overlay.stat().st_mtime_ns
    filmed.make_env = make_env
    filmed.observers = [VideoObserver("first")]
    filmed()
    assert len(list(read_film(policy))) == 13
    assert read_info(policy).attempt == 2
    assert overlay.stat().st_mtime_ns > before


def test_overlay_tints_what_was_reused(filmed: ToyRun) -> None:
    """The fake policy reuses all of the first view and nothing of the second, from its second call on."""
    filmed.settings = RunnerSettings(cache="adaptive")
    filmed()
    overlay = filmed.run_dir / "videos" / "overlay-policy-adaptive-toy-t00-i000-s0-official.mp4"
    frames = list(read_film(overlay))
    assert len(frames) == 13
    left = frames[0].shape[1] - MARGIN - 2 * VIEW - 6
    view = slice(VIEW_TOP, VIEW_TOP + VIEW)
    cold, warm = frames[1][view].astype(float), frames[6][view].astype(float)
    agent, wrist = slice(left, left + VIEW), slice(left + VIEW + 6, left + 2 * VIEW + 6)

    def blueness(frame: np.ndarray, columns: slice) -> float:
        return float((frame[:, columns, 2] - frame[:, columns, 0]).mean())

    assert blueness(warm, agent) - blueness(cold, agent) > 40
    assert abs(blueness(warm, wrist) - blueness(cold, wrist)) < 25
    baseline = slice(MARGIN, MARGIN + VIEW)
    assert abs(blueness(warm, baseline) - blueness(cold, baseline)) < 10


def test_tint_is_stronger_in_more_layers_and_absent_where_recomputed() -> None:
    grey = np.full((40, 40, 3), 100, np.uint8)
    share = np.array([[0.0, 0.5], [1.0, 0.0]])
    relevant = np.array([[False, False], [False, True]])
    tinted = tint_view(grey, share, relevant).astype(int)
    recomputed, half, full, task = tinted[10, 10], tinted[10, 30], tinted[30, 10], tinted[30, 30]
    assert recomputed.tolist() == [100, 100, 100]

    def distance(color: np.ndarray, target: tuple[int, ...]) -> int:
        return int(np.abs(color - target).sum())

    assert distance(full, REUSED) < distance(half, REUSED) < distance(recomputed, REUSED)
    assert distance(task, RELEVANT) < distance(recomputed, RELEVANT)


def test_film_appears_only_when_complete(tmp_path: Path) -> None:
    def frames():
        yield np.zeros((64, 64, 3), np.uint8)
        raise RuntimeError("renderer died")

    with pytest.raises(RuntimeError, match="renderer died"):
        write_film(tmp_path / "a.mp4", frames(), (64, 64), 20.0)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ValueError, match="expected even numbers, got 63 x 64"):
        write_film(tmp_path / "a.mp4", [], (63, 64), 20.0)
    with pytest.raises(ValueError, match=r"frame: expected uint8\[64, 64, 3\]"):
        write_film(tmp_path / "a.mp4", [np.zeros((32, 64, 3), np.uint8)], (64, 64), 20.0)
