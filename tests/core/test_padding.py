"""Rows rounded up to buckets, and drafts after the prompt."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from vlacache.core.decision import CacheDecision, Padding, plan_segments
from vlacache.core.layout import TokenLayout

LAYOUT = TokenLayout.build([("bos", "bos", 1), ("a", "vision", 36), ("text", "text", 5)], (6, 6))
N, SINK = 42, 77


@given(
    leave=st.lists(st.integers(0, 5), min_size=36, max_size=36),
    multiple=st.integers(1, 40),
    num_drafts=st.integers(0, 6),
    causal=st.booleans(),
)
def test_padded_rows_come_last_and_go_to_the_sink(
    leave: list[int], multiple: int, num_drafts: int, causal: bool
) -> None:
    none = torch.zeros(36, dtype=torch.bool)
    decision, total = CacheDecision(torch.tensor(leave), 5, none, none), N + num_drafts
    exact = plan_segments(decision, LAYOUT, causal=causal, num_drafts=num_drafts)
    padded = plan_segments(decision, LAYOUT, causal=causal, num_drafts=num_drafts, padding=Padding(multiple, SINK))
    assert len(exact) == len(padded)
    for a, b in zip(exact, padded, strict=True):
        assert (a.first_layer, a.stop_layer, a.num_rows) == (b.first_layer, b.stop_layer, b.num_rows)
        if a.rows is None:
            assert b.rows is None
            continue
        assert b.rows is not None and a.keep is not None and b.keep is not None
        assert a.slots is not None and b.slots is not None
        n, size = a.num_rows, b.rows.numel()
        assert size == min(-(-n // multiple) * multiple, total)
        assert torch.equal(b.rows[:n], a.rows) and torch.equal(b.keep[:n], a.keep)
        assert torch.equal(a.slots, a.rows) and torch.equal(b.slots[:n], a.rows)
        assert b.slots[n:].tolist() == [SINK] * (size - n)
        assert b.rows[n:].tolist() == [0] * (size - n)  # a position whose mask and rotation exist
        assert a.rows[n - num_drafts :].tolist() == list(range(N, total)), "a draft was left out"
        assert (b.mask is not None) == causal
        if b.mask is not None:
            assert b.mask.shape == (size, total) and b.mask.any(dim=1).all()
