"""Fixed shapes at fixed addresses, so that every stage is a few graph launches: the runtime for a GPU.

Row counts are rounded up to buckets; the rows that fill a bucket compute something that nothing reads. A prefill is a
chain of graphs over aligned blocks of layers (0-15, 16-23, ...), so that any sequence of row sets is covered by few of
them. See docs/decisions/007-graphs-and-buckets.md.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from vlacache.core.attention import Readout
from vlacache.core.decision import Padding, Segment
from vlacache.core.kv_cache import KVCache
from vlacache.models.decode import TokenBuffer, decode_token
from vlacache.models.decoder import Decoder, PrefillCall
from vlacache.models.prismatic import VLAModel
from vlacache.models.row_state import RowState
from vlacache.models.runtime.eager import EagerRuntime
from vlacache.models.runtime.graphs import GraphStore, Recorder
from vlacache.models.runtime.lanes import Lane, Page, QuerySlots

logger = logging.getLogger(__name__)

#: Row counts are multiples of this: at most 31 rows too many, 5 % of OFT's prompt, and half a tile of a GPU's GEMM.
ROW_BUCKET = 32
#: Graphs of one arm. A block of layers times its buckets; a suite's prompts of different length each have their own.
MAX_GRAPHS = 2048


def aligned_blocks(first: int, stop: int) -> Iterator[tuple[int, int]]:
    """Split ``first .. stop - 1`` into the fewest blocks whose size is a power of two that divides their start.

    A range of n layers takes at most 2 log2(n) of them, and all ranges together share 2 L - 1.
    """
    while first < stop:
        size = first & -first if first else 1 << (stop - first).bit_length()
        while first + size > stop:
            size //= 2
        yield first, first + size
        first += size


class StaticRuntime:
    """See ``vlacache.models.runtime.Runtime``. One per arm: the K/V memory is part of what is captured."""

    extra_slots = 1  # the sink of padded rows

    def __init__(self, model: VLAModel, recorder: Recorder, *, row_bucket: int = ROW_BUCKET) -> None:
        self._model = model
        self._eager = EagerRuntime(model)
        self._row_bucket = row_bucket
        self.graphs = GraphStore(recorder, limit=MAX_GRAPHS)
        self._pages: dict[tuple[int, int, int], Page] = {}
        self._calls: dict[tuple[object, ...], _StaticCall] = {}
        self._kv_address: tuple[int, int, torch.dtype] | None = None
        self._prefills_eagerly = False

    @property
    def status(self) -> str:
        """``graphs``, and what runs without them."""
        parts = ["graphs"]
        if self.graphs.num_refused:
            # With none captured, nothing is a graph, whatever was asked for.
            parts = ["graphs" if self.graphs.num_graphs else "eager", f"{self.graphs.num_refused} refused"]
        if self._prefills_eagerly:
            parts.append("prefill eager")
        return ", ".join(parts)

    @property
    def is_warm(self) -> bool:
        """No piece of this call waits for its capture."""
        return self.graphs.is_complete

    @property
    def scratch_bytes(self) -> int:
        """Of the largest graph; they run one after another."""
        return self.graphs.scratch_bytes

    def padding(self, kv: KVCache) -> Padding | None:
        """To multiples of the bucket; the cache's last slot is the sink."""
        return Padding(self._row_bucket, kv.capacity - 1)

    def vision(self, frames: Tensor) -> Tensor:
        """One graph: towers and projector on all views."""
        return self._run_static("vision", self._eager.vision, frames)

    def denoise(self, cognition: Tensor, noise: Tensor) -> Tensor:
        """One graph: all sampling steps."""
        return self._run_static("denoise", self._eager.denoise, cognition, noise)

    def prefill(self, embeds: Tensor, segments: list[Segment], head_rows: Tensor, call: PrefillCall) -> Tensor:
        """``Decoder.prefill`` block by block."""
        self._forget_other_memory(call.kv)
        if call.readout is not None and call.readout.reads_all_rows:
            self._say_eager("entropy_rows=null reads all rows, whose number no graph knows: the prefill runs eagerly")
            return self._eager.prefill(embeds, segments, head_rows, call)
        decoder = self._model.decoder
        page = self._page(embeds, head_rows, call)
        state = decoder.all_rows(embeds, call)
        lane = page.lane(state)
        lane.load(state)
        for segment in segments:
            if segment.rows is not None:
                # Gathered before the lane is loaded: a lane may follow on itself with other rows.
                state = decoder.enter(replace(state, x=lane.state.x), segment, call)
                lane = page.lane(state)
                lane.load(state)
            self._run_segment(page, lane, state, segment, call.readout)
        self._run_last(page, lane, state, call)
        call.score()
        return page.hidden

    def decode_token(self, tokens: TokenBuffer, step: int, position: int, kv: KVCache) -> None:
        """One graph for each position."""
        self._forget_other_memory(kv)
        # The table is held by the work: a longer prompt may replace the decoder's.
        table = self._model.decoder.rope(kv.capacity, self._model.embed.weight)
        work = partial(_decode, self._model, tokens, step, position, kv, table)
        self.graphs.run(("decode", kv.capacity, tokens.ids.data_ptr(), step, position), work)

    def end_call(self) -> None:
        """Capture what this call ran for the first time."""
        self.graphs.capture()

    def _run_segment(self, page: Page, lane: Lane, state: RowState, segment: Segment, readout: Readout | None) -> None:
        stop = min(segment.stop_layer, self._model.config.decoder.num_layers - 1)
        for first, end in aligned_blocks(segment.first_layer, stop):
            slots = page.query_slots(readout, state.read, first, end)
            work = partial(_run_block, self._model.decoder, lane, first, end, page.kv, slots)
            self.graphs.run(("block", *_page_key(page), lane.key, first, end, slots.key), work)
            slots.hand_over(readout, state.read)

    def _run_last(self, page: Page, lane: Lane, state: RowState, call: PrefillCall) -> None:
        last = self._model.config.decoder.num_layers - 1
        slots = page.query_slots(call.readout, state.read, last, last + 1)
        lane.head_at.copy_(torch.searchsorted(state.rows, page.head_rows))
        work = partial(_run_last, self._model.decoder, lane, page, slots, call.causal)
        self.graphs.run(("last", *_page_key(page), lane.key, slots.key), work)
        slots.hand_over(call.readout, state.read)

    def _page(self, embeds: Tensor, head_rows: Tensor, call: PrefillCall) -> Page:
        key = embeds.shape[0], call.kv.capacity, head_rows.numel()
        if key not in self._pages:
            hidden = embeds.new_empty(head_rows.numel(), embeds.shape[1])
            self._pages[key] = Page(call.kv, embeds.shape[0], head_rows.clone(), hidden)
        return self._pages[key]

    def _forget_other_memory(self, kv: KVCache) -> None:
        """K/V that moved to another address leave every graph behind."""
        address = kv.k.data_ptr(), kv.v.data_ptr(), kv.k.dtype
        if self._kv_address is not None and address != self._kv_address:
            self.graphs.clear()
            self._pages.clear()
            self._calls.clear()
        self._kv_address = address

    def _run_static(self, name: str, function: Callable[..., Tensor], *inputs: Tensor) -> Tensor:
        key = (name, *((tuple(x.shape), x.dtype) for x in inputs))
        if key not in self._calls:
            self._calls[key] = _StaticCall(function, inputs)
        call = self._calls[key]
        for static, given in zip(call.inputs, inputs, strict=True):
            static.copy_(given)
        self.graphs.run(key, call.work)
        return call.result()

    def _say_eager(self, reason: str) -> None:
        if not self._prefills_eagerly:
            self._prefills_eagerly = True
            logger.info("%s", reason)


class _StaticCall:
    """A function of tensors with inputs and output at fixed addresses."""

    def __init__(self, function: Callable[..., Tensor], inputs: tuple[Tensor, ...]) -> None:
        self.function = function
        self.inputs = tuple(torch.empty_like(x) for x in inputs)
        self._output: Tensor | None = None

    def work(self) -> None:
        """Compute."""
        output = self.function(*self.inputs)
        if self._output is None:  # never inside a capture: the work has run before
            self._output = torch.empty_like(output)
        self._output.copy_(output)

    def result(self) -> Tensor:
        """The output, a copy that the next call does not overwrite."""
        assert self._output is not None
        return self._output.clone()


def _page_key(page: Page) -> tuple[int, int, int]:
    return page.num_keys, page.kv.capacity, page.head_rows.numel()


def _run_block(decoder: Decoder, lane: Lane, first: int, stop: int, kv: KVCache, slots: QuerySlots) -> None:
    lane.state.x.copy_(decoder.run_layers(lane.state, first, stop, kv, slots))


def _run_last(decoder: Decoder, lane: Lane, page: Page, slots: QuerySlots, causal: bool) -> None:
    hidden = decoder.last_layer(lane.state, lane.head_at, page.head_rows, page.kv, slots, causal=causal)
    page.hidden.copy_(hidden)


def _decode(
    model: VLAModel, tokens: TokenBuffer, step: int, position: int, kv: KVCache, table: tuple[Tensor, Tensor]
) -> None:
    assert table[0].shape[0] >= kv.capacity
    decode_token(model, tokens, step, position, kv)
