"""Speculative decoding gives the plain answer, whatever the draft was worth, with and without a cache."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from tests.models.twins import observation, tiny
from vlacache.core.flops import prefill_macs
from vlacache.core.policies import build_cache_policy
from vlacache.models.factory import LoadedModel, ModelConfig, load_model
from vlacache.models.policy import CachedPolicy
from vlacache.models.twin import write_openvla_twin
from vlacache.types import ActionChunk

EAGER_TO_REUSE = {"min_saving": 0.0, "max_backoff": 0, "dense_below_speed": None, "dense_at_grip": False}
CACHES: dict[str, tuple[str, dict[str, object]]] = {
    "none": ("none", {}),
    "half": ("fixed_ratio", {"reuse_ratio": 0.5, **EAGER_TO_REUSE}),
    "all": ("fixed_ratio", {"reuse_ratio": 1.0, **EAGER_TO_REUSE}),
    "adaptive": ("adaptive", {"tau": 0.5, "task_top_k": 32, **EAGER_TO_REUSE}),
    "official": ("official", {"tau": 0.5, "entropy_rows": None, **EAGER_TO_REUSE}),
}
MOVES = (0, 3, 30, 12)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, LoadedModel]:
    folder: Path = tmp_path_factory.mktemp("twins") / "openvla"
    write_openvla_twin(folder, "openvla")
    published = ModelConfig("openvla", str(folder), dtype="float32", unnorm_key="libero_spatial")
    return {"tiny_openvla": tiny(), "openvla": load_model(published)}


class Arm:
    """A policy whose draft can be replaced and whose tokens are seen."""

    def __init__(self, model: LoadedModel, cache: str, decode: str) -> None:
        name, numbers = CACHES[cache]
        self.policy = CachedPolicy(replace(model, decode=decode), build_cache_policy(name, numbers))
        self.policy.reset(0)
        self.ids: list[list[int]] = []
        self.num_steps = 0
        decoder = self.policy._decoder
        original, step = decoder.decode, decoder._step

        def decode(*args):
            answer = original(*args)
            self.ids.append(answer.ids.tolist())
            return answer

        def count(*args):
            self.num_steps += 1
            step(*args)

        decoder.decode, decoder._step = decode, count

    def call(self, index: int, draft: list[int] | None = None) -> ActionChunk:
        if draft is not None:
            self.policy._decoder._draft = torch.tensor(draft)
        self.num_steps = 0
        return self.policy.infer(observation(index, size=256, moved=MOVES[index]))


@dataclass(frozen=True)
class Reference:
    """One plain call and the session it left, copied."""

    chunk: ActionChunk
    ids: list[int]
    k: Tensor
    v: Tensor
    entropies: Tensor | None
    scores: Tensor | None


@pytest.fixture(scope="module")
def plain_episode(models) -> Callable[[str, str], list[Reference]]:
    """The plain episode of a model and cache, run once: it does not depend on any draft."""

    @functools.cache
    def run(name: str, cache: str) -> list[Reference]:
        arm, found = Arm(models[name], cache, "plain"), []
        for index in range(len(MOVES)):
            chunk, session = arm.call(index), arm.policy.session
            scores = None if session._scores is None else session._scores.clone()
            entropies = None if session.entropies is None else session.entropies.clone()
            found.append(Reference(chunk, arm.ids[-1], session.kv.k.clone(), session.kv.v.clone(), entropies, scores))
        return found

    return run


def draft_that_agrees(truth: list[int], count: int) -> list[int]:
    """The first ``count`` tokens of the answer, then one that is wrong, then right ones again."""
    return [t if i != count else (t + 1) % 700 for i, t in enumerate(truth[:-1])]


#: Accepted tokens of the three warm calls, by episode: every length in every model and cache, in changing order.
AGREEING = ((0, 6, 3), (5, 1, 2), (4, 0, 6))


@pytest.mark.parametrize("cache", sorted(CACHES))
@pytest.mark.parametrize("name", ["tiny_openvla", "openvla"])
def test_the_answer_is_the_plain_one(models, plain_episode, name: str, cache: str) -> None:
    """Every acceptance length; tokens, decisions, K/V and attention readout of a whole episode."""
    assert {length for lengths in AGREEING for length in lengths} == set(range(7))
    for lengths in AGREEING:
        check_episode(models[name], plain_episode(name, cache), cache, lengths)


def check_episode(model: LoadedModel, plain_calls: list[Reference], cache: str, agree: tuple[int, ...]) -> None:
    ours = Arm(model, cache, "speculative")
    for index, plain in enumerate(plain_calls):
        expected = plain.chunk
        draft = draft_that_agrees(plain.ids, agree[index - 1]) if index else None
        found = ours.call(index, draft)
        assert ours.ids[-1] == plain.ids and np.array_equal(found.actions, expected.actions)
        assert found.trace is not None and expected.trace is not None
        assert np.array_equal(found.trace.reused_layers, expected.trace.reused_layers)
        assert found.stats.accepted_tokens == (agree[index - 1] if index else None)
        assert ours.num_steps == 6 - (found.stats.accepted_tokens or 0)
        assert found.stats.num_prompt_tokens == expected.stats.num_prompt_tokens
        assert found.stats.recomputed_tokens_mean == expected.stats.recomputed_tokens_mean
        session = ours.policy.session
        # Slots of the prompt and of all tokens that were fed back, rejected drafts overwritten.
        used = expected.stats.num_prompt_tokens + 6
        assert torch.allclose(plain.k[:, :, :used], session.kv.k[:, :, :used], atol=1e-4)
        assert torch.allclose(plain.v[:, :, :used], session.kv.v[:, :, :used], atol=1e-4)
        for left, right in ((plain.entropies, session.entropies), (plain.scores, session._scores)):
            assert (left is None) == (right is None)
            assert left is None or torch.allclose(left, right, atol=1e-5)


def test_tokens_differ_from_call_to_call(models) -> None:
    """The test bed can show harm: a wrong draft taken for right would be seen."""
    for model in models.values():
        arm = Arm(model, "none", "plain")
        for index in range(len(MOVES)):
            arm.call(index)
        assert len({tuple(ids) for ids in arm.ids}) > 1
        assert all(len(set(ids)) > 2 for ids in arm.ids)


def test_an_episode_drafts_from_its_own_last_call(models) -> None:
    """No draft in the first call of each episode; an unchanged picture is accepted whole, without a decode step."""
    arm = Arm(models["openvla"], "none", "speculative")
    for _ in range(2):
        arm.policy.reset(0)
        assert arm.call(0).stats.accepted_tokens is None and arm.num_steps == 6
        assert arm.call(0).stats.accepted_tokens == 6 and arm.num_steps == 0


def test_an_empty_draft_costs_one_plain_call_and_six_rows(models) -> None:
    plain, ours = (Arm(models["openvla"], "half", decode) for decode in ("plain", "speculative"))
    plain.call(0), ours.call(0)
    a, b = plain.call(1).stats, ours.call(1, [5] * 6).stats
    assert (b.accepted_tokens, ours.num_steps) == (0, 6)
    model, n = models["openvla"].model, a.num_prompt_tokens
    shape, vocab = model.config.decoder.shape, model.config.decoder.vocab_size
    rows = [n - 8] * 4
    extra = prefill_macs(shape, [r + 6 for r in rows], n + 6, 7) - prefill_macs(shape, rows, n, 1)
    assert b.prefill_macs - a.prefill_macs == extra
    assert b.macs - a.macs == extra + 6 * shape.hidden_size * vocab


@pytest.mark.parametrize("cache", ["none", "half", "adaptive"])
@pytest.mark.parametrize("count", [0, 4, 6])
def test_macs_agree_with_counted_matrix_products(models, cache: str, count: int) -> None:
    arm = Arm(models["tiny_openvla"], cache, "speculative")
    arm.call(0)
    truth = Arm(models["tiny_openvla"], cache, "plain")
    truth.call(0), truth.call(1)
    with FlopCounterMode(display=False) as counter:
        stats = arm.call(1, draft_that_agrees(truth.ids[-1], count)).stats
    assert stats.accepted_tokens == count
    # LIBERO's resize and the similarity are no matrix products of the model.
    assert stats.macs == pytest.approx(counter.get_total_flops() / 2, rel=0.03)


def test_drafts_survive_a_new_instruction_as_a_guess(models) -> None:
    """A draft is only ever verified, so another prompt (and another cache size) needs no special case."""
    plain, ours = (Arm(models["tiny_openvla"], "half", decode) for decode in ("plain", "speculative"))
    for arm in (plain, ours):
        arm.call(0)
        arm.policy.infer(observation(1, size=256, instruction="open the top drawer of the cabinet slowly", moved=9))
    assert plain.ids == ours.ids


def test_logits_that_are_not_finite_are_refused() -> None:
    model = tiny()
    arm = Arm(model, "none", "speculative")
    arm.call(0)
    model.model.decoder.norm.weight[3] = float("nan")
    with pytest.raises(RuntimeError, match=r"expected finite logits, got \[nan"):
        arm.call(1)


@pytest.mark.parametrize("name", ["tiny_oft", "openvla_oft", "cogact"])
def test_models_without_action_tokens_refuse_it(name: str) -> None:
    with pytest.raises(ValueError, match=rf"drafts action tokens, and {name} has none"):
        load_model(ModelConfig(name, "anywhere", decode="speculative"))
