"""The rotation in the robot's state, as a model reads it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from vlacache.models.proprio import normalized_state, pointing_and_yaw, state_of
from vlacache.models.tiny import TINY_OFT, TINY_OPENVLA

DOWN = Rotation.from_rotvec([np.pi, 0.0, 0.0])
ANGLE = st.floats(-1.5, 1.5)
TILT = st.floats(-0.2, 0.2)


def rotated(tilt_x: float, tilt_y: float, yaw: float) -> Rotation:
    """A hand that points down, turned about the vertical, then tilted about the world's x and y."""
    return Rotation.from_rotvec([tilt_x, tilt_y, 0.0]) * Rotation.from_rotvec([0.0, 0.0, yaw]) * DOWN


@given(TILT, TILT, ANGLE)
def test_a_tilt_shows_in_proportion_and_whatever_the_yaw(tilt_x: float, tilt_y: float, yaw: float) -> None:
    seen = pointing_and_yaw(torch.from_numpy(rotated(tilt_x, tilt_y, yaw).as_rotvec())).numpy()
    angle = np.hypot(tilt_x, tilt_y)
    shrink = np.sinc(angle / np.pi)  # sin(angle) / angle
    np.testing.assert_allclose(seen[:2], [-tilt_y * shrink, tilt_x * shrink], atol=1e-9)
    # A tilt sideways carries the hand's x axis with it.
    assert abs(seen[2] - yaw) <= angle**2 + 1e-9


@given(st.lists(st.floats(-4.0, 4.0), min_size=3, max_size=3))
def test_the_columns_are_those_of_the_rotation_matrix(vector: list[float]) -> None:
    matrix = Rotation.from_rotvec(vector).as_matrix()
    seen = pointing_and_yaw(torch.tensor(vector, dtype=torch.float64)).numpy()
    np.testing.assert_allclose(seen[:2], matrix[:2, 2], atol=1e-9)
    if np.hypot(*matrix[:2, 0]) > 1e-3:
        np.testing.assert_allclose(np.exp(1j * seen[2]), complex(*matrix[:2, 0]) / np.hypot(*matrix[:2, 0]), atol=1e-6)


def test_no_rotation_and_a_batch() -> None:
    batch = torch.zeros(2, 3, 3)
    assert torch.equal(pointing_and_yaw(batch), torch.zeros(2, 3, 3))
    assert pointing_and_yaw(batch).dtype == torch.float32


def test_position_and_fingers_stay_and_the_published_state_is_untouched() -> None:
    proprio = torch.tensor([0.1, 0.2, 1.1, 3.0, 0.1, -0.2, 0.03, -0.03])
    assert state_of(TINY_OFT, proprio) is proprio
    state = state_of(TINY_OPENVLA, proprio)
    assert torch.equal(state[[0, 1, 2, 6, 7]], proprio[[0, 1, 2, 6, 7]])
    assert torch.equal(state[3:6], pointing_and_yaw(proprio[3:6]))


@pytest.mark.parametrize("config", [TINY_OFT, TINY_OPENVLA])
def test_a_hand_that_points_down_is_well_inside_the_range(config) -> None:
    at = torch.tensor([0.0, 0.1, 1.1, *DOWN.as_rotvec(), 0.02, -0.02], dtype=torch.float32)
    assert normalized_state(config, at).abs().max() < 0.95
    wide = replace(config, proprio_low=(-10.0,) * 8, proprio_high=(10.0,) * 8)
    assert torch.allclose(normalized_state(wide, at) * 10.0, state_of(config, at), atol=1e-5)
