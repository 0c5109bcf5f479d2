"""Golden values of the conversions between robosuite and the policies."""

from __future__ import annotations

import numpy as np
import pytest

from runners.envs.conventions import quat_xyzw_to_axis_angle, rotate_180


def test_rotate_180_swaps_both_axes() -> None:
    image = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    turned = rotate_180(image)
    np.testing.assert_array_equal(turned[0, 0], image[1, 1])
    np.testing.assert_array_equal(turned[0, 1], image[1, 0])
    assert turned.flags["C_CONTIGUOUS"]
    assert not np.shares_memory(turned, image)
    np.testing.assert_array_equal(rotate_180(turned), image)


@pytest.mark.parametrize(
    ("quat_xyzw", "expected"),
    [
        ([0, 0, 0, 1], [0, 0, 0]),
        ([1, 0, 0, 0], [np.pi, 0, 0]),
        ([0, 0, np.sin(0.25), np.cos(0.25)], [0, 0, 0.5]),
        ([0, 0, -np.sin(0.25), -np.cos(0.25)], [0, 0, 0.5 - 2 * np.pi]),  # -q: the long way round, not folded
        ([0, 0, 0, 1.0000001], [0, 0, 0]),
    ],
)
def test_axis_angle(quat_xyzw: list[float], expected: list[float]) -> None:
    np.testing.assert_allclose(quat_xyzw_to_axis_angle(np.array(quat_xyzw)), expected, atol=1e-12)


def test_axis_angle_refuses_other_shapes() -> None:
    with pytest.raises(ValueError, match="quat_xyzw"):
        quat_xyzw_to_axis_angle(np.zeros(3))
