"""What to recompute in one policy call, and the row sets that carry it out."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from vlacache.core.layout import TokenLayout
from vlacache.core.transfer import HostCopy


@dataclass(frozen=True, eq=False)
class CacheDecision:
    """For every vision token the first layer at which its K/V are read from the cache.

    A token leaves the residual stream once and does not come back, and tokens outside the vision spans are always
    computed: this form cannot express anything else (docs/decisions/004-leave-layer.md).

    Attributes:
        leave_layer: int64[P] in 0 .. L; L means computed in every layer.
        num_layers: L.
        static: bool[P] patches that passed the similarity test.
        relevant: bool[P] patches kept because the task looks at them.
        similarity: float32[P] or None on a dense call.
        reason: why nothing is reused (``InferenceStats.fallback``), or None.
    """

    leave_layer: Tensor
    num_layers: int
    static: Tensor
    relevant: Tensor
    similarity: Tensor | None = None
    reason: str | None = None

    def __post_init__(self) -> None:
        left = torch.zeros(self.num_layers + 1, dtype=torch.int64, device=self.leave_layer.device)
        left.scatter_add_(0, self.leave_layer, torch.ones_like(self.leave_layer))
        # The counts fix the shapes of the prefill, so the host needs them; they travel while the towers run.
        object.__setattr__(self, "_counts", HostCopy(left[: self.num_layers].cumsum(0)))

    @classmethod
    @functools.lru_cache(maxsize=64)
    def dense(
        cls, layout: TokenLayout, num_layers: int, reason: str, device: torch.device | None = None
    ) -> CacheDecision:
        """Compute everything, for the given reason. Remembered: the dense arm must not pay for a decision."""
        none = torch.zeros(layout.num_patches, dtype=torch.bool, device=device)
        leave = torch.full((layout.num_patches,), num_layers, dtype=torch.int64, device=device)
        return cls(leave, num_layers, none, none, None, reason)

    @classmethod
    def from_ranking(
        cls,
        ranked: Tensor,
        counts: Tensor,
        *,
        static: Tensor,
        relevant: Tensor,
        similarity: Tensor | None,
    ) -> CacheDecision:
        """At layer l the first ``counts[l]`` patches of ``ranked`` are reused.

        Args:
            ranked: int64[R] patch indices, first to leave first, without repeats; may go on with patches that stay.
            counts: int64[L], non-decreasing, in 0 .. R; on the device of ``ranked``.

        Raises:
            ValueError: ``counts`` falls somewhere or exceeds R. On a GPU that would cost a wait, so it is checked on
                the CPU alone, where every policy is tested.
        """
        if counts.device.type == "cpu":
            ordered = bool((counts[1:] >= counts[:-1]).all())
            if not ordered or int(counts[0]) < 0 or int(counts[-1]) > ranked.numel():
                raise ValueError(
                    f"counts: expected non-decreasing numbers in 0..{ranked.numel()}, got {counts.tolist()}"
                )
        num_layers = counts.numel()
        leave = torch.full((static.numel(),), num_layers, dtype=torch.int64, device=ranked.device)
        # The first layer whose count exceeds a patch's rank is where that patch leaves.
        leave[ranked] = torch.searchsorted(counts, torch.arange(ranked.numel(), device=ranked.device), right=True)
        return cls(leave, num_layers, static, relevant, similarity)

    @cached_property
    def num_reused(self) -> list[int]:
        """Reused vision tokens at each of the L layers; the first access waits for the decision, nothing else."""
        counts: HostCopy = self._counts  # type: ignore[attr-defined]
        return [int(n) for n in counts.get().tolist()]

    @property
    def is_dense(self) -> bool:
        """Nothing is reused in any layer."""
        return self.num_reused[-1] == 0

    @property
    def reuse_ratio(self) -> float:
        """Reused (layer, vision token) pairs / all such pairs."""
        return sum(self.num_reused) / (self.num_layers * self.leave_layer.numel())

    def reuse_mask(self, layout: TokenLayout) -> Tensor:
        """bool[L, N]: True where layer l reads the K/V of position n from the cache."""
        mask = torch.zeros(self.num_layers, layout.num_tokens, dtype=torch.bool, device=self.leave_layer.device)
        layers = torch.arange(self.num_layers, device=self.leave_layer.device)
        mask[:, layout.vision] = layers[:, None] >= self.leave_layer[None, :]
        return mask

    def reused_layers(self) -> Tensor:
        """uint8[P]: number of layers in which each patch is reused."""
        return (self.num_layers - self.leave_layer).to(torch.uint8)


@dataclass(frozen=True, eq=False)
class Segment:
    """Consecutive layers that compute the same rows.

    Attributes:
        first_layer, stop_layer: half-open layer range.
        num_rows: rows that are computed, padding not counted.
        rows: int64[b] ascending prompt positions that are computed, then padding (position 0); None for all.
        slots: int64[b] where their K/V are written; padding goes to a sink that nothing reads. None for all.
        keep: int64[b] where those rows are among the previous segment's rows; None when nothing left.
        mask: bool[b, N], True where a row may look; None when every row sees every key or ``is_causal`` says it.
    """

    first_layer: int
    stop_layer: int
    num_rows: int
    rows: Tensor | None = None
    slots: Tensor | None = None
    keep: Tensor | None = None
    mask: Tensor | None = None


@dataclass(frozen=True, slots=True)
class Padding:
    """Row counts rounded up, so that a captured graph serves many decisions.

    Attributes:
        multiple: counts become multiples of this (at most all rows). sink: K/V slot that takes the padding's writes.
    """

    multiple: int
    sink: int

    def bucket(self, num_rows: int, limit: int) -> int:
        """Rows that are run for ``num_rows`` of ``limit``."""
        return min(-(-num_rows // self.multiple) * self.multiple, limit)


def causal_mask(rows: Tensor, num_tokens: int) -> Tensor:
    """bool[n, N]: key position <= query position. Right for any set of rows, contiguous or not."""
    return torch.arange(num_tokens, device=rows.device)[None, :] <= rows[:, None]


def plan_segments(
    decision: CacheDecision, layout: TokenLayout, *, causal: bool, num_drafts: int = 0, padding: Padding | None = None
) -> list[Segment]:
    """The row sets of a decision, one segment per distinct set.

    Masks come from absolute positions, because SDPA's ``is_causal`` aligns the triangle by row index and would be
    wrong as soon as a row is missing. The counts are on the host already and fix every shape, so nothing here waits
    for the device.

    Args:
        num_drafts: rows after the prompt (positions N ..) that every layer computes.
        padding: how row counts are rounded up; None for exactly the rows that are computed.
    """
    total = layout.num_tokens + num_drafts
    reused = decision.num_reused
    starts = [0] + [layer for layer in range(1, decision.num_layers) if reused[layer] != reused[layer - 1]]
    stops = [*starts[1:], decision.num_layers]
    sparse = [start for start in starts if reused[start]]
    sets = _row_sets(decision, layout, sparse, total, None if padding is None else padding.sink) if sparse else None
    segments: list[Segment] = []
    for start, stop in zip(starts, stops, strict=True):
        n = total - reused[start]
        if sets is None or n == total:
            segments.append(Segment(start, stop, n))
            continue
        size = n if padding is None else padding.bucket(n, total)
        rows, slots, keep = (table[sparse.index(start), :size] for table in sets)
        segments.append(Segment(start, stop, n, rows, slots, keep, causal_mask(rows, total) if causal else None))
    return segments


def _row_sets(
    decision: CacheDecision, layout: TokenLayout, starts: list[int], total: int, sink: int | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Rows alive at each of the given layers, their slots, and where they are in the set before; each int64[S, total].

    After the rows that are alive come position 0 and the sink. All sets at once: one by one, these small operations
    would cost as much as deciding.
    """
    device = decision.leave_layer.device
    leave = torch.full((total,), decision.num_layers, dtype=torch.int64, device=device)
    leave[layout.vision] = decision.leave_layer
    alive = leave > torch.tensor(starts).to(device, non_blocking=True)[:, None]
    index = alive.cumsum(1) - 1  # of every position in its set
    position = torch.arange(total, device=device).expand_as(index)
    # Rows that left are scattered to an extra slot: shapes stay known without asking the device how many they are.
    rows = position.new_zeros(len(starts), total + 1)
    rows = rows.scatter_(1, torch.where(alive, index, total), position)[:, :total]
    before = torch.cat([position[:1], index[:-1]])
    slots = rows if sink is None else torch.where(position <= index[:, -1:], rows, sink)
    return rows, slots, before.gather(1, rows)
