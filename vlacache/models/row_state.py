"""The rows of a prompt that are still computed at some layer, and what they attend to."""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import Tensor

from vlacache.core.attention import ReadoutRows, as_bias, needs_products
from vlacache.core.context_shift import LayerShift


@dataclass(frozen=True, slots=True)
class RowState:
    """The rows in the residual stream.

    Attributes:
        x: [b, d]. cos, sin: [b, 1, D]. rows: int64[n] ascending positions of the rows that are no padding.
        slots: int64[b] where K/V are written; None for 0 .. b - 1. num_keys: N, the slots that are attended to.
        mask: bool[b, N], or what is added to the scores, or None. is_causal: the plain triangle in place of a mask.
        read: rows of the readout.
        shift: how the K/V of the other rows are moved, or None.
    """

    x: Tensor
    cos: Tensor
    sin: Tensor
    rows: Tensor
    slots: Tensor | None
    num_keys: int
    mask: Tensor | None
    is_causal: bool
    read: ReadoutRows | None
    shift: LayerShift | None = None


def with_bias(state: RowState) -> RowState:
    """The mask as the products of all layers add it, made once; unchanged where attention takes a mask."""
    if not needs_products(state.x.device, state.x.dtype):
        return state
    bias = as_bias(state.mask, state.x, state.num_keys if state.is_causal else None)
    return replace(state, mask=bias, is_causal=False)
