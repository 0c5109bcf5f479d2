"""The training pass: the weights of ``VLAModel``, but batched, on some of the patches, and with teacher forcing.

``VLAModel.forward`` is the reference; the tests hold both equal. What differs is what is left out: patches that the
drop removed never enter a tower, and the last decoder layer computes only the rows that a head reads.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from vlacache.core.rope import rotate
from vlacache.models.decoder import DecoderLayer
from vlacache.models.prismatic import VLAModel
from vlacache.models.vision import VisionTower
from vlacache.train.attention import attend


@dataclass(frozen=True, slots=True)
class ModelInput:
    """One batch as the network sees it. B samples, V views, K kept patches of a view.

    Attributes:
        patches: uint8[B, V, K, 3 * p * p] pixels of the kept patches, channel-major as a convolution reads them.
        kept: int64[B, V, K] row-major numbers of the kept patches in their view, ascending.
        tail_ids: int64[B, R] what follows vision and proprio: text without BOS (and the state token of a model with
            ``proprio_last``), then either placeholders and stop (l1_chunk) or the action tokens but the last
            (token_bins), then padding up to the longest sample.
        tail_lengths: int64[B] entries of ``tail_ids`` that are no padding.
        text_lengths: int64[B] entries before the action: text ids without BOS, and a state token at their end.
        proprio: float32[B, S] normalised, or None.
    """

    patches: Tensor
    kept: Tensor
    tail_ids: Tensor
    tail_lengths: Tensor
    text_lengths: Tensor
    proprio: Tensor | None


#: Stands for an action placeholder in ``ModelInput.tail_ids``: its embedding is zero.
PLACEHOLDER_ID = -1
#: Stands for the state token of a model with ``proprio_last``.
PROPRIO_ID = -2


@dataclass(frozen=True, slots=True)
class Encoded:
    """Hidden states of a pass.

    Attributes:
        rows: [B, T * dim, D] final states of the row before each predicted entry of the action chunk.
        patches: [B, V, K, D] states of the kept patches halfway up the decoder.
    """

    rows: Tensor
    patches: Tensor


def encode(model: VLAModel, batch: ModelInput) -> Encoded:
    """Run tower and decoder."""
    vision = _vision_tokens(model, batch)
    embeds, positions = _assemble(model, vision, batch)
    rows = embeds.shape[1] - batch.tail_ids.shape[1] + batch.text_lengths[:, None] - 1
    rows = rows + torch.arange(model.config.num_action_tokens, device=embeds.device)
    length = embeds.shape[1]
    first_masked = 0 if model.config.causal else length - batch.tail_ids.shape[1] + int(batch.tail_lengths.min())
    hidden, halfway = _decode(model, embeds, positions, rows, _key_mask(model, batch, length), first_masked)
    return Encoded(hidden, halfway[:, 1 : 1 + vision.shape[1]].unflatten(1, batch.kept.shape[1:]))


def _vision_tokens(model: VLAModel, batch: ModelInput) -> Tensor:
    """[B, V * K, D]."""
    b, v, k, _ = batch.patches.shape
    pixels, kept = batch.patches.flatten(0, 1), batch.kept.flatten(0, 1)
    features = []
    for index, module in enumerate(model.vision.towers):
        assert isinstance(module, VisionTower)
        scale, shift = (getattr(model.vision, f"{name}_{index}").flatten() for name in ("scale", "shift"))
        area = module.config.patch_size**2
        scaled = pixels.to(model.dtype) * scale.repeat_interleave(area) - shift.repeat_interleave(area)
        features.append(_tower(module, scaled, kept))
    tokens = model.vision.projector(features[0] if len(features) == 1 else torch.cat(features, dim=-1))
    return tokens.view(b, v * k, -1)


def _tower(tower: VisionTower, pixels: Tensor, kept: Tensor) -> Tensor:
    """A ViT on some patches: pixels [I, K, 3 * p * p] normalised, kept int64[I, K] -> [I, K, width]."""
    vit = tower.vit
    weight, bias = vit.patch_embed.proj.weight, vit.patch_embed.proj.bias
    assert vit.pos_embed is not None
    x = F.linear(pixels, weight.flatten(1), bias)
    x = x + F.embedding(kept, vit.pos_embed[0])
    prefix = [t.expand(x.shape[0], -1, -1) for t in (vit.cls_token, vit.reg_token) if t is not None]
    if prefix:
        x = torch.cat([*prefix, x], dim=1)
    for block in vit.blocks:
        x = _block(block, x)
    return x[:, vit.num_prefix_tokens :]


def _block(block: Any, x: Tensor) -> Tensor:
    """timm's ``Block`` in training without dropout, with our attention."""
    normed = block.norm1(x)
    q, k, v = block.attn.qkv(normed).unflatten(2, (3, block.attn.num_heads, -1)).unbind(2)
    x = x + block.ls1(block.attn.proj(attend(q, k, v)))
    return x + block.ls2(block.mlp(block.norm2(x)))


def _assemble(model: VLAModel, vision: Tensor, batch: ModelInput) -> tuple[Tensor, Tensor]:
    """Embeddings [B, N, D] and prompt positions int64[B, N] as in inference, where no patch is missing."""
    b = len(batch.kept)
    device, per_view = vision.device, model.config.grid[0] * model.config.grid[1]
    views = torch.arange(batch.kept.shape[1], device=device)
    patch_positions = (batch.kept + 1 + per_view * views[:, None]).view(b, -1)
    after = 1 + per_view * len(views)
    bos = model.embed(torch.ones(b, 1, dtype=torch.int64, device=device))
    parts, places = [bos, vision], [patch_positions.new_zeros(b, 1), patch_positions]
    tail = model.embed(batch.tail_ids.clamp_min(0))
    if model.proprio is not None:
        if batch.proprio is None:
            raise ValueError(f"{model.config.name}: expected proprio of size {model.config.proprio_dim}, got None")
        state = model.proprio(batch.proprio.to(model.dtype))[:, None]
        if model.config.proprio_last:
            tail = torch.where((batch.tail_ids == PROPRIO_ID)[..., None], state, tail)
        else:
            parts.append(state)
    parts.append(tail.masked_fill((batch.tail_ids == PLACEHOLDER_ID)[..., None], 0.0))
    rest = sum(p.shape[1] for p in parts[2:])
    places.append(torch.arange(after, after + rest, device=device).expand(b, -1))
    return torch.cat(parts, dim=1), torch.cat(places, dim=1)


def _key_mask(model: VLAModel, batch: ModelInput, length: int) -> Tensor:
    """bool[B, 1, N], False on padding. Causal rows never see padding, which comes last: bool[1, N, N]."""
    longest = batch.tail_ids.shape[1]
    column = torch.arange(length, device=batch.tail_ids.device)
    if model.config.causal:
        return (column <= column[:, None])[None]
    return (column < (length - longest + batch.tail_lengths)[:, None])[:, None]


def _decode(
    model: VLAModel, embeds: Tensor, positions: Tensor, rows: Tensor, mask: Tensor, first_masked: int
) -> tuple[Tensor, Tensor]:
    """Final-norm hidden states [B, R, D] of ``rows`` int64[B, R], and all rows' states [B, N, D] halfway up.

    The last layer computes queries of ``rows`` alone.
    """
    tables = model.decoder.rope(int(model.layout(2).num_tokens) + embeds.shape[1], embeds)
    cos, sin = (F.embedding(positions, table[:, 0])[:, :, None] for table in tables)
    x = embeds
    layers = [layer for layer in model.decoder.layers if isinstance(layer, DecoderLayer)]
    halfway = x
    for index, layer in enumerate(layers[:-1]):
        if index == len(layers) // 2:
            halfway = x
        qkv = layer.project(layer.input_norm(x), 0, 3)
        q, k = rotate(qkv[:, :, :2], cos[..., None, :], sin[..., None, :]).unbind(2)
        x = layer.finish(x, attend(q, k, qkv[:, :, 2], mask, first_masked))
    last = layers[-1]
    normed = last.input_norm(x)
    kv = last.project(normed, 1, 3)
    at = rows[..., None]
    normed, x = (torch.gather(t, 1, at.expand(-1, -1, t.shape[2])) for t in (normed, x))
    q = last.project(normed, 0, 1)[:, :, 0]
    q = rotate(q, *(torch.gather(t, 1, at[..., None].expand(-1, -1, 1, t.shape[3])) for t in (cos, sin)))
    if model.config.causal:
        mask = torch.arange(kv.shape[1], device=rows.device) <= at
    attended = attend(q, rotate(kv[:, :, 0], cos, sin), kv[:, :, 1], mask, first_masked)
    return model.decoder.norm(last.finish(x, attended)), halfway
