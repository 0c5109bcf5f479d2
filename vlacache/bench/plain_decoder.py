"""A Llama decoder as the official script's transformers fork runs it: one matrix at a time, attention maps in full.

What matters for a benchmark is the sequence of operations (transformers 4.40's eager classes):
separate q, k, v, gate and up projections, float32 norms and softmax by hand, RoPE tables in every layer, a cache that
grows by concatenation, all rows in all layers. It shares nothing with ``vlacache.models.decoder`` but the weights,
which it sees as row blocks of the fused matrices, so that no second copy is held.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor

from vlacache.models.decoder import Decoder, DecoderLayer


@dataclass(frozen=True, slots=True)
class PlainLayer:
    """Weights of one block, [out, in] each. ``input_norm``, ``mlp_norm``: [d]."""

    input_norm: Tensor
    q: Tensor
    k: Tensor
    v: Tensor
    out: Tensor
    mlp_norm: Tensor
    gate: Tensor
    up: Tensor
    down: Tensor


@dataclass(slots=True)
class GrowingCache:
    """Keys and values per layer, [1, H, N, D], longer after every forward pass. Empty at first."""

    keys: list[Tensor] = field(default_factory=list)
    values: list[Tensor] = field(default_factory=list)

    def __len__(self) -> int:
        return self.keys[0].shape[2] if self.keys else 0

    def update(self, layer: int, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Append to a layer; all that it holds now."""
        if layer == len(self.keys):
            self.keys.append(key)
            self.values.append(value)
        else:
            self.keys[layer] = torch.cat([self.keys[layer], key], dim=2)
            self.values[layer] = torch.cat([self.values[layer], value], dim=2)
        return self.keys[layer], self.values[layer]


class PlainDecoder:
    """Eager attention over ``decoder``'s weights."""

    def __init__(self, decoder: Decoder) -> None:
        config = decoder.config
        self.num_heads, self.eps = config.num_heads, config.rms_eps
        self.layers = [_split(cast(DecoderLayer, layer), config.hidden_size) for layer in decoder.layers]
        self.norm = decoder.norm.weight
        half = torch.arange(0, config.shape.head_dim, 2, device=self.norm.device, dtype=torch.float32)
        self._frequency = 1.0 / config.rope_theta ** (half / config.shape.head_dim)

    def forward(self, x: Tensor, cache: GrowingCache, *, causal: bool, maps: list[Tensor] | None = None) -> Tensor:
        """Run all layers on all rows.

        Args:
            x: [1, n, d] embeddings of the tokens after those in ``cache``. maps: gets every layer's attention,
                [1, H, n, N] in the weights' dtype, or None to let go of it.

        Returns:
            [1, n, d] final-norm hidden states.
        """
        start, n = len(cache), x.shape[1]
        positions = torch.arange(start, start + n, device=x.device)
        mask = _causal_mask(n, start + n, x) if causal else None
        for index, layer in enumerate(self.layers):
            attended, attention = self._attend(index, layer, x, positions, mask, cache)
            if maps is not None:
                maps.append(attention)
            x = x + F.linear(attended, layer.out)
            h = self._rms_norm(x, layer.mlp_norm)
            x = x + F.linear(F.silu(F.linear(h, layer.gate)) * F.linear(h, layer.up), layer.down)
        return self._rms_norm(x, self.norm)

    def _attend(
        self, index: int, layer: PlainLayer, x: Tensor, positions: Tensor, mask: Tensor | None, cache: GrowingCache
    ) -> tuple[Tensor, Tensor]:
        h = self._rms_norm(x, layer.input_norm)
        q, k, v = (self._heads(F.linear(h, weight)) for weight in (layer.q, layer.k, layer.v))
        cos, sin = self._rope(positions, x)
        keys, values = cache.update(index, _rotate(k, cos, sin), v)
        scores = torch.matmul(_rotate(q, cos, sin), keys.transpose(2, 3)) / math.sqrt(q.shape[-1])
        if mask is not None:
            scores = scores + mask
        attention = F.softmax(scores, dim=-1, dtype=torch.float32).to(x.dtype)
        attended = torch.matmul(attention, values).transpose(1, 2).contiguous()
        return attended.reshape(x.shape), attention

    def _heads(self, x: Tensor) -> Tensor:
        return x.view(*x.shape[:2], self.num_heads, -1).transpose(1, 2)

    def _rope(self, positions: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
        angles = positions.float()[:, None] * self._frequency[None, :]
        angles = torch.cat([angles, angles], dim=-1)
        return angles.cos().to(like.dtype), angles.sin().to(like.dtype)

    def _rms_norm(self, x: Tensor, weight: Tensor) -> Tensor:
        wide = x.to(torch.float32)
        wide = wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + self.eps)
        return weight * wide.to(x.dtype)


def _split(layer: DecoderLayer, d: int) -> PlainLayer:
    q, k, v = layer.qkv.weight.split(d)
    gate, up = layer.gate_up.weight.chunk(2)
    norms = layer.input_norm.weight, layer.mlp_norm.weight
    return PlainLayer(norms[0], q, k, v, layer.out.weight, norms[1], gate, up, layer.down.weight)


def _causal_mask(rows: int, keys: int, like: Tensor) -> Tensor:
    """[1, 1, rows, keys]: 0 where the last ``rows`` of ``keys`` positions may look, else the dtype's minimum."""
    full = torch.full((rows, keys), torch.finfo(like.dtype).min, dtype=like.dtype, device=like.device)
    return full.triu(diagonal=keys - rows + 1)[None, None]


def _rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """x [1, H, n, D]; cos, sin [n, D]."""
    first, second = x[..., : x.shape[-1] // 2], x[..., x.shape[-1] // 2 :]
    return x * cos + torch.cat((-second, first), dim=-1) * sin
