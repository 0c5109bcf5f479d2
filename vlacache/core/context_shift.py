"""Reused K/V moved along with the context: by what the K/V of recomputed patches that look the same have changed.

Where attention is full, a patch that did not change still has other K/V than in the last call, because deeper layers
mix in the state and the action tokens. That part is nearly the same for all patches: it can be read off patches that
are recomputed although they did not change, and be added to those that are reused. Behind a causal mask patches see
only the patches before them, there is no such common part, and nothing is moved. See
docs/decisions/015-context-shift.md.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

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
class ContextShift:
    """What one call moves, at fixed shapes, so that it costs no wait and can be captured.

    A: ``NUM_ANCHORS``, P patches, D width of a head. Tables in the dtype of the K/V.

    Attributes:
        anchors: int64[A] prompt positions, repeated where there are fewer.
        weight: float32[1], 1 / A, or 0 where there are too few of them.
        leave_layer: int64[P], as in the decision. vision_start: prompt position of patch 0.
        anchor_cos, anchor_sin: [A, D] RoPE tables of the anchors.
        share: [P, 1], 1 for patches that are reused, else 0. share_cos, share_sin: [P, D], times the RoPE tables.
    """

    anchors: Tensor
    weight: Tensor
    leave_layer: Tensor
    vision_start: int
    anchor_cos: Tensor
    anchor_sin: Tensor
    share: Tensor
    share_cos: Tensor
    share_sin: Tensor

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
        weight = (count >= MIN_ANCHORS).float()[None] / NUM_ANCHORS
        cos, sin = cos[:, 0], sin[:, 0]
        nothing = torch.zeros_like(cos[layout.vision])
        return cls(
            anchors, weight, decision.leave_layer, layout.vision_start, cos[anchors], sin[anchors], nothing[:, :1],
            nothing, nothing,
        )  # fmt: skip

    def at(self, layer: int, cos: Tensor, sin: Tensor) -> ContextShift:
        """For the layers from ``layer`` on that reuse the same patches; ``cos``, ``sin`` as in ``plan``."""
        vision = slice(self.vision_start, self.vision_start + self.leave_layer.numel())
        share = (self.leave_layer <= layer).to(cos.dtype)[:, None]
        return replace(self, share=share, share_cos=share * cos[vision, 0], share_sin=share * sin[vision, 0])

    @property
    def buffers(self) -> list[Tensor]:
        """Everything that differs from call to call and that ``carry`` reads."""
        return [
            self.anchors, self.weight, self.anchor_cos, self.anchor_sin, self.share, self.share_cos, self.share_sin
        ]  # fmt: skip

    def empty_like(self) -> ContextShift:
        """The same shapes at new addresses, for captured work; filled through ``buffers``."""
        anchors, weight, *tables = (torch.empty_like(buffer) for buffer in self.buffers)
        return ContextShift(anchors, weight, self.leave_layer, self.vision_start, *tables)

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
        stop = self.vision_start + self.leave_layer.numel()
        keys, values = kv.k[layer, :, self.vision_start : stop], kv.v[layer, :, self.vision_start : stop]
        keys.addcmul_(self.share_cos, mean_k).addcmul_(self.share_sin, quarter_turn(mean_k))
        values.addcmul_(self.share, mean_v)


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
