"""Shares per layer."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vlacache.core.attention import sample_rows
from vlacache.core.schedule import concentration, cumulative_relative_drop, minmax_growth, row_entropies

entropies = st.lists(st.floats(0.05, 7.0), min_size=2, max_size=40).map(torch.tensor)


def test_entropy_of_uniform_and_of_focused_rows() -> None:
    uniform = torch.full((2, 3, 50), 1 / 50)
    focused = torch.zeros(2, 3, 50)
    focused[..., 7] = 1.0
    assert row_entropies(uniform).tolist() == pytest.approx([math.log(50)] * 3, abs=1e-5)
    assert row_entropies(focused).tolist() == pytest.approx([0.0] * 3, abs=1e-6)


def test_minmax_growth_by_hand() -> None:
    # 1 - minmax: 0, 1, 0.5, 0.75; upward steps damped by 0.55 from the damped predecessor, downward kept.
    shares = minmax_growth(torch.tensor([3.0, 1.0, 2.0, 1.5]), 0.55)
    assert shares.tolist() == pytest.approx([0.0, 0.55, 0.5, 0.5 + 0.55 * 0.25], abs=1e-6)


def test_cumulative_relative_drop_by_hand() -> None:
    shares = cumulative_relative_drop(torch.tensor([4.0, 2.0, 3.0, 1.5]), 0.8)
    # drops: 0.5, -0.5, 0.5; sums 0, 0.5, 0, 0.5; times 0.8; running maximum.
    assert shares.tolist() == pytest.approx([0.0, 0.4, 0.4, 0.4], abs=1e-6)


@given(entropies, st.floats(0.0, 3.0))
def test_paper_share_never_falls_and_stays_in_range(values: torch.Tensor, scale: float) -> None:
    shares = cumulative_relative_drop(values, scale)
    assert torch.all(shares[1:] >= shares[:-1])
    assert float(shares.min()) >= 0.0 and float(shares.max()) <= 1.0


@given(entropies, st.floats(0.0, 1.0), st.floats(0.0, 3.0))
def test_concentration_never_falls_and_stays_in_range(values: torch.Tensor, base: float, gain: float) -> None:
    shares = concentration(values, 600, base, gain)
    assert torch.all(shares[1:] >= shares[:-1])
    assert float(shares.min()) >= 0.0 and float(shares.max()) <= 1.0


def test_concentration_of_uniform_attention_is_the_base() -> None:
    shares = concentration(torch.full((6,), math.log(600)), 600, 0.6, 2.0)
    assert shares.tolist() == pytest.approx([0.6] * 6, abs=1e-5)


@given(st.integers(1, 700), st.integers(1, 64))
def test_sampled_rows_are_spread_distinct_and_in_range(n: int, count: int) -> None:
    rows = sample_rows(torch.arange(n), count).tolist()
    assert len(rows) == min(n, count)
    assert rows == sorted(set(rows)) and rows[0] >= 0 and rows[-1] < n
    if n >= count:
        assert rows[0] < -(-n // count) and rows[-1] >= n - -(-n // count)
