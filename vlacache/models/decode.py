"""From the prefill's hidden states to one action's tokens: greedy, or speculative with the last call's tokens as draft.

A robot's action rarely differs from the one before in every entry, and a decode step costs as much as reading all
weights. So the last call's tokens ride along as extra rows of the prefill: row i is right if all tokens before it are,
and the answer goes on from the first disagreement. See docs/decisions/006-speculative-decoding.md.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vlacache.core.kv_cache import KVCache
from vlacache.models.heads import TokenBinHead
from vlacache.models.prismatic import VLAModel


@dataclass(frozen=True, eq=False)
class TokenBuffer:
    """The tokens of one action on the device, at a fixed address.

    Attributes:
        ids: int64[T]. logits: float32[T], the logit of each.
    """

    ids: Tensor
    logits: Tensor

    @classmethod
    def empty(cls, num_tokens: int, device: torch.device) -> TokenBuffer:
        """Zeros."""
        return cls(torch.zeros(num_tokens, dtype=torch.int64, device=device), torch.zeros(num_tokens, device=device))

    def put(self, start: int, logits: Tensor) -> None:
        """Take the best token of each row of ``logits`` [n, vocab] as tokens ``start .. start + n - 1``."""
        best = logits.max(dim=-1)
        self.ids[start : start + logits.shape[0]] = best.indices
        self.logits[start : start + logits.shape[0]] = best.values


def decode_token(model: VLAModel, tokens: TokenBuffer, step: int, position: int, kv: KVCache) -> None:
    """Token ``step`` from token ``step - 1``, which stands at prompt position ``position``."""
    assert isinstance(model.head, TokenBinHead)
    hidden = model.decoder.decode_step(model.embed(tokens.ids[step - 1 : step]), position, kv)
    tokens.put(step, model.head(hidden))


#: ``decode_token`` without the model, run as is or from a captured graph.
DecodeToken = Callable[[TokenBuffer, int, int, KVCache], None]


@dataclass(frozen=True, slots=True)
class Answer:
    """int64[T] token ids, and how many decode steps the draft saved (None without a draft)."""

    ids: NDArray[np.int64]
    accepted: int | None


class ActionDecoder:
    """Greedy decoding of one action per call; remembers the last one as draft when ``speculative``.

    Attributes:
        last_ids: int64[T] tokens of the last call; None before the first.
    """

    def __init__(self, model: VLAModel, step: DecodeToken, *, speculative: bool) -> None:
        self._model = model
        self._step = step
        self._speculative = speculative
        self._tokens = TokenBuffer.empty(model.config.num_action_tokens, model.device)
        self._draft: Tensor | None = None
        self.last_ids: NDArray[np.int64] | None = None

    def reset(self) -> None:
        """A new episode: its first call has no draft."""
        self._draft = None

    def next_draft(self) -> Tensor | None:
        """What the call after this one drafts."""
        return self.last_draft()

    def last_draft(self) -> Tensor:
        """int64[T - 1] of this call's answer."""
        return self._tokens.ids[:-1].clone()

    @property
    def draft(self) -> Tensor | None:
        """int64[T - 1] ids to append to the next prompt: all but the last, whose row would verify nothing."""
        return self._draft

    def decode(self, hidden: Tensor, position: int, kv: KVCache) -> Answer:
        """The action's tokens.

        Args:
            hidden: [1, d] of the last prompt row, or [T, d] with a row for each token of ``draft``.
            position: prompt length; token i of the answer stands at ``position + i``. K/V of rejected drafts are
                overwritten before anything reads them; prompt slots stay untouched.

        Raises:
            RuntimeError: logits that are not finite (their argmax would still be a token).
        """
        assert isinstance(self._model.head, TokenBinHead)
        self._tokens.put(0, self._model.head(hidden))
        accepted, first = None, 1
        if hidden.shape[0] > 1:
            # The one wait inside a call: how many steps follow is decided on the host.
            ids, logits, accepted = self._fetch()
            first = accepted + 1
        num_tokens = self._model.config.num_action_tokens
        for step in range(first, num_tokens):
            self._step(self._tokens, step, position + step - 1, kv)
        if accepted is None or first < num_tokens:
            ids, logits, _ = self._fetch()
        if not np.isfinite(logits).all():
            raise RuntimeError(
                f"{self._model.config.name}: expected finite logits, got {logits.tolist()}; check the weights, or use "
                "model.dtype=float32"
            )
        if self._speculative:
            self._draft = self.next_draft()
        self.last_ids = ids
        return Answer(ids, accepted)

    def _fetch(self) -> tuple[NDArray[np.int64], NDArray[np.float64], int]:
        """Ids, their logits and the length of the draft's agreeing prefix, in one transfer."""
        tokens = self._tokens
        draft = tokens.ids.new_full((tokens.ids.numel() - 1,), -1) if self._draft is None else self._draft
        agreeing = (draft == tokens.ids[:-1]).cumprod(0).sum()
        # Token ids are exact in float64.
        host = torch.cat([tokens.ids.double(), tokens.logits.double(), agreeing.double()[None]]).cpu().numpy()
        n = tokens.ids.numel()
        return host[:n].astype(np.int64), host[n : 2 * n], int(host[-1])
