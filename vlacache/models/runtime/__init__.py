"""How a call is launched: operation by operation, or as captured graphs of fixed shape. The numbers are the same."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from vlacache.core.decision import Padding, Segment
from vlacache.core.kv_cache import KVCache
from vlacache.heap import keep_freed_memory
from vlacache.models.decode import TokenBuffer
from vlacache.models.decoder import PrefillCall
from vlacache.models.prismatic import VLAModel
from vlacache.models.runtime.eager import EagerRuntime
from vlacache.models.runtime.graphs import CudaGraphs
from vlacache.models.runtime.static import StaticRuntime

#: Values of ``model.runtime``.
RUNTIMES = ("auto", "eager", "graphs")


class Runtime(Protocol):
    """Runs the stages of one arm's calls (batch 1).

    Attributes:
        status: how calls are really launched, for records: ``eager``, ``graphs``, or graphs with what they leave out
            (``graphs, 3 refused``).
        is_warm: nothing of the call so far ran in another way than it will from now on.
        extra_slots: K/V slots that it needs after the prompt and the decoded tokens.
        scratch_bytes: device memory that a call takes without allocating it (that of captured graphs).
    """

    extra_slots: int

    @property
    def status(self) -> str: ...

    @property
    def is_warm(self) -> bool: ...

    @property
    def scratch_bytes(self) -> int: ...

    def padding(self, kv: KVCache) -> Padding | None:
        """How row counts are rounded up for this cache; None for not at all."""
        ...

    def vision(self, frames: Tensor) -> Tensor:
        """uint8[V, 3, H, W] -> vision tokens [P, d]."""
        ...

    def prefill(self, embeds: Tensor, segments: list[Segment], head_rows: Tensor, call: PrefillCall) -> Tensor:
        """See ``Decoder.prefill``; the result is valid until the next call."""
        ...

    def decode_token(self, tokens: TokenBuffer, step: int, position: int, kv: KVCache) -> None:
        """See ``vlacache.models.decode.decode_token``."""
        ...

    def denoise(self, cognition: Tensor, noise: Tensor) -> Tensor:
        """See ``DiffusionHead``; cognition [1, d], noise [T, dim] -> [T, dim]."""
        ...

    def end_call(self) -> None:
        """After the call was timed: prepare what it had to do without."""
        ...


def build_runtime(name: str, model: VLAModel) -> Runtime:
    """The runtime of one arm.

    Args:
        name: ``eager``, ``graphs``, or ``auto``: graphs on CUDA, else eager.

    Raises:
        ValueError: an unknown name, or graphs without a GPU.
    """
    if name not in RUNTIMES:
        raise ValueError(f"model.runtime: expected one of {RUNTIMES}, got {name!r}")
    is_cuda = model.device.type == "cuda"
    if name == "graphs" and not is_cuda:
        raise ValueError(f"model.runtime=graphs: needs a model on a CUDA device, got {model.device}; use auto")
    if not is_cuda:
        keep_freed_memory()
    if name == "eager" or not is_cuda:
        return EagerRuntime(model)
    return StaticRuntime(model, CudaGraphs(model.device))
