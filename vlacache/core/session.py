"""One episode's cache state: cold -> decide -> prefill -> commit, and nothing left after ``reset``."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from vlacache.core.attention import Readout, ReadoutRequest, sample_rows
from vlacache.core.decision import CacheDecision
from vlacache.core.flops import DecoderShape, prefill_macs, rows_per_layer
from vlacache.core.kv_cache import KVCache
from vlacache.core.layout import TokenLayout
from vlacache.core.motion import Motion
from vlacache.core.policies.base import CachePolicy, CacheState, ReusePolicy
from vlacache.core.reference import ReferenceFrame
from vlacache.core.similarity import patch_similarity, patchify
from vlacache.core.transfer import HostCopy

#: K/V memory grows by so many slots, so that a few more words in the instruction fit without a new allocation.
_SLOT_STEP = 64


class CacheSession:
    """Asks the policy once per call and remembers what the next call needs.

    Usage: ``ask(...)``, start the vision towers, ``decision = settle()``, run the model with ``kv`` and ``readout()``,
    then ``commit(...)``. A call that fails before commit leaves ``kv`` half written, so the next decision is cold.

    A call that does not reach the break-even runs dense, and the session does not ask again for 4, 8 ..
    ``policy.max_backoff`` calls, so that a policy that finds nothing to reuse costs next to nothing. Attention is read
    again in the last of them, just before it asks.
    """

    def __init__(self, policy: CachePolicy, shape: DecoderShape, *, dtype: torch.dtype, device: torch.device) -> None:
        self.policy = policy
        self.shape = shape
        self._dtype = dtype
        self._device = device
        self._kv: KVCache | None = None
        self._storage: Tensor | None = None
        self._relevance_rows: dict[TokenLayout, Tensor] = {}
        self.reset(0)

    def reset(self, seed: int) -> None:
        """Forget the episode. The K/V buffer is kept as memory but never read before it is written again."""
        self._generator = torch.Generator().manual_seed(seed)
        self._forget()

    def _forget(self) -> None:
        self._valid = False
        self._pending: _Pending | None = None
        self._patches: Tensor | None = None
        self._layout: TokenLayout | None = None
        self._prompt: Any = None
        self._cameras: Any = None
        self._reference: ReferenceFrame | None = None
        self._scores: Tensor | None = None
        self._entropies: Tensor | None = None
        self._age: Tensor | None = None
        self._calls_since_refresh = 0
        self._misses = 0
        self._silent_calls = 0
        self.motion: Motion | None = None

    @property
    def kv(self) -> KVCache:
        """The K/V storage of the call in flight.

        Raises:
            RuntimeError: before the first ``decide``.
        """
        if self._kv is None:
            raise RuntimeError("CacheSession: kv is allocated by ask() or decide(); call one first")
        return self._kv

    @property
    def max_age(self) -> int:
        """Age of the oldest K/V in use, in calls."""
        return 0 if self._age is None else int(self._age.max())

    @property
    def age(self) -> Tensor | None:
        """int32[L, P] calls since each K/V was computed; None when all are of the last call."""
        return self._age

    @property
    def entropies(self) -> Tensor | None:
        """float32[L] mean row entropy in nats as last read, on the CPU."""
        return self._entropies

    def decide(
        self, frames: Tensor, layout: TokenLayout, *, prompt: Any, cameras: Any, head_rows: int, extra_slots: int = 0
    ) -> CacheDecision:
        """``ask`` and ``settle``, for a caller with nothing to launch in between."""
        self.ask(frames, layout, prompt=prompt, cameras=cameras, head_rows=head_rows, extra_slots=extra_slots)
        return self.settle()

    def ask(
        self, frames: Tensor, layout: TokenLayout, *, prompt: Any, cameras: Any, head_rows: int, extra_slots: int = 0
    ) -> None:
        """Begin a call: have the device work out what the policy would reuse, and do not wait for it.

        Args:
            frames: [V, 3, H, W] raw pixels as the vision towers see them, views in token order.
            layout: of this call's prompt.
            prompt: anything comparable that identifies the instruction.
            cameras: anything comparable that identifies camera names and image size.
            head_rows: rows that the last layer must compute for the action head (for the break-even).
            extra_slots: cache slots after the prompt's: for drafts and decoded tokens, and a graph's padding.
        """
        capacity = layout.num_tokens + extra_slots
        if self._kv is None or self._kv.capacity != capacity:
            # As long as the prompt and the slots asked for: the readout's products run over the whole buffer.
            self._kv = self._new_cache(capacity)
            self._valid = False
        reason = self._dense_reason(layout, prompt, cameras)
        if reason in ("cold", "cameras_changed", "prompt_changed"):
            self._forget()
        # From here to commit() the buffer may be half written: without a commit the next call is cold.
        self._valid = False
        self._patches = None
        self._pending = pending = _Pending(layout, prompt, cameras, frames, head_rows)
        if reason is not None:
            self._silent_calls = max(0, self._silent_calls - 1)
            pending.proposal = CacheDecision.dense(layout, self.shape.num_layers, reason, self._device)
        else:
            self._ask_policy(pending)

    def settle(self) -> CacheDecision:
        """What this call recomputes; waits for the counts that ``ask`` sent to the host.

        Raises:
            RuntimeError: without an ``ask`` before it.
        """
        pending = self._pending
        if pending is None or pending.proposal is None:
            raise RuntimeError("CacheSession: settle() without ask(); each call is ask, settle, prefill, commit")
        decision = pending.proposal
        if decision.reason is None:
            decision = self._at_least_break_even(pending, decision)
            self._back_off(decision)
        pending.decision = decision
        return decision

    def readout(self, layout: TokenLayout, *, causal: bool) -> Readout | None:
        """A collector for the attention that the policy wants from this prefill, or None."""
        num_layers = self.shape.num_layers
        relevance = frozenset(self.policy.relevance_layers(num_layers))
        entropy = frozenset(range(num_layers)) if self._reads_entropies() else frozenset[int]()
        if self._silent_calls or not (relevance or entropy):
            return None
        request = ReadoutRequest(relevance, self._rows_of(layout), entropy, self.policy.readout.entropy_rows)
        return Readout(request, layout, causal=causal)

    def _rows_of(self, layout: TokenLayout) -> Tensor:
        """Rows read for relevance, remembered: sending them from the host makes the device finish its work first."""
        if layout not in self._relevance_rows:
            positions = torch.tensor(layout.relevance_positions(*self.policy.relevance_kinds), device=self._device)
            self._relevance_rows[layout] = sample_rows(positions, self.policy.readout.relevance_rows)
        return self._relevance_rows[layout]

    def _reads_entropies(self) -> bool:
        """In every call, or only in those that turned out dense, not counting those that are only delicate."""
        if not self.policy.needs_entropy:
            return False
        decision = None if self._pending is None else self._pending.decision
        is_delicate = decision is not None and decision.reason == "precise_motion" and self._entropies is not None
        return self.policy.readout.entropy_calls == "all" or decision is None or (decision.is_dense and not is_delicate)

    def commit(self, decision: CacheDecision, readout: Readout | None, motion: Motion | None = None) -> None:
        """Take over what the finished prefill wrote and read.

        Args:
            motion: of the actions that are executed before the next call; None where nobody measures it.

        Raises:
            RuntimeError: without a ``decide`` before it.
        """
        if self._pending is None:
            raise RuntimeError("CacheSession: commit() without decide(); each call is ask, settle, prefill, commit")
        pending, self._pending = self._pending, None
        self._layout, self._prompt, self._cameras = pending.layout, pending.prompt, pending.cameras
        self.motion = motion
        if isinstance(self.policy, ReusePolicy):
            self._advance_age(decision)
            self._advance_reference(decision, pending)
        if readout is not None:
            self._take_readout(readout)
        self._calls_since_refresh = 0 if decision.is_dense else self._calls_since_refresh + 1
        self._valid = True

    def _new_cache(self, capacity: int) -> KVCache:
        """A cache for exactly so many slots, in the memory of the last one where it fits."""
        shape = self.shape
        values = shape.num_layers * shape.hidden_size
        if self._storage is None or self._storage.shape[1] < values * capacity:
            slots = -(-capacity // _SLOT_STEP) * _SLOT_STEP
            self._storage = None  # before the new one is allocated
            self._storage = torch.zeros(2, values * slots, dtype=self._dtype, device=self._device)
        return KVCache(
            shape.num_layers, shape.num_heads, capacity, shape.head_dim, dtype=self._dtype, device=self._device,
            storage=self._storage,
        )  # fmt: skip

    def _dense_reason(self, layout: TokenLayout, prompt: Any, cameras: Any) -> str | None:
        if not isinstance(self.policy, ReusePolicy):
            return "policy_none"
        if not self._valid:
            return "cold"
        if cameras != self._cameras:
            return "cameras_changed"
        if prompt != self._prompt or layout != self._layout:
            return "prompt_changed"
        if self.policy.wants_dense(self.motion):
            return "precise_motion"
        if self._silent_calls:
            return "break_even"
        every = self.policy.refresh_every
        if every is not None and self._calls_since_refresh + 1 >= every:
            return "refresh"
        return None

    def _ask_policy(self, pending: _Pending) -> None:
        policy, layout = self.policy, pending.layout
        similarity = torch.zeros(layout.num_patches, device=self._device)
        if policy.needs_similarity and self._reference is not None:
            self._patches = patchify(pending.frames, layout.grid)
            similarity = patch_similarity(self._patches, self._reference.patches(layout), policy.measure)
        age = torch.zeros_like(similarity, dtype=torch.int32) if self._age is None else self._age.amax(dim=0)
        state = CacheState(
            layout, self.shape.num_layers, similarity, self._scores, self._entropies, age, self._generator
        )
        pending.proposal = policy.decide(state)
        if isinstance(policy, ReusePolicy) and policy.max_age is not None:
            pending.aged_out = HostCopy((age >= policy.max_age).any())

    def _at_least_break_even(self, pending: _Pending, decision: CacheDecision) -> CacheDecision:
        worth = self.policy.min_saving if isinstance(self.policy, ReusePolicy) else 0.0
        if self._saving(decision, pending.layout, pending.head_rows) >= worth and not decision.is_dense:
            return decision
        # Patches that are only too old come back next call: that is a refresh, not a reason to stop asking.
        aged_out = pending.aged_out is not None and bool(pending.aged_out.get())
        everything = torch.full_like(decision.leave_layer, decision.num_layers)
        return replace(decision, leave_layer=everything, reason="refresh" if aged_out else "break_even")

    def _saving(self, decision: CacheDecision, layout: TokenLayout, head_rows: int) -> float:
        n = layout.num_tokens
        dense = prefill_macs(self.shape, [n] * self.shape.num_layers, n, head_rows)
        return 1.0 - prefill_macs(self.shape, rows_per_layer(decision, n), n, head_rows) / dense

    def _back_off(self, decision: CacheDecision) -> None:
        if not decision.is_dense:
            self._misses = 0
        elif decision.reason == "break_even" and isinstance(self.policy, ReusePolicy):
            self._misses += 1
            self._silent_calls = min(2 * 2**self._misses, self.policy.max_backoff)

    def _take_readout(self, readout: Readout) -> None:
        if readout.scores is not None:
            self._scores = readout.scores
        if readout.entropies is not None:
            self._entropies = readout.entropies.cpu()  # the actions have been fetched: nothing is left to wait for

    def _advance_age(self, decision: CacheDecision) -> None:
        if decision.is_dense:
            self._age = None
            return
        layers = torch.arange(decision.num_layers, device=self._device)[:, None]
        reused = layers >= decision.leave_layer[None, :]
        age = torch.zeros_like(reused, dtype=torch.int32) if self._age is None else self._age
        self._age = torch.where(reused, age + 1, torch.zeros_like(age))

    def _advance_reference(self, decision: CacheDecision, pending: _Pending) -> None:
        if not self.policy.needs_similarity:
            return
        if self.policy.reference == "previous" or decision.is_dense or self._reference is None:
            self._reference = ReferenceFrame(pending.frames, self._patches)
        else:
            # Only where every layer was recomputed: a patch that was reused in any layer still depends on the frame
            # it was compared with, so a slow drift adds up until it is seen.
            whole = decision.leave_layer == decision.num_layers
            assert self._patches is not None  # cut by this call's ask()
            self._reference.take(whole, self._patches, pending.layout)


@dataclass(slots=True)
class _Pending:
    """The call between ``ask`` and ``commit``."""

    layout: TokenLayout
    prompt: Any
    cameras: Any
    frames: Tensor
    head_rows: int
    proposal: CacheDecision | None = None
    decision: CacheDecision | None = None
    aged_out: HostCopy | None = None
