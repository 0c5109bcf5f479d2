"""Multiply-accumulates of every stage, counted from shapes. FLOPs are twice the MACs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from vlacache.core.decision import CacheDecision


@dataclass(frozen=True, slots=True)
class DecoderShape:
    """The sizes of a Llama-style decoder that cost and storage depend on."""

    num_layers: int
    num_heads: int
    hidden_size: int
    intermediate_size: int

    @property
    def head_dim(self) -> int:
        """Width of one attention head."""
        return self.hidden_size // self.num_heads


def layer_macs(shape: DecoderShape, rows: int, keys: int, out_rows: int | None = None) -> int:
    """MACs of one decoder layer.

    Args:
        rows: tokens whose K/V are computed. keys: N, tokens attended to.
        out_rows: tokens whose query, output and MLP are computed; None for ``rows`` (all layers but the last).
    """
    out = rows if out_rows is None else out_rows
    d, m = shape.hidden_size, shape.intermediate_size
    return rows * 2 * d * d + out * (2 * d * d + 2 * keys * d + 3 * d * m)


def prefill_macs(shape: DecoderShape, rows_per_layer: Sequence[int], keys: int, head_rows: int) -> int:
    """MACs of the decoder in one prefill whose last layer only serves ``head_rows``."""
    inner = sum(layer_macs(shape, rows, keys) for rows in rows_per_layer[:-1])
    return inner + layer_macs(shape, rows_per_layer[-1], keys, head_rows)


def rows_per_layer(decision: CacheDecision, num_tokens: int) -> list[int]:
    """Computed tokens at each layer, of ``num_tokens`` (prompt, or prompt and drafts)."""
    return [num_tokens - reused for reused in decision.num_reused]


def readout_macs(shape: DecoderShape, rows: int, keys: int) -> int:
    """MACs of scoring ``rows`` side queries against all keys in one layer."""
    return rows * keys * shape.hidden_size


def shift_macs(shape: DecoderShape, patches: int, anchors: int, layers: int) -> int:
    """MACs of moving the K/V of all ``patches`` along with the context in so many layers (``LayerShift.carry``)."""
    back = anchors * 2 * shape.head_dim  # keys of the anchors, turned back and added up
    forth = patches * (shape.head_dim + 1)  # keys: a product with a matrix for each head; values: with a row
    return shape.hidden_size * (back + forth) * layers


def decode_macs(shape: DecoderShape, keys: int, vocab_size: int) -> int:
    """MACs of one autoregressive step over ``keys`` cached tokens, with the output projection."""
    return shape.num_layers * layer_macs(shape, 1, keys) + shape.hidden_size * vocab_size


def vit_macs(tokens: int, width: int, mlp: int, depth: int, patch_values: int) -> int:
    """MACs of a ViT tower on one image: patch embedding plus ``depth`` blocks."""
    block = tokens * (4 * width * width + 2 * width * mlp + 2 * tokens * width)
    return tokens * patch_values * width + depth * block
