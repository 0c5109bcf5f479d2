"""One policy call from the outside: stages, MACs, trace, and clear errors for bad input."""

from __future__ import annotations

import gc
import weakref
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from tests.models.twins import loaded, observation, small
from vlacache.core.policies import build_cache_policy
from vlacache.models.decode import ActionDecoder, Answer
from vlacache.models.factory import LoadedModel
from vlacache.models.heads import count_foreign
from vlacache.models.policy import CachedPolicy
from vlacache.models.tiny import TINY_OFT, TINY_OPENVLA
from vlacache.types import STAGES, Policy


@pytest.mark.parametrize("name", ["none", "adaptive", "official", "fixed_ratio"])
def test_stages_add_up_to_the_total(twin: LoadedModel, name: str) -> None:
    policy = CachedPolicy(twin, build_cache_policy(name))
    policy.reset(0)
    for step in range(3):
        stats = policy.infer(observation(step)).stats
        assert sum(getattr(stats, f"{s}_ms") for s in STAGES) == pytest.approx(stats.total_ms, rel=0.02)
        assert stats.clock == "cpu" and stats.total_ms > 0


def test_only_the_first_call_of_a_policy_is_warm_up(twin: LoadedModel) -> None:
    policy = CachedPolicy(twin, build_cache_policy("none"))
    flags = []
    for _ in range(2):
        policy.reset(0)
        flags += [policy.infer(observation()).stats.is_warmup for _ in range(2)]
    assert flags == [True, False, False, False]


def test_tokens_that_are_no_actions_are_counted_and_said_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """End of text and a row of the vocabulary's padding; the values stay those of the published code."""
    twin = loaded(small(TINY_OPENVLA))
    twin = replace(twin, info=replace(twin.info, weights="trained"))
    first, last = twin.model.head.first_bin(), twin.model.config.num_tokens
    answer = Answer(np.array([2, last, last - 1, first, first + 1, first, first - 1]), None)
    monkeypatch.setattr(ActionDecoder, "decode", lambda *_: answer)
    policy = CachedPolicy(twin, build_cache_policy("none"))
    with pytest.warns(UserWarning, match="3 of 7 generated tokens are no action tokens") as caught:
        counts = [policy.infer(observation(step)).stats.foreign_tokens for step in range(3)]
    assert counts == [3, 3, 3] and len(caught) == 1
    assert count_foreign(np.arange(last + 5), last, last - first) == first + 5


def test_nothing_keeps_a_model_that_was_dropped() -> None:
    model = loaded(small(TINY_OFT))
    assert model.model.layout(9) is model.model.layout(9), "made once"
    policy, alive = CachedPolicy(model, build_cache_policy("none")), weakref.ref(model.model)
    policy.infer(observation())
    del model, policy
    gc.collect()
    assert alive() is None


@pytest.mark.parametrize(("limit", "reasons"), [(1e9, {"precise_motion"}), (0.0, {None}), (None, {None})])
def test_the_call_after_slow_actions_is_dense(twin: LoadedModel, limit: float | None, reasons: set[str | None]) -> None:
    """Measured on what is executed; the first call is cold, whatever comes after it."""
    numbers = {"dense_below_speed": limit, "dense_at_grip": False, "task_top_k": 0, "min_saving": 0.0}
    policy = CachedPolicy(twin, build_cache_policy("adaptive", numbers))
    for seed in range(2):
        policy.reset(seed)
        told = [policy.infer(observation(step)).stats.fallback for step in range(4)]
        assert told[0] == "cold" and set(told[1:]) == reasons


@pytest.mark.parametrize("config", [TINY_OFT, TINY_OPENVLA], ids=lambda c: c.name)
@pytest.mark.parametrize("name", ["none", "fixed_ratio", "adaptive"])
def test_macs_agree_with_counted_matrix_products(config, name: str) -> None:
    """Against torch's own counter (2 FLOPs a MAC); the side readout and padding of heads are within 3 %."""
    numbers = {"dense_below_speed": None, "dense_at_grip": False} if name == "adaptive" else {}
    policy = CachedPolicy(loaded(small(config)), build_cache_policy(name, numbers))
    policy.reset(0)
    policy.infer(observation(0))
    with FlopCounterMode(display=False) as counter:
        stats = policy.infer(observation(1)).stats
    assert stats.macs == pytest.approx(counter.get_total_flops() / 2, rel=0.03)
    assert 0 < stats.prefill_macs < stats.macs


def test_towers_stay_under_a_quarter_of_the_macs() -> None:
    model = loaded(TINY_OFT)
    policy = CachedPolicy(model, build_cache_policy("none"))
    stats = policy.infer(observation(size=256)).stats
    assert model.model.vision.macs(2) / stats.macs < 0.25
    assert 5e6 <= model.model.num_parameters() <= 8e6
    assert TINY_OFT.decoder.num_layers >= 6 and TINY_OFT.grid == (16, 16)
    assert model.model.num_parameters() * 2 < 14 * 2**20, "the bf16 checkpoint would not fit into 14 MiB"


def test_reuse_is_counted_and_traced(twin: LoadedModel) -> None:
    policy = CachedPolicy(twin, build_cache_policy("fixed_ratio", {"reuse_ratio": 0.5}))
    policy.reset(0)
    cold, warm = policy.infer(observation(0)), policy.infer(observation(1))
    assert (cold.stats.fallback, cold.stats.reuse_ratio, cold.stats.max_age) == ("cold", 0.0, 0)
    assert (warm.stats.fallback, warm.stats.reuse_ratio, warm.stats.max_age) == (None, 0.5, 1)
    assert warm.stats.macs < cold.stats.macs
    trace = warm.trace
    assert trace is not None and trace.views == twin.info.views and trace.num_layers == 4
    assert trace.reused_layers.sum() / (4 * trace.reused_layers.size) == 0.5
    n = warm.stats.num_prompt_tokens
    assert warm.stats.recomputed_tokens_mean == n - 0.5 * trace.reused_layers.size


def test_an_episode_after_reset_equals_the_first(twin: LoadedModel) -> None:
    numbers = {"tau": 0.9, "dense_below_speed": None, "dense_at_grip": False}
    policy = CachedPolicy(twin, build_cache_policy("adaptive", numbers))
    episodes = []
    for _ in range(2):
        policy.reset(5)
        episodes.append([policy.infer(observation(i, moved=2 * i)).actions for i in range(4)])
    assert all(np.array_equal(a, b) for a, b in zip(*episodes, strict=True))


def test_two_arms_share_one_model_without_touching_each_other(twin: LoadedModel) -> None:
    alone = CachedPolicy(twin, build_cache_policy("none"))
    alone.reset(0)
    expected = [alone.infer(observation(i, moved=i)).actions for i in range(3)]
    one, two = CachedPolicy(twin, build_cache_policy("none")), CachedPolicy(twin, build_cache_policy("fixed_ratio"))
    one.reset(0), two.reset(0)
    for i in range(3):
        two.infer(observation(i, moved=20 - i))
        assert np.array_equal(one.infer(observation(i, moved=i)).actions, expected[i])


def test_a_new_instruction_in_mid_episode_runs_cold(twin: LoadedModel) -> None:
    policy = CachedPolicy(twin, build_cache_policy("fixed_ratio"))
    policy.reset(0)
    policy.infer(observation(0))
    stats = policy.infer(observation(1, instruction="open the drawer")).stats
    assert stats.fallback in ("prompt_changed", "cold") and stats.reuse_ratio == 0.0


def test_it_is_a_policy_and_actions_fit_its_spec(twin: LoadedModel) -> None:
    policy = CachedPolicy(twin, build_cache_policy("adaptive"))
    assert isinstance(policy, Policy)
    chunk = policy.infer(observation())
    assert chunk.actions.dtype == np.float32 and chunk.actions.shape == (twin.model.config.chunk_length, 7)
    for action in chunk.actions:
        policy.action_spec.validate(action)


def test_frames_are_resized_by_the_model() -> None:
    policy = CachedPolicy(loaded(small(TINY_OFT)), build_cache_policy("none"))
    assert np.isfinite(policy.infer(observation(size=256)).actions).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda o: replace(o, images={"agentview": o.images["agentview"]}), "camera 'wrist'"),
        (lambda o: replace(o, images={k: v.astype(np.float32) for k, v in o.images.items()}), "uint8"),
        (
            lambda o: replace(o, images={"agentview": o.images["agentview"], "wrist": o.images["wrist"][:28]}),
            "one size",
        ),
        (lambda o: replace(o, proprio=None), "proprio: expected float32"),
        (lambda o: replace(o, proprio=np.zeros(7, np.float32)), "shape"),
        (lambda o: replace(o, proprio=np.full(8, np.nan, np.float32)), "finite"),
        (lambda o: replace(o, instruction="  "), "instruction"),
        (lambda o: replace(o, instruction=None), "instruction: expected words, got None"),
        (lambda o: replace(o, images={k: v.tolist() for k, v in o.images.items()}), "numpy array .* got list"),
        (lambda o: replace(o, images={k: v[:1, :1] for k, v in o.images.items()}), "at least 16 px a side.* got 1x1"),
        (lambda o: replace(o, images={k: np.tile(v, (1, 5, 1)) for k, v in o.images.items()}), "at most 4 times"),
    ],
)
def test_bad_observations_are_refused(change, message: str) -> None:
    policy = CachedPolicy(loaded(small(TINY_OFT)), build_cache_policy("fixed_ratio"))
    policy.reset(0)
    policy.infer(observation(0))
    with pytest.raises(ValueError, match=message):
        policy.infer(change(observation(1)))
    policy.reset(0)  # and the policy still works
    assert policy.infer(observation(0)).stats.fallback == "cold"


def test_sampled_entropy_is_close_to_the_exact_one(twin: LoadedModel) -> None:
    """The error of reading 16 rows instead of all, in nats; the benchmark prints it on recorded frames."""
    found = {}
    for rows in (16, None):
        policy = CachedPolicy(twin, build_cache_policy("official", {"entropy_rows": rows}))
        policy.reset(0)
        policy.infer(observation(0))
        found[rows] = policy.session.entropies
    assert torch.allclose(found[16], found[None], atol=0.35)
    assert not torch.equal(found[16], found[None])


@pytest.mark.parametrize(("config", "shifts"), [(TINY_OFT, True), (TINY_OPENVLA, False)])
def test_moving_reused_kv_counts_and_happens_under_full_attention_alone(config, shifts: bool) -> None:
    """The same pictures and so the same decisions; 8 of 32 patches are anchors (four times each), all others move in 3
    of 4 layers."""
    model, numbers = loaded(small(config)), {"tau": 0.5, "task_top_k": 128, "first_layer": 0, "min_saving": 0.0}
    macs, actions = [], []
    for carry in (False, True):
        arm = CachedPolicy(model, build_cache_policy("static_task", {**numbers, "carry_shift": carry}))
        arm.reset(0)
        chunks = [arm.infer(observation(step, moved=moved)) for step, moved in ((0, 0), (1, 20))]
        assert chunks[1].stats.reuse_ratio > 0.1
        macs.append(chunks[1].stats.macs)
        actions.append(chunks[1].actions)
    patches, width = 16 * len(config.views), model.model.config.decoder.shape.head_dim
    assert macs[1] - macs[0] == (64 * (32 * 2 * width + patches * (width + 1)) * 3 if shifts else 0)
    assert np.array_equal(*actions) is not shifts


@pytest.mark.parametrize(("config", "answer"), [(TINY_OFT, 0), (TINY_OPENVLA, 7)])
def test_a_prompt_longer_than_the_model_was_trained_for_is_refused(config, answer: int) -> None:
    """With its answer, which OFT's prompt has in it already."""

    def infer(max_tokens: int | None) -> int:
        policy = CachedPolicy(loaded(replace(small(config), max_tokens=max_tokens)), build_cache_policy("none"))
        policy.reset(0)
        return policy.infer(observation()).stats.num_prompt_tokens

    length = infer(None) + answer
    assert infer(length) + answer == length
    with pytest.raises(ValueError, match=rf"at most {length - 1} tokens .* got {length}, .*shorten it"):
        infer(length - 1)


def test_ids_of_another_vocabulary_are_refused() -> None:
    """A lookup beyond the table would end a CUDA process."""

    class Foreign:
        def encode(self, text: str) -> list[int]:
            return [1, 40000]

    policy = CachedPolicy(replace(loaded(small(TINY_OFT)), tokenizer=Foreign()), build_cache_policy("none"))
    policy.reset(0)
    with pytest.raises(ValueError, match=r"ids below 768 .*, got 40000; it belongs to another model"):
        policy.infer(observation())
