"""How many patches show an object, and how many of these a cache called static."""

from __future__ import annotations

import numpy as np

from runners.rollout import _object_counts
from vlacache.types import CacheTrace, Observation

VIEW = "camera"


def observation(mask):
    return Observation({}, "x", None, 0, objects=None if mask is None else {VIEW: mask})


def trace(static):
    zeros = np.zeros(4, np.uint8)
    return CacheTrace((VIEW,), (2, 2), zeros, np.array(static, bool), zeros.astype(bool), 2)


def test_patches_with_at_least_one_pixel_count():
    mask = np.zeros((5, 7), bool)
    mask[0, 0] = mask[4, 6] = mask[4, 5] = True
    counts = _object_counts(observation(mask), trace([1, 1, 1, 0]))
    assert counts == {"object_patches": 2, "object_static": 1}


def test_nothing_is_known_without_a_mask_or_a_trace():
    nothing = {"object_patches": None, "object_static": None}
    assert _object_counts(observation(None), trace([1, 1, 1, 1])) == nothing
    assert _object_counts(observation(np.ones((2, 2), bool)), None) == nothing
