"""MACs against the published totals and against counting by hand."""

from __future__ import annotations

from vlacache.core.flops import DecoderShape, layer_macs, prefill_macs, vit_macs

LLAMA_7B = DecoderShape(num_layers=32, num_heads=32, hidden_size=4096, intermediate_size=11008)


def test_llama_prefill_matches_the_published_macs() -> None:
    """VLA-Cache's 1.864 T and 4.013 T are MACs of 285 and 605 tokens with all rows in every layer."""
    for tokens, published in ((285, 1.864e12), (605, 4.013e12)):
        ours = prefill_macs(LLAMA_7B, [tokens] * 32, tokens, tokens)
        assert abs(ours / published - 1) < 2e-3  # published figures are means over prompts of a few lengths


def test_last_layer_serves_the_head_alone() -> None:
    full, lean = layer_macs(LLAMA_7B, 600, 600), layer_macs(LLAMA_7B, 600, 600, 56)
    saved_rows = 600 - 56
    assert full - lean == saved_rows * (2 * 4096**2 + 2 * 600 * 4096 + 3 * 4096 * 11008)


def test_reused_rows_cost_nothing_but_remain_keys() -> None:
    by_hand = 100 * (4 * 4096**2 + 2 * 600 * 4096 + 3 * 4096 * 11008)
    assert layer_macs(LLAMA_7B, 100, 600) == by_hand


def test_vit_pair_matches_the_published_flops() -> None:
    """0.384 TFLOP per image for DINOv2-L (23 of 24 blocks) and SigLIP-So400m (26 of 27), FLOPs = 2 MACs."""
    dino = vit_macs(261, 1024, 4096, 23, 588)
    siglip = vit_macs(256, 1152, 4304, 26, 588)
    assert abs(2 * (dino + siglip) / 0.384e12 - 1) < 0.05
