"""One episode's state: when it is cold, what it compares with, how old things get, and that nothing survives reset."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from vlacache.core.decision import CacheDecision
from vlacache.core.flops import DecoderShape
from vlacache.core.layout import TokenLayout
from vlacache.core.motion import Motion
from vlacache.core.policies import build_cache_policy
from vlacache.core.policies.base import ReusePolicy
from vlacache.core.session import CacheSession

SHAPE = DecoderShape(num_layers=4, num_heads=2, hidden_size=16, intermediate_size=24)


class Attention:
    """Stands in for a prefill's readout."""

    def __init__(self, session: CacheSession, layout: TokenLayout) -> None:
        self.readout = session.readout(layout, causal=False)
        if self.readout is not None:
            self.readout.scores = torch.linspace(0, 1, layout.num_patches)
            if self.readout.request.entropy_layers:
                self.readout.entropies = torch.ones(len(self.readout.request.entropy_layers))


def call(session: CacheSession, layout: TokenLayout, frames: Tensor, **keys: Any) -> CacheDecision:
    """One call as the model makes it."""
    keys = {"prompt": "a", "cameras": "c", "head_rows": 6, **keys}
    decision = session.decide(frames, layout, **keys)
    session.commit(decision, Attention(session, layout).readout)
    return decision


def make(name: str, **numbers: Any) -> CacheSession:
    return CacheSession(build_cache_policy(name, numbers), SHAPE, dtype=torch.float32, device=torch.device("cpu"))


@pytest.fixture
def frames() -> Tensor:
    return torch.randint(40, 200, (2, 3, 8, 8), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


def test_first_call_is_cold_and_the_second_reuses(oft_layout: TokenLayout, frames: Tensor) -> None:
    session = make("fixed_ratio", reuse_ratio=0.5)
    assert call(session, oft_layout, frames).reason == "cold"
    second = call(session, oft_layout, frames)
    assert second.reason is None and second.reuse_ratio == 0.5


@pytest.mark.parametrize(
    ("change", "reason"), [({"prompt": "b"}, "prompt_changed"), ({"cameras": "d"}, "cameras_changed")]
)
def test_a_changed_prompt_or_camera_drops_everything(
    oft_layout: TokenLayout, frames: Tensor, change: dict[str, str], reason: str
) -> None:
    session = make("adaptive", tau=0.0)
    call(session, oft_layout, frames)
    call(session, oft_layout, frames)
    assert session.max_age == 1
    decision = session.decide(frames, oft_layout, **{"prompt": "a", "cameras": "c", "head_rows": 6, **change})
    assert decision.reason == reason and decision.is_dense
    assert session.age is None and session._scores is None and session._entropies is None and session._reference is None


def test_a_longer_prompt_is_cold(oft_layout: TokenLayout, frames: Tensor) -> None:
    session = make("fixed_ratio")
    call(session, oft_layout, frames)
    longer = TokenLayout.build(
        [("bos", "bos", 1), ("agentview", "vision", 16), ("wrist", "vision", 16), ("text", "text", 20)], (4, 4)
    )
    assert call(session, longer, frames).reason == "cold"
    assert session.kv.capacity == longer.num_tokens


def test_reset_leaves_no_trace(oft_layout: TokenLayout, frames: Tensor) -> None:
    """A used session after reset decides like a new one, call by call, random numbers included."""
    used, fresh = make("random", reuse_ratio=0.5), make("random", reuse_ratio=0.5)
    for _ in range(3):
        call(used, oft_layout, frames)
    used.reset(7)
    fresh.reset(7)
    for _ in range(4):
        a, b = call(used, oft_layout, frames), call(fresh, oft_layout, frames)
        assert a.reason == b.reason and torch.equal(a.leave_layer, b.leave_layer)
        assert used.max_age == fresh.max_age


def test_a_call_that_fails_half_way_makes_the_next_one_cold(oft_layout: TokenLayout, frames: Tensor) -> None:
    session = make("fixed_ratio")
    call(session, oft_layout, frames)
    session.decide(frames, oft_layout, prompt="a", cameras="c", head_rows=6)  # the model raises before commit
    assert call(session, oft_layout, frames).reason == "cold"


def test_commit_without_decide_is_refused(oft_layout: TokenLayout) -> None:
    session = make("fixed_ratio")
    with pytest.raises(RuntimeError, match="without decide"):
        session.commit(CacheDecision.dense(oft_layout, 4, "cold"), None)
    with pytest.raises(RuntimeError, match="allocated by ask"):
        _ = session.kv


def test_age_counts_calls_and_max_age_bounds_it(oft_layout: TokenLayout, frames: Tensor) -> None:
    session = make("static", tau=0.9, top_k=256, first_layer=0, max_age=3)
    ages = []
    for _ in range(10):
        call(session, oft_layout, frames)
        ages.append(session.max_age)
    assert ages == [0, 1, 2, 3, 0, 1, 2, 3, 0, 1]


def test_refresh_every(oft_layout: TokenLayout, frames: Tensor) -> None:
    session = make("fixed_ratio", refresh_every=3)
    reasons = [call(session, oft_layout, frames).reason for _ in range(7)]
    assert reasons == ["cold", None, None, "refresh", None, None, "refresh"]


def drift(steps: int) -> list[Tensor]:
    """A picture that gets brighter by half a per cent a call."""
    base = torch.full((2, 3, 8, 8), 100.0)
    return [base * 1.005**step for step in range(steps)]


@pytest.mark.parametrize("numbers", [{"first_layer": 0}, {"first_layer": 16}])
def test_slow_drift_is_seen(oft_layout: TokenLayout, numbers: dict[str, int]) -> None:
    """Each step passes the test against the last frame; the sum must not, in any layer that still depends on it."""
    session = make("adaptive", tau=0.999, task_top_k=0, schedule_base=1.0, max_age=None, refresh_every=None,
                   min_saving=0.0, max_backoff=0, **numbers)  # fmt: skip
    reused = [not call(session, oft_layout, f).is_dense for f in drift(30)]
    longest = max(len(run) for run in "".join("x" if r else " " for r in reused).split())
    # dice >= 0.999 allows a relative change of about 4.5 %: nine steps of 0.5 %, then everything is recomputed.
    assert 5 <= longest <= 9


def test_the_previous_frame_reference_never_sees_that_drift(oft_layout: TokenLayout) -> None:
    """The published rule's blind spot, and the reason for ours."""
    session = make("static", tau=0.999, top_k=256, first_layer=0)
    reused = [not call(session, oft_layout, f).is_dense for f in drift(30)]
    assert reused == [False] + [True] * 29


def test_reference_advances_only_where_all_layers_were_recomputed(oft_layout: TokenLayout, frames: Tensor) -> None:
    session = make("adaptive", tau=0.9, task_top_k=0, schedule_base=1.0, first_layer=16, min_saving=0.0)
    call(session, oft_layout, frames)
    moved = frames.clone()
    moved[0, :, :2, :2] = 255 - moved[0, :, :2, :2]  # patch 0 changes
    moved[0, :, :2, 2:4] += 1  # patch 1 changes a little and is reused in the deep layers
    decision = call(session, oft_layout, moved)
    assert decision.leave_layer[0] == 4 and decision.leave_layer[1] == 2
    assert session._reference is not None
    reference = session._reference.patches(oft_layout)
    from vlacache.core.similarity import patchify

    now, before = patchify(moved, (4, 4)), patchify(frames, (4, 4))
    assert torch.equal(reference[0], now[0]) and torch.equal(reference[1], before[1])


def test_below_break_even_it_runs_dense_and_backs_off(oft_layout: TokenLayout, frames: Tensor) -> None:
    """Frames that always change: asked in calls 1, 6 and 15, silent for 4 and 8 in between."""
    session = make("static", tau=1.0, max_backoff=8)
    asked = []
    for step in range(24):
        noise = torch.randint(0, 255, frames.shape, generator=torch.Generator().manual_seed(step), dtype=torch.uint8)
        decision = call(session, oft_layout, noise)
        assert decision.is_dense and decision.reason == ("cold" if step == 0 else "break_even")
        if step and decision.similarity is not None:
            asked.append(step)
    assert asked == [1, 6, 15]


def test_backoff_ends_with_a_hit(oft_layout: TokenLayout, frames: Tensor) -> None:
    session = make("static", tau=0.99, top_k=256, first_layer=0)
    other = 255 - frames
    reasons = [call(session, oft_layout, f).reason for f in (frames, *[other] * 7)]
    assert reasons == ["cold", *["break_even"] * 5, None, None]


def test_attention_is_read_just_before_a_silent_session_asks_again(oft_layout: TokenLayout, frames: Tensor) -> None:
    session = make("static_task", tau=1.0, top_k=256)
    read = []
    for step in range(10):
        noise = torch.randint(0, 255, frames.shape, generator=torch.Generator().manual_seed(step), dtype=torch.uint8)
        decision = session.decide(noise, oft_layout, prompt="a", cameras="c", head_rows=6)
        attention = Attention(session, oft_layout).readout
        if attention is not None:
            read.append(step)
        session.commit(decision, attention)
    assert read == [0, 5]  # cold, and before the question in call 6


@pytest.mark.parametrize(("calls", "expected"), [("dense", [4, 0, 0, 4, 0]), ("all", [4, 4, 4, 4, 4])])
def test_entropies_are_read_in_these_calls(
    oft_layout: TokenLayout, frames: Tensor, calls: str, expected: list[int]
) -> None:
    session = make("adaptive", tau=0.0, refresh_every=3, entropy_calls=calls)
    seen = []
    for _ in range(5):
        decision = session.decide(frames, oft_layout, prompt="a", cameras="c", head_rows=6)
        attention = Attention(session, oft_layout)
        assert attention.readout is not None and attention.readout.request.relevance_layers
        seen.append(len(attention.readout.request.entropy_layers))
        session.commit(decision, attention.readout)
        assert session.entropies is not None and session.entropies.numel() == 4
    assert seen == expected


def test_a_call_that_turns_out_dense_reads_entropies(oft_layout: TokenLayout, frames: Tensor) -> None:
    session = make("adaptive", tau=0.0, min_saving=1.0, max_backoff=0)
    for _ in range(3):
        decision = session.decide(frames, oft_layout, prompt="a", cameras="c", head_rows=6)
        readout = Attention(session, oft_layout).readout
        assert decision.is_dense and readout is not None and len(readout.request.entropy_layers) == 4
        session.commit(decision, readout)


def test_what_follows_slow_or_gripping_actions_is_dense(oft_layout: TokenLayout, frames: Tensor) -> None:
    motions = {"quick": Motion(0.9, False), "slow": Motion(0.4, False), "grips": Motion(0.9, True), "unknown": None}
    session = make("adaptive", tau=0.0, refresh_every=None, max_age=None, min_saving=0.0, dense_below_speed=0.5)
    told, entropies = [], []
    for name in ("quick", "quick", "slow", "quick", "grips", "unknown", "quick"):
        decision = session.decide(frames, oft_layout, prompt="a", cameras="c", head_rows=6)
        told.append(decision.reason)
        readout = Attention(session, oft_layout).readout
        assert readout is not None
        entropies.append(len(readout.request.entropy_layers))
        session.commit(decision, readout, motions[name])
    assert told == ["cold", None, None, "precise_motion", None, "precise_motion", None]
    assert entropies == [4, 0, 0, 0, 0, 0, 0], "a delicate call is no refresh: entropies drift slowly, reading costs"
    session.commit(session.decide(frames, oft_layout, prompt="a", cameras="c", head_rows=6), None, motions["slow"])
    session.reset(1)
    assert session.decide(frames, oft_layout, prompt="a", cameras="c", head_rows=6).reason == "cold"


@pytest.mark.parametrize(
    ("numbers", "motion", "is_dense"),
    [
        ({}, Motion(0.0, True), False),
        ({"dense_below_speed": 0.5}, Motion(0.49, False), True),
        ({"dense_below_speed": 0.5}, Motion(0.5, True), False),
        ({"dense_at_grip": True}, Motion(0.0, False), False),
        ({"dense_at_grip": True}, Motion(0.0, True), True),
    ],
)
def test_published_rules_ask_for_it_by_name(numbers: dict[str, Any], motion: Motion, is_dense: bool) -> None:
    policy = build_cache_policy("paper", numbers)
    assert isinstance(policy, ReusePolicy) and policy.wants_dense(motion) is is_dense


def test_none_keeps_no_state(oft_layout: TokenLayout, frames: Tensor) -> None:
    session = make("none")
    for _ in range(3):
        decision = call(session, oft_layout, frames)
        assert decision.reason == "policy_none" and session._reference is None and session.age is None
