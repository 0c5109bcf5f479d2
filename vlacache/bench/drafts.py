"""Speculative decoding at its two ends: drafts that are right, and drafts that cannot be.

How often a draft is right depends on the frames and on what the model was trained to do. What a right one saves and
what a wrong one costs does not, and is measured on any frames and with any weights.
"""

from __future__ import annotations

from torch import Tensor

from vlacache.core.policies import build_cache_policy
from vlacache.models.decode import ActionDecoder, DecodeToken
from vlacache.models.factory import LoadedModel, run_differently
from vlacache.models.heads import TokenBinHead
from vlacache.models.policy import CachedPolicy
from vlacache.models.prismatic import VLAModel


class KnownDrafts(ActionDecoder):
    """Drafts what the model answered when the episode was at this call before; the first time through it drafts none.

    Of the same frames in the same order. A draft is verified in another shape than it was decoded in, so in bfloat16 a
    few are refused all the same.
    """

    def __init__(self, model: VLAModel, step: DecodeToken, *, speculative: bool) -> None:
        super().__init__(model, step, speculative=speculative)
        self._answers: dict[int, Tensor] = {}
        self._call = 0

    def reset(self) -> None:
        """A new episode, the same one as before."""
        self._call = 0
        self._draft = self._answers.get(0)

    def next_draft(self) -> Tensor | None:
        """The answer of the next call, kept from an earlier time; None the first time."""
        self._answers.setdefault(self._call, self.last_draft())
        self._call += 1
        return self._answers.get(self._call)


class WrongDrafts(ActionDecoder):
    """Drafts the last answer with every entry half the range of bins away, which no arm's motion makes right."""

    def next_draft(self) -> Tensor:
        """Action tokens, all of another value."""
        head = self._model.head
        assert isinstance(head, TokenBinHead)
        first = head.first_bin()
        return first + (self.last_draft() - first + head.num_bins // 2) % head.num_bins


class KnownDraftsPolicy(CachedPolicy):
    """No cache, and drafts that are right."""

    decoder_class = KnownDrafts


class WrongDraftsPolicy(CachedPolicy):
    """No cache, and drafts that are wrong."""

    decoder_class = WrongDrafts


def draft_arm(loaded: LoadedModel, kind: type[CachedPolicy]) -> CachedPolicy:
    """One of the two, with no cache."""
    return kind(run_differently(loaded, {"decode": "speculative"}), build_cache_policy("none"))
