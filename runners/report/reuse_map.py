"""Share of patches whose K/V came from the cache, per decoder layer and policy call, from the recorded traces."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray


def reuse_by_layer(reused_layers: bytes, num_layers: int) -> NDArray[np.float64]:
    """Share of patches reused in each layer of one call, float64[L].

    A trace stores how many layers of a patch were reused. A patch that left the residual stream does not come back,
    so those are always the deepest ones: layer ``l`` was reused when the count is at least ``L - l``.

    Args:
        reused_layers: uint8[P] as bytes.
        num_layers: L.
    """
    counts = np.frombuffer(reused_layers, dtype=np.uint8)
    if counts.size == 0 or counts.max() > num_layers:
        raise ValueError(
            f"reused_layers: expected P > 0 counts of at most num_layers = {num_layers}, "
            f"got {counts.size} with maximum {counts.max(initial=0)}; run.json and the step file disagree"
        )
    histogram = np.bincount(counts, minlength=num_layers + 1)
    at_least = np.cumsum(histogram[::-1])  # at_least[i]: patches with a count of at least L - i
    shares: NDArray[np.float64] = at_least[:num_layers] / counts.size
    return shares


def mean_reuse_map(calls: pd.DataFrame, num_layers: int) -> NDArray[np.float64] | None:
    """Mean over episodes, float64[L, calls of the longest episode]; None when no trace was recorded."""
    if num_layers == 0 or "reused_layers" not in calls:
        return None
    traced = calls[calls["reused_layers"].notna()]
    if len(traced) == 0:
        return None
    shares = np.stack([reuse_by_layer(trace, num_layers) for trace in traced["reused_layers"]])
    index = traced["call_index"].to_numpy(dtype=int)
    total = np.zeros((index.max() + 1, num_layers))
    np.add.at(total, index, shares)
    number = np.bincount(index)[:, None]
    with np.errstate(invalid="ignore"):
        mean: NDArray[np.float64] = (total / number).T  # a call index without a trace is NaN and stays blank
    return mean
