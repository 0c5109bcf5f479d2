"""Speculative decoding on recorded observations: how many draft tokens are accepted, and whether an answer changes.

Two questions about the same frames (teacher forcing, no simulator). In float32: are the tokens of every call those of
plain decoding? In bfloat16, where another shape of a product rounds otherwise: do they agree as often as two plain
runs of different shapes do? Those two are the plain run, one row at a time on stored K/V, and a plain run that stores
none and computes prompt and tokens anew for each token.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vlacache.core.decision import Segment
from vlacache.core.kv_cache import KVCache
from vlacache.core.policies import CachePolicy, build_cache_policy
from vlacache.models.decoder import PrefillCall
from vlacache.models.factory import LoadedModel, ModelInfo
from vlacache.models.heads import TokenBinHead
from vlacache.models.policy import CachedPolicy
from vlacache.types import Observation

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Answers:
    """One arm on all episodes.

    Attributes:
        ids: int64[T] tokens of each call. accepted: decode steps that a draft saved; None for a call without a draft.
    """

    ids: list[NDArray[np.int64]]
    accepted: list[int | None]


@dataclass(frozen=True, slots=True)
class Agreement:
    """Two arms on the same calls.

    Attributes:
        calls: all. same_calls: those whose tokens are all equal. tokens, same_tokens: likewise by token.
    """

    calls: int
    same_calls: int
    tokens: int
    same_tokens: int

    @classmethod
    def of(cls, one: Answers, two: Answers) -> Agreement:
        """Compare call by call."""
        same = np.array([a == b for a, b in zip(one.ids, two.ids, strict=True)])
        return cls(len(same), int(same.all(axis=1).sum()), same.size, int(same.sum()))

    def __str__(self) -> str:
        return f"{self.same_calls}/{self.calls} calls, {self.same_tokens}/{self.tokens} tokens"


@dataclass(frozen=True, slots=True)
class Speculation:
    """One cache policy in one dtype.

    Attributes:
        accepted: calls by number of decode steps saved, 0 .. T - 1 (calls with a draft).
        plain: speculative against plain. shapes: plain against plain without stored K/V, both without a cache policy.
    """

    cache: str
    dtype: str
    accepted: list[int]
    plain: Agreement
    shapes: Agreement

    @property
    def mean_accepted(self) -> float:
        """Decode steps saved in a call with a draft; NaN without any."""
        total = sum(self.accepted)
        return sum(i * n for i, n in enumerate(self.accepted)) / total if total else float("nan")


def answers(arm: CachedPolicy, episodes: Sequence[Sequence[Observation]]) -> Answers:
    """Show an arm all episodes, each with a memory of its own."""
    found = Answers([], [])
    for observations in episodes:
        arm.reset(0)
        for observation in observations:
            found.accepted.append(arm.infer(observation).stats.accepted_tokens)
            assert arm.token_ids is not None
            found.ids.append(arm.token_ids.copy())
    return found


@torch.inference_mode()
def recomputed_answers(loaded: LoadedModel, episodes: Sequence[Sequence[Observation]]) -> Answers:
    """Greedy tokens without stored K/V: each from a pass over the prompt and the tokens before it."""
    model, arm = loaded.model, CachedPolicy(replace(loaded, decode="plain"), build_cache_policy("none"))
    assert isinstance(model.head, TokenBinHead)
    found = Answers([], [])
    for observation in (seen for observations in episodes for seen in observations):
        rows = arm.prompt(observation)
        ids = torch.empty(0, dtype=torch.int64, device=rows.device)
        for _ in range(model.config.num_action_tokens):
            embeds = torch.cat([rows, model.embed(ids)])
            hidden = model.decoder.prefill(embeds, *_whole_prompt(loaded, embeds))
            ids = torch.cat([ids, model.head(hidden).argmax(dim=-1)])
        found.ids.append(ids.cpu().numpy())
        found.accepted.append(None)
    return found


def _whole_prompt(loaded: LoadedModel, embeds: Tensor) -> tuple[list[Segment], Tensor, PrefillCall]:
    """What a dense prefill of ``embeds`` [n, d] takes, for the hidden state of its last row."""
    shape, n = loaded.model.config.decoder.shape, embeds.shape[0]
    kv = KVCache(shape.num_layers, shape.num_heads, n, shape.head_dim, dtype=embeds.dtype, device=embeds.device)
    last = torch.tensor([n - 1], device=embeds.device)
    return [Segment(0, shape.num_layers, n)], last, PrefillCall(kv, causal=True)


def compare_decoding(
    loaded: LoadedModel, caches: Mapping[str, CachePolicy], episodes: Sequence[Sequence[Observation]]
) -> list[Speculation]:
    """Speculative against plain decoding with each cache policy, beside two plain runs.

    Raises:
        ValueError: a model without action tokens.
    """
    if loaded.model.config.head != "token_bins":
        raise ValueError(f"speculation: expected a model that answers in tokens, got {loaded.info.name}")
    modes = {decode: replace(loaded, decode=decode) for decode in ("plain", "speculative")}
    dense = answers(CachedPolicy(modes["plain"], build_cache_policy("none")), episodes)
    shapes = Agreement.of(dense, recomputed_answers(loaded, episodes))
    results = []
    for name, cache in caches.items():
        plain, ours = (answers(CachedPolicy(mode, cache), episodes) for mode in modes.values())
        counts = Counter(n for n in ours.accepted if n is not None)
        histogram = [counts[n] for n in range(loaded.model.config.num_action_tokens)]
        results.append(Speculation(name, loaded.info.dtype, histogram, Agreement.of(plain, ours), shapes))
    return results


@dataclass(frozen=True)
class SpeculationReport:
    """Everything that was replayed. ``episodes``: their sources. ``command``, ``date``: what was called, when."""

    model: ModelInfo
    episodes: list[str]
    calls: int
    results: list[Speculation]
    command: str
    date: str

    def show(self) -> str:
        """The table."""
        info = self.model
        what = f"{info.name} ({info.weights} weights, {info.checkpoint})"
        head = f"{what}; episodes: {len(self.episodes)}, calls: {self.calls}"
        num_tokens = len(self.results[0].accepted)
        columns = " ".join(f"{n:>5}" for n in range(num_tokens))
        width = max(len(result.cache) for result in self.results)
        lines = [f"{'cache':{width}} {'dtype':9} {'mean':>5} {columns}  speculative = plain; plain = plain without K/V"]
        lines += [
            f"{r.cache:{width}} {r.dtype:9} {r.mean_accepted:5.2f} {' '.join(f'{n:5d}' for n in r.accepted)}  "
            f"{r.plain}; {r.shapes}"
            for r in self.results
        ]
        legend = (
            f"mean, 0 .. {num_tokens - 1}: decode steps that the draft saved, mean and calls by number (the first call "
            "of an\nepisode has no draft). Right of them: on how many calls and tokens two arms agree."
        )
        return "\n".join([head, *self.episodes, "", *lines, legend])

    def write(self, path: Path) -> None:
        """As JSON."""
        path.parent.mkdir(parents=True, exist_ok=True)
        means = {f"{r.cache}, {r.dtype}": r.mean_accepted if sum(r.accepted) else None for r in self.results}
        data = {"schema_version": SCHEMA_VERSION, "kind": "speculation", **asdict(self), "mean_accepted": means}
        path.write_text(json.dumps(data, indent=1) + "\n")

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> SpeculationReport:
        """What ``write`` stored."""
        model = {**data["model"], "views": tuple(data["model"]["views"]), "grid": tuple(data["model"]["grid"])}
        results = [
            Speculation(**{**r, "plain": Agreement(**r["plain"]), "shapes": Agreement(**r["shapes"])})
            for r in data["results"]
        ]
        return cls(ModelInfo(**model), data["episodes"], data["calls"], results, data["command"], data["date"])
