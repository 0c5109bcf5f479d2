"""Every operation launched one by one: the reference, and the default on a CPU."""

from __future__ import annotations

from torch import Tensor

from vlacache.core.attention import needs_products
from vlacache.core.decision import Padding, Segment
from vlacache.core.kv_cache import KVCache
from vlacache.models.cogact.head import DiffusionHead
from vlacache.models.decode import TokenBuffer, decode_token
from vlacache.models.decoder import PrefillCall
from vlacache.models.prismatic import VLAModel

#: In bfloat16 on a CPU row counts are multiples of this: oneDNN compiles its products anew for every shape and forgets
#: all but the last thousand, and a cache that computes other rows in each call would pay in each call (decision 011).
_ROW_BUCKET = 16


class EagerRuntime:
    """See ``vlacache.models.runtime.Runtime``."""

    status = "eager"
    is_warm = True
    scratch_bytes = 0

    def __init__(self, model: VLAModel) -> None:
        self._model = model
        self._pads = needs_products(model.device, model.dtype)
        self.extra_slots = int(self._pads)  # the sink of padded rows

    def padding(self, kv: KVCache) -> Padding | None:
        """To a multiple of the bucket where shapes are compiled, with the cache's last slot as the sink; else None."""
        return Padding(_ROW_BUCKET, kv.capacity - 1) if self._pads else None

    def vision(self, frames: Tensor) -> Tensor:
        """Towers and projector, all views in one batch."""
        return self._model.vision(frames.to(self._model.dtype))

    def prefill(self, embeds: Tensor, segments: list[Segment], head_rows: Tensor, call: PrefillCall) -> Tensor:
        """``Decoder.prefill``."""
        return self._model.decoder.prefill(embeds, segments, head_rows, call)

    def decode_token(self, tokens: TokenBuffer, step: int, position: int, kv: KVCache) -> None:
        """One token after another."""
        decode_token(self._model, tokens, step, position, kv)

    def denoise(self, cognition: Tensor, noise: Tensor) -> Tensor:
        """The diffusion head's whole sampling."""
        assert isinstance(self._model.head, DiffusionHead)
        return self._model.head(cognition, noise)

    def end_call(self) -> None:
        """Nothing to prepare for the next call."""
