"""Every operation launched one by one: the reference, and the default on a CPU."""

from __future__ import annotations

from torch import Tensor

from vlacache.core.decision import Padding, Segment
from vlacache.core.kv_cache import KVCache
from vlacache.models.cogact.head import DiffusionHead
from vlacache.models.decode import TokenBuffer, decode_token
from vlacache.models.decoder import PrefillCall
from vlacache.models.prismatic import VLAModel


class EagerRuntime:
    """See ``vlacache.models.runtime.Runtime``."""

    status = "eager"
    is_warm = True
    extra_slots = 0
    scratch_bytes = 0

    def __init__(self, model: VLAModel) -> None:
        self._model = model

    def padding(self, kv: KVCache) -> Padding | None:
        """None: exactly the rows that are needed."""
        return None

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
