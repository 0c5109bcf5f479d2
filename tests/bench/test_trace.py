"""Traces: recorded, stored, resampled to other models, and obeyed by the policies that replay them."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from vlacache.bench.arms import ReuseNothing, TracedPolicy, policy_arm, record_trace
from vlacache.bench.episode import RecordedEpisode
from vlacache.bench.trace import AttentionTrace, TraceSource, resample_layers, resize_scores
from vlacache.core.policies import build_cache_policy
from vlacache.core.policies.base import ReusePolicy
from vlacache.models.factory import LoadedModel
from vlacache.models.policy import CachedPolicy

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def trace(twins: dict[str, LoadedModel], episode: RecordedEpisode) -> AttentionTrace:
    """Of OFT's twin, untrained: a fixture, not a result."""
    loaded = twins["openvla_oft"]
    return record_trace(loaded, episode.observations(8, loaded.info.views)[:5], episode.source)


def reuse_policy(name: str, **numbers: object) -> ReusePolicy:
    policy = build_cache_policy(name, {"min_saving": 0.0, "max_backoff": 0, **numbers})
    assert isinstance(policy, ReusePolicy)
    return policy


def test_a_trace_is_what_a_live_policy_would_see(
    twins: dict[str, LoadedModel], episode: RecordedEpisode, trace: AttentionTrace
) -> None:
    """Replaying a model's own trace changes no decision, as long as nothing was reused before it."""
    loaded = twins["openvla_oft"]
    fitted = trace.fit(loaded.info.views, loaded.info.grid, loaded.info.num_layers, CPU)
    cache = reuse_policy("official", entropy_rows=None, tau=0.0)
    arms = [CachedPolicy(loaded, cache), TracedPolicy(loaded, cache, fitted)]
    for arm in arms:
        arm.reset(0)
    first, second = episode.observations(8, loaded.info.views)[:2]
    for arm in arms:
        arm.infer(first)
    chunks = [arm.infer(second) for arm in arms]
    live, replayed = (chunk.trace for chunk in chunks)
    assert live is not None and replayed is not None and live.reused_layers.sum() > 0
    assert np.array_equal(live.reused_layers, replayed.reused_layers)
    assert np.array_equal(live.relevant, replayed.relevant)
    assert chunks[1].stats.macs == chunks[0].stats.macs, "the replayed arm must pay for the same readout"


def test_a_replayed_policy_moves_kv_as_the_live_one_does(
    twins: dict[str, LoadedModel], episode: RecordedEpisode, trace: AttentionTrace
) -> None:
    """The price of moving is part of what a benchmark with random weights has to show."""
    loaded = twins["openvla_oft"]
    fitted = trace.fit(loaded.info.views, loaded.info.grid, loaded.info.num_layers, CPU)
    macs = []
    for carry in (False, True):
        arm = policy_arm(loaded, reuse_policy("static_task", tau=0.0, task_top_k=128, carry_shift=carry), fitted)
        arm.reset(0)
        stats = [arm.infer(o).stats for o in episode.observations(8, loaded.info.views)[:2]][1]
        assert stats.reuse_ratio > 0
        macs.append(stats.macs)
    assert macs[1] > macs[0]


@pytest.mark.parametrize("name", ["openvla", "cogact"])
def test_relevance_comes_from_the_trace_and_similarity_from_the_frames(
    twins: dict[str, LoadedModel], episode: RecordedEpisode, trace: AttentionTrace, name: str
) -> None:
    """All relevance on one patch of the trace: that patch is kept by a model that never looked at it."""
    loaded = twins[name]
    scores = np.zeros_like(trace.scores["text"])
    scores[:, 0, 2, 1] = 1.0
    aimed = replace(trace, scores={"text": scores, "text_action": scores})
    fitted = aimed.fit(loaded.info.views, loaded.info.grid, loaded.info.num_layers, CPU)
    arm = policy_arm(loaded, reuse_policy("static_task", tau=0.5, task_top_k=16), fitted)
    arm.reset(0)
    observations = episode.observations(8, loaded.info.views)
    arm.infer(observations[0])
    kept = arm.infer(observations[1]).trace
    assert kept is not None and kept.relevant.nonzero()[0].tolist() == [2 * 4 + 1]
    assert kept.static.sum() > 1
    still = arm.infer(replace(observations[1], step=9)).trace
    black = {view: np.zeros_like(picture) for view, picture in observations[1].images.items()}
    dark = arm.infer(replace(observations[1], images=black, step=10)).trace
    assert still is not None and still.static.sum() > 0
    assert dark is not None and dark.static.sum() == 0, "similarity must be live"


def test_the_entry_follows_the_step(trace: AttentionTrace) -> None:
    fitted = trace.fit(trace.views, (4, 4), trace.entropy_shares.shape[1], CPU)
    assert fitted.steps == (8, 16, 24, 32)
    for step, index in ((0, 0), (8, 0), (15, 0), (16, 1), (31, 2), (400, 3)):
        scores, entropies = fitted.at(step, ("text",), 100)
        assert torch.equal(scores, torch.from_numpy(trace.scores["text"][index]).flatten())
        expected = torch.from_numpy(trace.entropy_shares[index]) * math.log(100)
        assert torch.allclose(entropies, expected)
    assert not torch.equal(fitted.at(8, ("text",), 9)[0], fitted.at(8, ("text", "action"), 9)[0])


def test_resampling_rules() -> None:
    shares = torch.tensor([[0.0, 1.0, 2.0, 3.0]])
    assert resample_layers(shares, 4) is shares
    # Layer l of 2 is at depth (l + 0.5) / 2, between layers 0 and 1, and 2 and 3.
    assert resample_layers(shares, 2)[0].tolist() == pytest.approx([0.5, 2.5])
    assert resample_layers(shares, 8)[0].tolist() == pytest.approx([0, 0.25, 0.75, 1.25, 1.75, 2.25, 2.75, 3])
    scores = torch.zeros(1, 1, 16, 16)
    scores[0, 0, 4:8, 8:12] = 1.0
    small = resize_scores(scores, (4, 4))[0, 0]
    assert (small.argmax().item(), small.max() > 3 * small.flatten().sort().values[-2]) == (1 * 4 + 2, True)


def test_delicate_phases_come_from_the_trace(
    twins: dict[str, LoadedModel], episode: RecordedEpisode, trace: AttentionTrace
) -> None:
    """An untrained model's hand hardly moves; what decides is how that of the trace did."""
    loaded = twins["openvla_oft"]
    told = replace(trace, speeds=np.array([0.9, 0.1, 0.9, 0.9]), grips=np.array([False, False, False, True]))
    fitted = told.fit(loaded.info.views, loaded.info.grid, loaded.info.num_layers, CPU)
    cache = reuse_policy("adaptive", tau=0.0, task_top_k=0, max_age=None)
    arm = policy_arm(loaded, cache, fitted)
    arm.reset(0)
    reasons = [arm.infer(o).stats.fallback for o in episode.observations(8, loaded.info.views)[:5]]
    assert reasons == ["cold", None, "precise_motion", None, "precise_motion"]


def test_views_by_name_or_by_order(trace: AttentionTrace) -> None:
    def scores(views: tuple[str, ...]) -> torch.Tensor:
        return trace.fit(views, (4, 4), 4, CPU).at(8, ("text",), 9)[0].view(len(views), -1)

    both = scores(("agentview", "wrist"))
    assert torch.equal(scores(("wrist",))[0], both[1])
    assert torch.equal(scores(("overhead_camera",))[0], both[0])
    with pytest.raises(ValueError, match="at least 3 views"):
        trace.fit(("a", "b", "c"), (4, 4), 4, CPU)


def test_files(trace: AttentionTrace, tmp_path: Path) -> None:
    trace.save(tmp_path / "a.npz")
    back = AttentionTrace.load(tmp_path / "a.npz")
    assert (
        back.source
        == trace.source
        == TraceSource("openvla_oft", "untrained", trace.source.checkpoint, trace.source.episode, 15)
    )
    assert all(np.array_equal(back.scores[key], trace.scores[key]) for key in trace.scores)
    assert np.array_equal(back.speeds, trace.speeds) and np.array_equal(back.grips, trace.grips)
    np.savez(tmp_path / "b.npz", steps=np.arange(3))
    with pytest.raises(ValueError, match="expected an attention trace, it lacks"):
        AttentionTrace.load(tmp_path / "b.npz")
    with pytest.raises(ValueError, match="finite entries of entropy_shares"):
        replace(trace, entropy_shares=trace.entropy_shares * np.nan)
    with pytest.raises(ValueError, match="ascending env steps"):
        replace(trace, steps=trace.steps[::-1])


@pytest.mark.parametrize("name", ["adaptive", "paper", "official"])
def test_reuse_nothing_pays_and_changes_nothing(
    twins: dict[str, LoadedModel], episode: RecordedEpisode, name: str
) -> None:
    """The machinery runs in every warm call, and the actions are the dense ones to the last bit."""
    loaded = twins["openvla_oft"]
    inner = build_cache_policy(name)
    assert isinstance(inner, ReusePolicy)
    arm, dense = CachedPolicy(loaded, ReuseNothing.around(inner)), CachedPolicy(loaded, build_cache_policy("none"))
    arm.reset(0)
    dense.reset(0)
    for index, observation in enumerate(episode.observations(8, loaded.info.views)[:4]):
        ours, theirs = arm.infer(observation), dense.infer(observation)
        assert np.array_equal(ours.actions, theirs.actions)
        assert ours.stats.reuse_ratio == 0 and ours.stats.macs > theirs.stats.macs
        if index:
            assert ours.stats.fallback == "break_even"
            assert ours.trace is not None and ours.trace.static.any(), "similarity was not computed"
