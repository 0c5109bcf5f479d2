"""Reused K/V moved along with the context: by what the K/V of recomputed patches that look the same have changed.

Where attention is full, a patch that did not change still has other K/V than in the last call, because deeper layers
mix in the state and the action tokens. That part is nearly the same for all patches: it can be read off patches that
are recomputed although they did not change, and be added to those that are reused. Behind a causal mask patches see
only the patches before them, there is no such common part, and nothing is moved. See
docs/decisions/015-context-shift.md.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import torch
from torch import Tensor

from vlacache.core.decision import CacheDecision
from vlacache.core.kv_cache import KVCache
from vlacache.core.layout import TokenLayout
from vlacache.core.policies.base import CachePolicy

#: Patches whose change is averaged; 16 gave the same action errors as all of them, about 150.
NUM_ANCHORS = 32
#: Below this many the mean says too little, and nothing is moved.
MIN_ANCHORS = 8


@dataclass(frozen=True, eq=False)
class LayerShift:
    """What layers that reuse the same patches move: fixed shapes and no wait, so that captured work can hold it.

    A: ``NUM_ANCHORS``, P patches, D width of a head. All but ``anchors`` in the dtype of the K/V.

    Attributes:
        anchors: int64[A] prompt positions, repeated where there are fewer. vision: positions of the patches.
        back: [A * D, 2 D], see ``_turns_back``.
        share: [P, 1], for patches that are reused 1 / A, or 0 where there are too few anchors; else 0.
        forth: [P, D] ``share`` times cos (D/2) and sin (D/2).
    """

    anchors: Tensor
    vision: slice
    back: Tensor
    share: Tensor
    forth: Tensor

    @property
    def tables(self) -> list[Tensor]:
        """What differs from call to call, besides ``anchors``."""
        return [self.back, self.share, self.forth]

    def empty_like(self) -> LayerShift:
        """The same shapes at new addresses, to be filled through ``anchors`` and ``tables``."""
        return LayerShift(torch.empty_like(self.anchors), self.vision, *map(torch.empty_like, self.tables))

    def read(self, kv: KVCache, layer: int) -> Tensor:
        """[2, H, A, D] K and V of the anchors."""
        return kv.both[:, layer].index_select(2, self.anchors)

    def carry(self, kv: KVCache, layer: int, before: Tensor) -> None:
        """Move the reused K/V of ``layer``, in place, in eight launches with ``read`` before and after.

        Keys lie in the cache turned by their position: turned back, their sum is one that all positions share. Turning
        it forth for each of them is a product with as many columns as a head is wide: on a CPU half the time of two
        products by entry.

        Args:
            before: what ``read`` gave before this call's K/V were written.
        """
        moved_k, moved_v = (self.read(kv, layer) - before).unbind()
        heads, _, width = moved_k.shape
        turned = (moved_k.flatten(1) @ self.back).index_select(1, _forth_index(width, moved_k.device))
        kv.k[layer, :, self.vision].baddbmm_(self.forth.expand(heads, -1, -1), turned.view(heads, width, width))
        kv.v[layer, :, self.vision].baddbmm_(self.share.expand(heads, -1, -1), moved_v.sum(dim=1, keepdim=True))


def _turns_back(cos: Tensor, sin: Tensor) -> Tensor:
    """The matrix that turns keys of all anchors, side by side, back by their positions and adds them up.

    Args:
        cos, sin: [A, D] of the anchors.

    Returns:
        [A * D, 2 D]: to the first half of the sum (D/2), its second half, minus the second half, and zeros.
    """
    by_cos, by_sin = _back_patterns(cos.shape[1], cos.device, cos.dtype)
    return (cos[..., None] * by_cos).addcmul_(sin[..., None], by_sin).flatten(0, 1)


@functools.cache
def _back_patterns(width: int, device: torch.device, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Where cos and where sin of a position stand in ``_turns_back``, [D, 2 D] each, of -1, 0, 1."""
    half = width // 2
    one, none = torch.eye(half, device=device, dtype=dtype), torch.zeros(half, half, device=device, dtype=dtype)
    by_cos = torch.cat([torch.cat([one, none, none, none], 1), torch.cat([none, one, -one, none], 1)])
    by_sin = torch.cat([torch.cat([none, -one, one, none], 1), torch.cat([one, none, none, none], 1)])
    return by_cos, by_sin


@functools.cache
def _forth_index(width: int, device: torch.device) -> Tensor:
    """int64[D * D] columns of ``_turns_back``'s sum (first, second, -second, 0) that make up [D, D].

    A row (cos, sin) of half tables times that matrix is the sum, rotated by RoPE.
    """
    half = width // 2
    first = torch.arange(half, device=device)
    zero = torch.full((half, half), 3 * half, device=device)
    at_first, at_second, at_minus = (zero.diagonal_scatter(first + k * half) for k in range(3))
    return torch.cat([torch.cat([at_first, at_second], 1), torch.cat([at_minus, at_first], 1)]).flatten()


@dataclass(frozen=True, eq=False)
class ContextShift:
    """The shift of one call, before it is known which layers.

    Attributes:
        leave_layer: int64[P], as in the decision. weight: [1], 1 / A or 0. The others: as in ``LayerShift``.
    """

    leave_layer: Tensor
    anchors: Tensor
    vision: slice
    weight: Tensor
    back: Tensor

    @classmethod
    def plan(cls, decision: CacheDecision, layout: TokenLayout, cos: Tensor, sin: Tensor) -> ContextShift:
        """Anchors: evenly spaced among the static patches that every layer recomputes.

        Args:
            cos, sin: [C, 1, D] RoPE tables, C at least the prompt's length.
        """
        stays = decision.static & (decision.leave_layer == decision.num_layers)
        count = stays.sum()
        first_stays = torch.sort(~stays, stable=True).indices  # those that stay, ascending, then the others
        step = torch.arange(NUM_ANCHORS, device=stays.device)
        anchors = layout.vision_start + first_stays[(step * count).div(NUM_ANCHORS, rounding_mode="floor")]
        weight = (count >= MIN_ANCHORS).to(cos.dtype)[None] / NUM_ANCHORS
        back = _turns_back(cos[:, 0].index_select(0, anchors), sin[:, 0].index_select(0, anchors))
        return cls(decision.leave_layer, anchors, layout.vision, weight, back)

    def at(self, layer: int, cos: Tensor, sin: Tensor) -> LayerShift:
        """For the layers from ``layer`` on that reuse the same patches; ``cos``, ``sin`` as in ``plan``."""
        share = ((self.leave_layer <= layer) * self.weight)[:, None]
        half = cos.shape[-1] // 2  # the second half of a table repeats the first
        forth = share * torch.cat([cos[self.vision, 0, :half], sin[self.vision, 0, :half]], dim=-1)
        return LayerShift(self.anchors, self.vision, self.back, share, forth)


def plan_shift(
    policy: CachePolicy, decision: CacheDecision, layout: TokenLayout, tables: tuple[Tensor, Tensor], *, causal: bool
) -> ContextShift | None:
    """What ``decision`` moves; None where it reuses nothing, attention is causal or ``policy`` leaves K/V as they are.

    Args:
        tables: cos and sin as in ``ContextShift.plan``.
    """
    if causal or decision.is_dense or not policy.moves_kv:
        return None
    return ContextShift.plan(decision, layout, *tables)
