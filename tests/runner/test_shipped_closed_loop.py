"""The shipped policy solves episodes in the simulator, and without eyes it does not."""

from __future__ import annotations

import pytest

from runners.closed_loop import ClosedLoop
from runners.controls.blind import BlindPolicy
from vlacache.core.policies import build_cache_policy
from vlacache.models.factory import ModelConfig, load_model
from vlacache.models.policy import CachedPolicy
from vlacache.types import Policy

pytestmark = pytest.mark.sim

# 6 episodes each. The bounds leave room for another processor's rounding: at the success rates of the model card the
# chance that a bound is broken is below one in a thousand.
TASKS, STATES = (0, 3, 7), (0, 1)
FLOOR, BLIND_CEILING = {"official": 3, "wide": 2}, 3


def successes(policy: Policy, placement: str) -> int:
    from runners.assets import resolve_assets
    from runners.envs.libero import make_libero_env

    assets = resolve_assets("builtin", suite="libero_spatial", render="fast")
    loop = ClosedLoop(
        "libero_spatial",
        {placement: lambda task: make_libero_env("libero_spatial", task, assets=assets, placement=placement)},
        TASKS,
        STATES,
    )
    return round(loop.evaluate(policy)["success"] * len(TASKS) * len(STATES))


@pytest.fixture(scope="module")
def policy() -> CachedPolicy:
    return CachedPolicy(load_model(ModelConfig("tiny_oft", checkpoint="builtin")), build_cache_policy("none"))


@pytest.mark.parametrize("placement", ["official", "wide"])
def test_it_solves_most_episodes(policy: CachedPolicy, placement: str) -> None:
    assert successes(policy, placement) >= FLOOR[placement]


def test_blind_it_does_not(policy: CachedPolicy) -> None:
    assert successes(BlindPolicy(policy), "wide") <= BLIND_CEILING
