"""A decision is a leave layer per vision token; the row sets follow from it."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vlacache.core.decision import CacheDecision, causal_mask, plan_segments
from vlacache.core.layout import TokenLayout

LAYOUT = TokenLayout.build(
    [("bos", "bos", 1), ("a", "vision", 16), ("b", "vision", 16), ("text", "text", 4), ("action", "action", 3)], (4, 4)
)
NUM_LAYERS = 6


@st.composite
def decisions(draw: st.DrawFn) -> CacheDecision:
    """Any decision a policy can express."""
    order = draw(st.permutations(range(32)))
    ranked = torch.tensor(order[: draw(st.integers(0, 32))], dtype=torch.int64)
    counts = sorted(draw(st.lists(st.integers(0, len(ranked)), min_size=NUM_LAYERS, max_size=NUM_LAYERS)))
    none = torch.zeros(32, dtype=torch.bool)
    return CacheDecision.from_ranking(ranked, torch.tensor(counts), static=none, relevant=none, similarity=None)


@given(decisions())
def test_only_vision_is_reused_and_nothing_returns(decision: CacheDecision) -> None:
    mask = decision.reuse_mask(LAYOUT)
    outside = torch.ones(LAYOUT.num_tokens, dtype=torch.bool)
    outside[LAYOUT.vision] = False
    assert not mask[:, outside].any()
    assert torch.all(mask[1:] | ~mask[:-1])  # once reused, reused in every deeper layer
    assert decision.num_reused == mask.sum(dim=1).tolist()
    assert decision.reuse_ratio == pytest.approx(mask[:, LAYOUT.vision].float().mean().item())
    assert decision.reused_layers().tolist() == mask[:, LAYOUT.vision].sum(dim=0).tolist()


@given(decisions(), st.booleans())
def test_segments_cover_all_layers_and_compute_exactly_the_rest(decision: CacheDecision, causal: bool) -> None:
    mask = decision.reuse_mask(LAYOUT)
    segments = plan_segments(decision, LAYOUT, causal=causal)
    assert [s.first_layer for s in segments] == [0, *(s.stop_layer for s in segments[:-1])]
    assert segments[-1].stop_layer == NUM_LAYERS
    previous = torch.arange(LAYOUT.num_tokens)
    for segment in segments:
        for layer in range(segment.first_layer, segment.stop_layer):
            rows = torch.arange(LAYOUT.num_tokens) if segment.rows is None else segment.rows
            assert rows.tolist() == (~mask[layer]).nonzero().flatten().tolist()
        if segment.keep is not None:
            previous = previous[segment.keep]
            assert segment.rows is not None and previous.tolist() == segment.rows.tolist()
            assert (segment.mask is not None) == causal


def test_counts_follow_the_ranking() -> None:
    none = torch.zeros(32, dtype=torch.bool)
    decision = CacheDecision.from_ranking(
        torch.tensor([5, 3, 9]), torch.tensor([0, 1, 1, 3, 3, 3]), static=none, relevant=none, similarity=None
    )
    assert decision.leave_layer[[5, 3, 9, 0]].tolist() == [1, 3, 3, 6]
    assert decision.num_reused == [0, 1, 1, 3, 3, 3]


@pytest.mark.parametrize("counts", [[0, 2, 1, 1, 1, 1], [0, 0, 0, 0, 0, 4], [-1, 0, 0, 0, 0, 0]])
def test_impossible_counts_are_refused(counts: list[int]) -> None:
    none = torch.zeros(32, dtype=torch.bool)
    with pytest.raises(ValueError, match="non-decreasing"):
        CacheDecision.from_ranking(
            torch.tensor([1, 2, 3]), torch.tensor(counts), static=none, relevant=none, similarity=None
        )


def test_causal_mask_uses_absolute_positions() -> None:
    """is_causal would align the triangle by row index: row 1 would see keys 0..1 instead of 0..4."""
    assert causal_mask(torch.tensor([0, 4]), 6).tolist() == [[True] + [False] * 5, [True] * 5 + [False]]
