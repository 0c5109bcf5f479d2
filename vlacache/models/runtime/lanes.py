"""Buffers at fixed addresses that captured work reads and writes: one lane per row count of a prompt length."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from vlacache.core.attention import Readout, ReadoutRows
from vlacache.core.kv_cache import KVCache
from vlacache.models.row_state import RowState

#: Attention kernels want the rows of an additive mask to start at multiples of this many elements.
_MASK_ALIGNMENT = 8


class Lane:
    """A ``RowState`` at fixed addresses.

    Attributes:
        key: its shapes. state: what captured work uses. head_at: int64[h] where the head's rows are in it.
    """

    def __init__(self, key: tuple[object, ...], like: RowState, num_head_rows: int) -> None:
        self.key = key
        x = like.x
        mask = None
        if like.mask is not None:
            width = -(-like.num_keys // _MASK_ALIGNMENT) * _MASK_ALIGNMENT
            mask = x.new_zeros(x.shape[0], width)[:, : like.num_keys]
        read = None
        if like.read is not None:
            read = replace(
                like.read,
                entropy=torch.empty_like(like.read.entropy),
                relevance=torch.empty_like(like.read.relevance),
            )
        self.state = replace(
            like,
            x=torch.empty_like(x),
            cos=torch.empty_like(like.cos),
            sin=torch.empty_like(like.sin),
            slots=None if like.slots is None else torch.empty_like(like.slots),
            mask=mask,
            read=read,
            shift=None if like.shift is None else like.shift.empty_like(),
        )
        self.head_at = like.rows.new_zeros(num_head_rows)

    def load(self, source: RowState) -> None:
        """Copy a call's rows in, few launches for many buffers; the shapes are the lane's."""
        state = self.state
        tables = [(state.x, source.x), (state.cos, source.cos), (state.sin, source.sin)]
        pairs = []
        if state.slots is not None and source.slots is not None:
            pairs.append((state.slots, source.slots))
        if state.read is not None and source.read is not None:
            pairs.append((state.read.entropy, source.read.entropy))
            pairs.append((state.read.relevance, source.read.relevance))
        if state.shift is not None and source.shift is not None:
            pairs.append((state.shift.anchors, source.shift.anchors))
            tables += zip(state.shift.tables, source.shift.tables, strict=True)
        for group in (tables, pairs):  # one launch for each type
            if group:
                torch._foreach_copy_([ours for ours, _ in group], [theirs for _, theirs in group])
        if state.mask is not None and source.mask is not None:
            # SDPA would turn a boolean mask into this one in every layer.
            state.mask.zero_().masked_fill_(~source.mask, float("-inf"))


@dataclass(frozen=True, eq=False)
class QuerySlots:
    """Where captured work puts the query rows that the side readout wants, by layer: [r, H, D] each."""

    entropy: dict[int, Tensor]
    relevance: dict[int, Tensor]

    @property
    def key(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """The layers, as part of a graph's key."""
        return tuple(self.entropy), tuple(self.relevance)

    def keep(self, layer: int, rows: ReadoutRows | None, queries: Callable[[Tensor], Tensor]) -> None:
        """See ``QueryKeeper``."""
        if rows is not None and layer in self.entropy:
            self.entropy[layer].copy_(queries(rows.entropy))
        if rows is not None and layer in self.relevance:
            self.relevance[layer].copy_(queries(rows.relevance))

    def hand_over(self, readout: Readout | None, rows: ReadoutRows | None) -> None:
        """Give this call's readout what the work left."""
        if readout is not None and rows is not None:
            for layer in {**self.entropy, **self.relevance}:
                readout.adopt(layer, rows, self.entropy.get(layer), self.relevance.get(layer))


@dataclass(eq=False)
class Page:
    """Everything that captured work of one prompt length shares.

    Attributes:
        kv: its K/V memory. num_keys: prompt and drafts. head_rows, hidden: the last layer's rows and results.
    """

    kv: KVCache
    num_keys: int
    head_rows: Tensor
    hidden: Tensor
    lanes: dict[tuple[object, ...], Lane] = field(default_factory=dict)
    queries: dict[tuple[str, int, int], Tensor] = field(default_factory=dict)

    def lane(self, state: RowState) -> Lane:
        """The lane of the state's shapes; made when it is new."""
        read = state.read
        sizes = None if read is None else (read.entropy.numel(), read.relevance.numel())
        key = (state.x.shape[0], state.slots is not None, sizes, state.shift is not None)
        if key not in self.lanes:
            self.lanes[key] = Lane(key, state, self.head_rows.numel())
        return self.lanes[key]

    def query_slots(self, readout: Readout | None, read: ReadoutRows | None, first: int, stop: int) -> QuerySlots:
        """Places for the queries that ``readout`` wants of layers ``first .. stop - 1``."""
        if readout is None or read is None:
            return QuerySlots({}, {})
        request, layers = readout.request, range(first, stop)
        entropy = [layer for layer in layers if layer in request.entropy_layers]
        relevance = [layer for layer in layers if layer in request.relevance_layers]
        return QuerySlots(
            {layer: self._query("entropy", layer, read.entropy.numel()) for layer in entropy},
            {layer: self._query("relevance", layer, read.relevance.numel()) for layer in relevance},
        )

    def _query(self, kind: str, layer: int, count: int) -> Tensor:
        key = kind, layer, count
        if key not in self.queries:
            k = self.kv.k
            self.queries[key] = k.new_empty(count, k.shape[1], k.shape[3])
        return self.queries[key]
