"""Reused K/V moved along with the context: by what the K/V of recomputed patches that look the same have changed.

Where attention is full, a patch that did not change still has other K/V than in the last call, because deeper layers
mix in the state and the action tokens. That part is nearly the same for all patches: it can be read off patches that
are recomputed although they did not change, and be added to those that are reused. Behind a causal mask patches see
only the patches before them, there is no such common part, and nothing is moved. See
docs/decisions/015-context-shift.md.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from vlacache.core.decision import CacheDecision
from vlacache.core.kv_cache import KVCache
from vlacache.core.layout import TokenLayout
from vlacache.core.policies.base import CachePolicy
from vlacache.core.rope import quarter_turn

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
        weight: [1], 1 / A, or 0 where there are too few anchors.
        back: [2, 1, A, D] ``weight`` times cos and -sin of the anchors, which turn a key back by its position.
        share: [P, 1], 1 for patches that are reused, else 0. forth: [P, D] ``share`` times cos (D/2) and sin (D/2).
    """

    anchors: Tensor
    vision: slice
    weight: Tensor
    back: Tensor
    share: Tensor
    forth: Tensor

    @property
    def tables(self) -> list[Tensor]:
        """What differs from call to call, besides ``anchors``."""
        return [self.weight, self.back, self.share, self.forth]

    def empty_like(self) -> LayerShift:
        """The same shapes at new addresses, to be filled through ``anchors`` and ``tables``."""
        return LayerShift(torch.empty_like(self.anchors), self.vision, *map(torch.empty_like, self.tables))

    def read(self, kv: KVCache, layer: int) -> Tensor:
        """[2, H, A, D] K and V of the anchors."""
        return kv.both[:, layer].index_select(2, self.anchors)

    def carry(self, kv: KVCache, layer: int, before: Tensor) -> None:
        """Move the reused K/V of ``layer``, in place.

        Keys lie in the cache turned by their position: turned back, the mean is one that all positions share. Turning
        it forth for each of them is a product with as many columns as a head is wide: on a CPU half the time of two
        products by entry.

        Args:
            before: what ``read`` gave before this call's K/V were written.
        """
        moved_k, moved_v = (self.read(kv, layer) - before).unbind()
        by_cos, by_sin = (moved_k * self.back).sum(dim=2)
        turn = _turning(by_cos + quarter_turn(by_sin))
        mean_v = moved_v.sum(dim=1, keepdim=True) * self.weight
        heads = turn.shape[0]
        kv.k[layer, :, self.vision].baddbmm_(self.forth.expand(heads, -1, -1), turn)
        kv.v[layer, :, self.vision].baddbmm_(self.share.expand(heads, -1, -1), mean_v)


def _turning(vector: Tensor) -> Tensor:
    """[H, D] -> [H, D, D]: a row (cos, sin) of half tables times it is the vector, rotated by RoPE."""
    heads, width = vector.shape
    half = width // 2
    first, second = vector.chunk(2, dim=-1)
    out = vector.new_zeros(heads, width, width)
    out.diagonal(0, 1, 2).copy_(torch.cat([first, first], dim=-1))
    out.diagonal(half, 1, 2).copy_(second)
    out.diagonal(-half, 1, 2).copy_(-second)
    return out


@dataclass(frozen=True, eq=False)
class ContextShift:
    """The shift of one call, before it is known which layers.

    Attributes:
        leave_layer: int64[P], as in the decision. The others: as in ``LayerShift``.
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
        back = torch.stack([cos[anchors, 0], -sin[anchors, 0]])[:, None] * weight
        return cls(decision.leave_layer, anchors, layout.vision, weight, back)

    def at(self, layer: int, cos: Tensor, sin: Tensor) -> LayerShift:
        """For the layers from ``layer`` on that reuse the same patches; ``cos``, ``sin`` as in ``plan``."""
        share = (self.leave_layer <= layer).to(cos.dtype)[:, None]
        half = cos.shape[-1] // 2  # the second half of a table repeats the first
        forth = share * torch.cat([cos[self.vision, 0, :half], sin[self.vision, 0, :half]], dim=-1)
        return LayerShift(self.anchors, self.vision, self.weight, self.back, share, forth)


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
