"""Floors: the published shapes against the fact sheet, and a call's work against what its stats say."""

from __future__ import annotations

import pytest
import torch

from vlacache.bench.random_weights import random_config, random_model
from vlacache.bench.roofline import DeviceRates, StageCost, call_costs, floor_ms, measure_rates
from vlacache.core.flops import prefill_macs
from vlacache.models.openvla import empty_model
from vlacache.models.prismatic import VLAModel
from vlacache.types import InferenceStats

#: Dense bf16 peaks and bandwidths of data sheets: MAC/s and bytes/s.
SHEETS = {"H100": DeviceRates(3.35e12, {"bfloat16": 989e12 / 2}), "H200": DeviceRates(4.8e12, {"bfloat16": 989e12 / 2})}


def published(name: str, tokens: int) -> tuple[VLAModel, InferenceStats]:
    """The 7B shapes on the meta device and the stats of a dense call."""
    model = empty_model(random_config(name, "7b")).to(torch.bfloat16)
    shape = model.config.decoder.shape
    macs = prefill_macs(shape, [tokens] * shape.num_layers, tokens, tokens)
    return model, InferenceStats(num_prompt_tokens=tokens, recomputed_tokens_mean=tokens, prefill_macs=macs)


@pytest.mark.parametrize(
    ("name", "tokens", "device", "expected_ms"),
    [("openvla", 285, "H100", 28.4), ("openvla", 285, "H200", 20.9), ("openvla_oft", 605, "H100", 9.0)],
)
def test_floors_of_the_published_models(name: str, tokens: int, device: str, expected_ms: float) -> None:
    """The fact sheet's floors (derived independently from data sheets)."""
    model, stats = published(name, tokens)
    floors = floor_ms(call_costs(model, stats), SHEETS[device])
    assert floors["total"] == pytest.approx(expected_ms, rel=0.03)
    assert floors["total"] == pytest.approx(sum(v for k, v in floors.items() if k != "total"))


def test_decode_is_the_share_that_no_token_cache_touches() -> None:
    model, stats = published("openvla", 285)
    floors = floor_ms(call_costs(model, stats), SHEETS["H100"])
    assert floors["decode"] / floors["total"] == pytest.approx(0.84, abs=0.01)
    alone = floor_ms(call_costs(model, stats, decode_passes=0), SHEETS["H100"])
    assert alone["total"] == pytest.approx(4.4, rel=0.03)


def test_a_stage_is_bound_by_the_slower_of_arithmetic_and_traffic() -> None:
    rates = DeviceRates(bytes_per_s=100.0, macs_per_s={"float32": 10.0})
    assert StageCost(macs=20, bytes=100, dtype="float32").floor_ms(rates) == 2000.0
    assert StageCost(macs=20, bytes=400, dtype="float32").floor_ms(rates) == 4000.0


def test_reuse_saves_bytes_of_new_keys_only() -> None:
    """Weights are read whatever the rows; K/V of reused rows are read, not written."""
    model, dense = published("openvla_oft", 600)
    half = InferenceStats(num_prompt_tokens=600, recomputed_tokens_mean=300, prefill_macs=dense.prefill_macs // 2)
    costs = [call_costs(model, stats)["prefill"] for stats in (dense, half)]
    assert costs[0].bytes - costs[1].bytes == 32 * 300 * 2 * 4096 * 2
    assert costs[1].macs == costs[0].macs // 2


def test_rates_are_measured_in_the_dtypes_of_the_model() -> None:
    model = random_model("cogact", "tiny", device=torch.device("cpu"), dtype=torch.bfloat16).model
    rates = measure_rates(model, repeats=1)
    assert set(rates.macs_per_s) == {"bfloat16", "float32"}, "the denoiser stays in float32"
    assert 1e8 < rates.bytes_per_s < 1e13 and all(1e8 < r < 1e16 for r in rates.macs_per_s.values())
    assert set(call_costs(model, InferenceStats(num_prompt_tokens=40))) == {
        "vision",
        "prefill",
        "decode",
        "action_head",
    }
    assert call_costs(model, InferenceStats())["action_head"].dtype == "float32"
