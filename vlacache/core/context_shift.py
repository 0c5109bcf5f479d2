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
from vlacache.core.policies.base import CachePolicy, RelevantPolicy
from vlacache.core.rope import quarter_turn, rotate

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
        anchor_cos, anchor_sin: [A, D] RoPE tables of the anchors.
        share: [P, 1], 1 for patches that are reused, else 0. share_cos, share_sin: [P, D], times the RoPE tables.
    """

    anchors: Tensor
    vision: slice
    weight: Tensor
    anchor_cos: Tensor
    anchor_sin: Tensor
    share: Tensor
    share_cos: Tensor
    share_sin: Tensor

    @property
    def tables(self) -> list[Tensor]:
        """What ``carry`` reads besides ``anchors``."""
        return [self.weight, self.anchor_cos, self.anchor_sin, self.share, self.share_cos, self.share_sin]

    def empty_like(self) -> LayerShift:
        """The same shapes at new addresses, to be filled through ``anchors`` and ``tables``."""
        return LayerShift(torch.empty_like(self.anchors), self.vision, *map(torch.empty_like, self.tables))

    def read(self, kv: KVCache, layer: int) -> Tensor:
        """[2, H, A, D] K and V of the anchors, float32."""
        return torch.stack([half[layer].index_select(1, self.anchors) for half in (kv.k, kv.v)]).float()

    def carry(self, kv: KVCache, layer: int, before: Tensor) -> None:
        """Move the reused K/V of ``layer``, in place.

        Args:
            before: what ``read`` gave before this call's K/V were written.
        """
        moved = self.read(kv, layer) - before
        # Keys lie in the cache turned by their position: turned back, the mean is one that all positions share.
        moved_k = rotate(moved[0], self.anchor_cos.float(), -self.anchor_sin.float())
        mean_k, mean_v = (torch.stack([moved_k, moved[1]]).sum(dim=2, keepdim=True) * self.weight).to(kv.k.dtype)
        keys, values = kv.k[layer, :, self.vision], kv.v[layer, :, self.vision]
        keys.addcmul_(self.share_cos, mean_k).addcmul_(self.share_sin, quarter_turn(mean_k))
        values.addcmul_(self.share, mean_v)


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
    anchor_cos: Tensor
    anchor_sin: Tensor

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
        return cls(decision.leave_layer, anchors, layout.vision, weight, cos[anchors, 0], sin[anchors, 0])

    def at(self, layer: int, cos: Tensor, sin: Tensor) -> LayerShift:
        """For the layers from ``layer`` on that reuse the same patches; ``cos``, ``sin`` as in ``plan``."""
        share = (self.leave_layer <= layer).to(cos.dtype)[:, None]
        turned = share * cos[self.vision, 0], share * sin[self.vision, 0]
        return LayerShift(self.anchors, self.vision, self.weight, self.anchor_cos, self.anchor_sin, share, *turned)


def plan_shift(
    policy: CachePolicy, decision: CacheDecision, layout: TokenLayout, tables: tuple[Tensor, Tensor], *, causal: bool
) -> ContextShift | None:
    """What ``decision`` moves; None where it reuses nothing, attention is causal or ``policy`` leaves K/V as they are.

    Args:
        tables: cos and sin as in ``ContextShift.plan``.
    """
    if causal or decision.is_dense or not isinstance(policy, RelevantPolicy) or not policy.carry_shift:
        return None
    return ContextShift.plan(decision, layout, *tables)
