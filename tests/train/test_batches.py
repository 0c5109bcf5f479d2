"""What a batch is made of: every frame of an epoch, frames that come again, pauses that are left out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.train.runs import FAST, trainer
from vlacache.train.demos import Demos

pytestmark = pytest.mark.usefixtures("small_models")


def test_batches_depend_on_seed_and_update_alone(demos: Demos, tmp_path: Path) -> None:
    a, b = (trainer(FAST, demos, tmp_path / name).batches for name in "ab")
    b.make(3)
    first, second = a.make(7)[1], b.make(7)[1]
    assert torch.equal(first.inputs.patches, second.inputs.patches)
    assert torch.equal(first.targets.actions, second.targets.actions)
    epoch = np.concatenate([a.frames(step) for step in range(-(-demos.num_frames // 8) * 2)])
    assert sorted(epoch[: demos.num_frames]) == list(range(demos.num_frames))
    assert sorted(epoch[demos.num_frames : 2 * demos.num_frames]) == list(range(demos.num_frames))
    assert epoch[: demos.num_frames].tolist() != epoch[demos.num_frames : 2 * demos.num_frames].tolist()


def test_an_epoch_shows_every_move_and_a_share_of_the_pauses(demos: Demos, tmp_path: Path) -> None:
    """Odd frames are made pauses: the hand stands, the fingers still close."""
    action = demos.action.copy()
    pauses = np.arange(1, demos.num_frames, 2)
    moves = np.setdiff1d(np.arange(demos.num_frames), pauses)
    action[demos.frame_rows, 0] = 0.5
    action[demos.frame_rows[pauses], :-1] = 0.05
    action[:, -1] = 1.0
    batches = trainer(replace(FAST, pause_keep=0.25), replace(demos, action=action), tmp_path).batches
    num_pauses = round(0.25 * len(pauses))
    length = len(moves) + num_pauses
    frames = np.concatenate([batches.frames(step) for step in range(-(-3 * length // 8))])
    epochs = [set(frames[i * length : (i + 1) * length].tolist()) for i in range(3)]
    assert all(len(epoch) == length and epoch >= set(moves.tolist()) for epoch in epochs)
    assert len({frozenset(epoch) for epoch in epochs}) > 1, "other pauses in other epochs"


def test_frames_around_a_change_of_grip_come_again(demos: Demos, tmp_path: Path) -> None:
    """The command changes at one step of every episode, the hand stands still there."""
    action = demos.action.copy()
    action[:, :-1], action[:, -1] = 0.5, 1.0
    starts = np.searchsorted(demos.episode, np.arange(demos.num_episodes))
    change = starts + 9
    for start, at in zip(starts, change, strict=True):
        action[start:at, -1] = -1.0
    action[change, :-1] = 0.0
    changed = replace(demos, action=action)
    near = np.abs(demos.frame_rows[:, None] - change).min(axis=1) <= 2
    assert changed.near_grip_change(2).tolist() == near.tolist() and 0 < near.sum() < len(near)
    batches = trainer(replace(FAST, pause_keep=0.0, grip_repeats=3), changed, tmp_path).batches
    length = len(near) + 2 * int(near.sum())
    epoch = np.concatenate([batches.frames(step) for step in range(-(-length // 8))])[:length]
    assert np.bincount(epoch, minlength=len(near)).tolist() == np.where(near, 3, 1).tolist()


def test_frames_in_which_the_hand_turns_come_again(demos: Demos, tmp_path: Path) -> None:
    """About the vertical at more than half speed; where the grip changes too, the larger number holds."""
    action = demos.action.copy()
    action[:, :-1], action[:, -1] = 0.5, 1.0
    frame = np.arange(len(action))
    action[frame % 5 == 0, 5] = -0.8
    starts = np.searchsorted(demos.episode, np.arange(demos.num_episodes))
    action[starts, -1] = -1.0
    turning = replace(demos, action=action)
    turns, near = (frame % 5 == 0)[demos.frame_rows], turning.near_grip_change(2)
    assert 0 < (turns & near).sum() < turns.sum() < len(turns)
    batches = trainer(replace(FAST, grip_repeats=2, turn_repeats=3), turning, tmp_path).batches
    times = np.where(turns, 3, np.where(near, 2, 1))
    epoch = np.concatenate([batches.frames(step) for step in range(-(-times.sum() // 8))])[: times.sum()]
    assert np.bincount(epoch, minlength=len(times)).tolist() == times.tolist()


def test_demos_without_a_move_are_refused(demos: Demos, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="never moves"):
        trainer(replace(FAST, pause_keep=0.0), replace(demos, action=np.zeros_like(demos.action)), tmp_path)
