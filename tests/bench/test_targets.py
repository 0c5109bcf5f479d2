"""What was asked of each device, judged from rungs and rows; figures of given calls."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest

from tests.bench.measured import measured, row
from vlacache.bench.compare import Call, Measured, summarize
from vlacache.bench.ladder import (
    DENSE,
    KNOWN_DRAFTS,
    MAC_RATIO_ARM,
    SCRIPT,
    SPECULATIVE,
    WRONG_DRAFTS,
    build_rung,
)
from vlacache.bench.roofline import DeviceRates
from vlacache.bench.targets import Target, check_speculation, check_targets
from vlacache.models.factory import LoadedModel


def test_targets_are_judged_by_device(twins: dict[str, LoadedModel]) -> None:
    assert Target("a", 1.9, 2.0, True).met and not Target("a", 1.9, 2.0, False).met
    assert Target("a", None, 2.0, True).met is None
    arms = {DENSE: measured([50.0, 10.0], ["policy_none"] * 2), SCRIPT: measured([90.0, 25.0], ["policy_none"] * 2)}
    rates = DeviceRates(1e15, {"float32": 1e15})
    rungs = {name: build_rung(name, arms, twins["openvla"].model, rates) for name in arms}
    targets = {target.name: target for target in check_targets(rungs, {}, "openvla", "cuda")}
    assert targets["eager+attentions call / dense call"].value == pytest.approx((1.8 + 2.5) / 2, rel=0.2)
    assert targets["eager+attentions call / dense call"].met is False
    assert targets["dense call / floor"].met is False
    assert len(check_targets(rungs, {}, "openvla_oft", "cuda")) == len(targets) + 1
    cpu = check_targets(rungs, {"fixed_ratio=0.8": row(0.7), MAC_RATIO_ARM: row(0.9)}, "tiny_oft", "cpu")
    assert [(t.name.partition(", ")[2], t.value, t.met) for t in cpu[1:]] == [
        (MAC_RATIO_ARM, 0.9, True), ("worst (fixed_ratio=0.8)", 0.7, False),
    ]  # fmt: skip
    assert all(t.met is None for t in check_targets(rungs, {}, "tiny_oft", "cpu"))


def test_the_gain_is_that_of_the_worst_arm_and_idle_ones_are_named(twins: dict[str, LoadedModel]) -> None:
    arms = {DENSE: measured([50.0, 10.0], ["policy_none"] * 2)}
    rung = build_rung(DENSE, arms, twins["openvla"].model, DeviceRates(1e15, {"float32": 1e15}))
    gains = {"adaptive": 0.9, "fixed_ratio=0.4": 0.7, "paper": 0.1, "adaptive at 0": 0.2}
    rungs = {DENSE: rung, **{name: replace(rung, share_of_floor_gain=gain) for name, gain in gains.items()}}
    rows = {name: replace(row(1.0), cached_calls=0.0 if name == "paper" else 0.5) for name in gains}
    (target,) = (t for t in check_targets(rungs, rows, "openvla", "cuda") if t.name.startswith("speed-up / gain"))
    assert target.name.endswith("worst (fixed_ratio=0.4; no cached call, left out: paper)")
    assert (target.value, target.met) == (0.7, False)


def test_deciding_is_judged_by_policies_that_decided() -> None:
    """One that never reuses backs off and hardly decides: a limit of 3 % would look reached."""
    rows = {
        "adaptive": replace(row(0.9), decide_share=0.05, cached_calls=0.8),
        "static": replace(row(0.9), decide_share=0.02, cached_calls=0.8),
        "paper": replace(row(0.9), decide_share=0.2, cached_calls=0.0),
    }
    target = check_targets({}, rows, "tiny_oft", "cpu")[0]
    assert (target.value, target.met) == (0.05, True)
    assert target.name.endswith("worst policy (adaptive; no cached call, left out: paper)")
    assert check_targets({}, {"paper": rows["paper"]}, "tiny_oft", "cpu")[0].met is None


def test_deciding_is_a_share_of_the_own_call() -> None:
    """Of the calls that reused something: not of the dense ones between them, which would make it look small."""
    dense = measured([50.0, 100.0, 50.0], ["policy_none"] * 3)
    ours = measured([50.0, 20.0, 90.0], ["cold", None, "refresh"])
    for call, decide_ms in zip(ours.calls[0], (0.0, 2.0, 9.0), strict=True):
        object.__setattr__(call.stats, "decide_ms", decide_ms)
    found = summarize("adaptive", ours, dense)
    assert (found.decide_ms, found.decide_share, found.p90_ms) == (2.0, 0.1, 20.0)


def test_speculation_is_judged_by_what_was_accepted() -> None:
    """Calls without a draft (None) count for neither goal, nor do those of another acceptance than the arm is for."""

    def calls(total_ms: list[float], accepted: list[int | None]) -> Measured:
        stats = [
            SimpleNamespace(total_ms=t, accepted_tokens=a, is_warmup=False, decode_ms=60.0)
            for t, a in zip(total_ms, accepted, strict=True)
        ]
        return Measured([[Call(s, 0.0, None) for s in stats]])  # type: ignore[arg-type]

    arms = {
        DENSE: calls([100.0, 100.0, 100.0, 100.0, 100.0], [None] * 5),
        SPECULATIVE: calls([1.0] * 5, [None, 6, 0, 0, 3]),
        KNOWN_DRAFTS: calls([1000.0, 40.0, 40.0, 110.0, 70.0], [None, 6, 6, 0, 3]),
        WRONG_DRAFTS: calls([1000.0, 40.0, 104.0, 110.0, 70.0], [None, 1, 0, 0, 3]),
    }
    everything, nothing = check_speculation(arms, 6, "cuda")
    assert (everything.value, everything.met) == (2.5, True) and "(2 calls)" in everything.name
    assert nothing.value == pytest.approx((100 / 104 + 100 / 110) / 2) and nothing.met is False
    share, nothing_on_cpu = check_speculation(arms, 6, "cpu")
    assert share.value == 2.5 / (100 / 40) and "(2.50x)" in share.name and nothing_on_cpu == nothing
    assert check_speculation({DENSE: arms[DENSE]}, 6, "cuda") == []
    assert check_speculation({**arms, KNOWN_DRAFTS: calls([9.0] * 5, [None] * 5)}, 6, "cuda")[0].met is None
