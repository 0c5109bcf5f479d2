"""Which patches a training pass keeps: places that differ from frame to frame more often than walls and floor.

The odds belong to the data set, never to one sample: odds that followed the objects of a sample would tell where they
are.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vlacache.train.frames import FrameStore

#: Frames that the odds are measured on.
PROBE_FRAMES = 256
#: Odds of a patch that never changes, against 1 for the one that changes most.
LOWEST_ODDS = 0.05


def patch_odds(store: FrameStore, num_frames: int, num_views: int, patch_size: int) -> NDArray[np.float64]:
    """float64[V, P] odds in ``LOWEST_ODDS .. 1``: the standard deviation of a patch's pixels over frames, scaled.

    Args:
        store: of the demos. num_frames: in it. num_views: of a frame. patch_size: pixels.
    """
    chosen = np.unique(np.linspace(0, num_frames - 1, min(num_frames, PROBE_FRAMES)).astype(int))
    odds = []
    for view in range(num_views):
        total: NDArray[np.float64] | float = 0.0
        squares: NDArray[np.float64] | float = 0.0
        for frame in chosen:
            picture = store.get(int(frame), view).astype(np.float64)
            total, squares = total + picture, squares + picture**2
        variance = np.maximum(squares / len(chosen) - (total / len(chosen)) ** 2, 0.0)
        grid = len(variance) // patch_size
        spread = np.sqrt(variance.reshape(grid, patch_size, grid, patch_size, -1).mean(axis=(1, 3, 4))).ravel()
        odds.append(np.clip(spread / max(float(np.quantile(spread, 0.9)), 1e-9), LOWEST_ODDS, 1.0))
    return np.stack(odds)


def draw_kept(
    odds: NDArray[np.float64], num_samples: int, num_kept: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """int64[B, V, K] ascending: K patches of each view without replacement, by ``odds`` float64[V, P]."""
    # The largest K of log odds + Gumbel noise are a draw without replacement (Efraimidis and Spirakis, 2006).
    keys = np.log(odds) + rng.gumbel(size=(num_samples, *odds.shape))
    return np.sort((-keys).argsort(-1)[..., :num_kept], axis=-1)
