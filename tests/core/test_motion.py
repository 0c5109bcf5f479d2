"""How slow, and whether the gripper changed: over a chunk, and from one chunk to the next."""

from __future__ import annotations

import numpy as np
import pytest

from vlacache.core.motion import MotionMeter


def chunk(*rows: tuple[float, float, float, float]) -> np.ndarray:
    """Executed actions: translation x, y, z, no rotation, gripper."""
    return np.array([[x, y, z, 0.0, 0.0, 0.0, grip] for x, y, z, grip in rows])


def meter(low: float = -1.0, high: float = 1.0) -> MotionMeter:
    return MotionMeter([low] * 7, [high] * 7)


def test_speed_is_the_mean_length() -> None:
    assert meter().measure(chunk((3.0, 4.0, 0.0, 1.0), (0.0, 0.0, -1.0, 1.0))).speed == pytest.approx(3.0)


def test_speed_counts_in_half_ranges_and_standing_still_is_zero() -> None:
    """A robot commanded in metres, with statistics that are not symmetric."""
    robot = meter(low=-0.01, high=0.03)
    assert robot.measure(chunk((0.02, 0.0, 0.0, 1.0))).speed == pytest.approx(1.0)
    assert robot.measure(chunk((0.0, 0.0, 0.0, 1.0))).speed == 0.0


def test_an_axis_without_range_counts_as_it_is() -> None:
    fixed = MotionMeter([0.0] * 7, [2.0, 0.0, 2.0, 0.0, 0.0, 0.0, 0.0])
    assert fixed.measure(chunk((0.0, 0.5, 0.0, 1.0))).speed == pytest.approx(0.5)


def test_a_grip_is_a_change_within_a_chunk_or_between_two() -> None:
    hand = meter()
    open_, closed = (1.0, 0.0, 0.0, -1.0), (1.0, 0.0, 0.0, 0.8)
    seen = [hand.measure(chunk(*rows)).grips for rows in ([open_, open_], [closed], [closed], [closed, open_], [open_])]
    assert seen == [False, True, False, True, False]
    hand.reset()
    assert not hand.measure(chunk(closed)).grips, "nothing came before"
