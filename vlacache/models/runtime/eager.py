"""Every operation launched one by one: the reference, and the default on a CPU."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from vlacache.core.attention import needs_products
from vlacache.core.decision import Padding, Segment
from vlacache.core.kv_cache import KVCache
from vlacache.models.cogact.head import DiffusionHead
from vlacache.models.decode import TokenBuffer, decode_token
from vlacache.models.decoder import Decoder, PrefillCall
from vlacache.models.prismatic import VLAModel
from vlacache.models.row_state import RowState

#: In bfloat16 on a CPU row counts are multiples of this: oneDNN compiles its products anew for every shape and forgets
#: all but the last thousand, and a cache that computes other rows in each call would pay in each call (decision 011).
_ROW_BUCKET = 16


@dataclass(frozen=True, slots=True)
class _Products:
    """What the shapes of a prompt's cached calls have in common: slots attended to, and whether through a mask."""

    num_keys: int
    is_masked: bool


class EagerRuntime:
    """See ``vlacache.models.runtime.Runtime``."""

    status = "eager"
    is_warm = True
    scratch_bytes = 0

    def __init__(self, model: VLAModel) -> None:
        self._model = model
        self._pads = needs_products(model.device, model.dtype)
        self.extra_slots = int(self._pads)  # the sink of padded rows
        self._compiled: set[_Products] = set()
        self._last: tuple[_Products, KVCache] | None = None

    def padding(self, kv: KVCache) -> Padding | None:
        """To a multiple of the bucket where shapes are compiled, with the cache's last slot as the sink; else None."""
        return Padding(_ROW_BUCKET, kv.capacity - 1) if self._pads else None

    def vision(self, frames: Tensor) -> Tensor:
        """Towers and projector, all views in one batch."""
        return self._model.vision(frames.to(self._model.dtype))

    def prefill(self, embeds: Tensor, segments: list[Segment], head_rows: Tensor, call: PrefillCall) -> Tensor:
        """``Decoder.prefill``."""
        masks = [segment.mask for segment in segments if segment.rows is not None]
        if self._pads and masks:
            self._last = _Products(embeds.shape[0], masks[-1] is not None), call.kv
        return self._model.decoder.prefill(embeds, segments, head_rows, call)

    def decode_token(self, tokens: TokenBuffer, step: int, position: int, kv: KVCache) -> None:
        """One token after another."""
        decode_token(self._model, tokens, step, position, kv)

    def denoise(self, cognition: Tensor, noise: Tensor) -> Tensor:
        """The diffusion head's whole sampling."""
        assert isinstance(self._model.head, DiffusionHead)
        return self._model.head(cognition, noise)

    def end_call(self) -> None:
        """After the first call that reused something of a prompt so long: compile the products of all row counts.

        Else each call of the next ones whose number of rows is a new one would do so while it is timed.
        """
        if self._last is None:
            return
        (products, kv), self._last = self._last, None
        if products not in self._compiled:
            compile_row_counts(self._model.decoder, kv, products)
            self._compiled.add(products)


def compile_row_counts(decoder: Decoder, kv: KVCache, products: _Products) -> None:
    """Run an inner layer, and what the last one does for all rows, once with every bucketed number of rows.

    Args:
        kv: of the prompt, for its shape alone.
    """
    size = -(-products.num_keys // _ROW_BUCKET) * _ROW_BUCKET
    heads, capacity, head_dim = kv.k.shape[1:]
    scratch = KVCache(1, heads, capacity, head_dim, dtype=kv.k.dtype, device=kv.k.device)
    x = kv.k.new_zeros(size, decoder.config.hidden_size)
    cos, sin = (table[:1].expand(size, -1, -1).contiguous() for table in decoder.rope(capacity, x))
    slots = torch.full((size,), capacity - 1)
    mask = torch.ones(size, products.num_keys, dtype=torch.bool) if products.is_masked else None
    keeper, last = PrefillCall(scratch, causal=products.is_masked), decoder.layers[-1]
    for count in range(_ROW_BUCKET, size + 1, _ROW_BUCKET):
        rows = slots[:count]
        part = None if mask is None else mask[:count]
        state = RowState(x[:count], cos[:count], sin[:count], rows, rows, products.num_keys, part, False, None)
        decoder.run_layers(state, 0, 1, scratch, keeper)
        last.project(last.input_norm(state.x), 1, 3)  # type: ignore[operator]
