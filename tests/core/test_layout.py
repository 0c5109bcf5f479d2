"""Offsets live in the layout alone, and constants of 32 layers and 256 patches scale."""

from __future__ import annotations

import pytest

from vlacache.core.layout import TokenLayout, scale_layer, scale_layers


def test_oft_positions_match_the_published_sequence() -> None:
    """L = 30 prompt ids: proprio at 513, text 514..542, placeholders 543..598, stop 599 (checkpoints of OFT)."""
    layout = TokenLayout.build(
        [("bos", "bos", 1), ("agentview", "vision", 256), ("wrist", "vision", 256), ("proprio", "proprio", 1),
         ("text", "text", 29), ("action", "action", 56), ("stop", "stop", 1)],
        (16, 16),
    )  # fmt: skip
    assert layout.positions("proprio") == [513]
    assert layout.positions("text") == list(range(514, 543))
    assert layout.positions("action") == list(range(543, 599))
    assert (layout.num_tokens, layout.vision, layout.num_patches) == (600, slice(1, 513), 512)
    assert layout.views == ("agentview", "wrist")


def test_parts_of_length_zero_leave_no_span(oft_layout: TokenLayout) -> None:
    layout = TokenLayout.build(
        [("bos", "bos", 1), ("a", "vision", 16), ("proprio", "proprio", 0), ("text", "text", 3)], (4, 4)
    )
    assert [s.name for s in layout.spans] == ["bos", "a", "text"]


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ([("bos", "bos", 1)], "at least one vision span"),
        ([("a", "vision", 15)], "must have 16 tokens"),
        ([("a", "vision", 16), ("text", "text", 1), ("b", "vision", 16)], "adjacent"),
        ([("a", "vision", 16), ("text", "text", -1)], "length >= 0"),
        ([("a", "vison", 16)], "span kind"),
    ],
)
def test_bad_layouts_are_refused(parts: list[tuple[str, str, int]], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TokenLayout.build(parts, (4, 4))  # type: ignore[arg-type]


def test_constants_are_literal_at_the_published_size() -> None:
    layout = TokenLayout.build([("a", "vision", 256), ("text", "text", 1)], (16, 16))
    assert scale_layers((2, 6, 9, 11), 32) == (2, 6, 9, 11)
    assert [layout.scale_count(k) for k in (0, 100, 130, 256, 300)] == [0, 100, 130, 256, 256]


def test_constants_scale_to_small_models(oft_layout: TokenLayout) -> None:
    assert scale_layers((2, 6, 9, 11), 8) == (1, 2, 3)  # 0.5 -> 1, 1.5 -> 2, 2.25 -> 2, 2.75 -> 3
    assert scale_layer(15, 8) == 4
    assert scale_layer(31, 6) == 5  # never past the last layer
    assert oft_layout.scale_count(128) == 8


def test_a_cognition_token_is_the_only_row_read_for_relevance() -> None:
    parts = [("bos", "bos", 1), ("a", "vision", 16), ("text", "text", 3)]
    plain = TokenLayout.build(parts, (4, 4))
    cognition = TokenLayout.build([*parts, ("cognition", "cognition", 1)], (4, 4))
    assert plain.relevance_positions("text", "action") == [17, 18, 19]
    assert cognition.relevance_positions("text", "action") == [20]
