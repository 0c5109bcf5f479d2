"""Multiply-accumulates of one policy call, counted from what it ran."""

from __future__ import annotations

from dataclasses import dataclass

from vlacache.core.attention import Readout
from vlacache.core.context_shift import NUM_ANCHORS
from vlacache.core.decision import CacheDecision
from vlacache.core.flops import decode_macs, prefill_macs, readout_macs, rows_per_layer, shift_macs
from vlacache.core.layout import TokenLayout
from vlacache.models.cogact.head import DiffusionHead
from vlacache.models.heads import L1ChunkHead
from vlacache.models.prismatic import VLAModel


@dataclass(frozen=True, slots=True)
class CallWork:
    """What one call ran.

    Attributes:
        num_drafts: extra rows of the prefill. head_rows: rows of its last layer. num_decode_steps: tokens after it.
        shifts: reused K/V were moved (``ContextShift``).
    """

    layout: TokenLayout
    decision: CacheDecision
    readout: Readout | None
    num_drafts: int
    head_rows: int
    num_decode_steps: int
    shifts: bool = False

    @property
    def prompt_rows(self) -> list[int]:
        """Computed prompt tokens at each layer."""
        return rows_per_layer(self.decision, self.layout.num_tokens)


def call_macs(model: VLAModel, work: CallWork) -> tuple[int, int]:
    """MACs of the whole call, and the decoder's prefill alone. Drafts count; rows that only pad a graph do not."""
    shape, n = model.config.decoder.shape, work.layout.num_tokens
    total = n + work.num_drafts
    prefill = prefill_macs(shape, rows_per_layer(work.decision, total), total, work.head_rows)
    return prefill + _other_macs(model, work), prefill


def _other_macs(model: VLAModel, work: CallWork) -> int:
    """Towers, projector, side readout, decode and head."""
    shape, n = model.config.decoder.shape, work.layout.num_tokens
    macs = model.vision.macs(len(work.layout.views))
    if work.readout is not None:
        request, rows = work.readout.request, work.prompt_rows
        sampled = [r if request.entropy_rows is None else min(r, request.entropy_rows) for r in rows]
        macs += sum(readout_macs(shape, sampled[layer], n) for layer in request.entropy_layers)
        macs += readout_macs(shape, request.relevance_rows.numel(), n) * len(request.relevance_layers)
    if work.shifts:
        moved = sum(reused > 0 for reused in work.decision.num_reused[1:])  # the first layer's K/V stay
        macs += shift_macs(shape, work.layout.num_patches, NUM_ANCHORS, moved)
    if isinstance(model.head, L1ChunkHead | DiffusionHead):
        return macs + model.head.macs()
    vocab, tokens = model.config.decoder.vocab_size, model.config.num_action_tokens
    macs += work.head_rows * shape.hidden_size * vocab
    steps = range(tokens - work.num_decode_steps, tokens)
    return macs + sum(decode_macs(shape, n + step, vocab) for step in steps)
