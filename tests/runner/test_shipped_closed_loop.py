"""The shipped policies solve episodes in the simulator; without eyes, or without looking, almost none is solved."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from runners.closed_loop import ClosedLoop
from runners.controls.blind import BlindPolicy
from runners.controls.replay import ReplayPolicy
from runners.experts import build_expert
from vlacache.core.policies import build_cache_policy
from vlacache.models.factory import ModelConfig, load_model
from vlacache.models.policy import CachedPolicy
from vlacache.types import Policy

pytestmark = pytest.mark.sim

STATES = (0, 1)
TASKS = (0, 3, 7)
#: The bowl in the drawer: the weakest task of the wide placement, and of the official one with earlier weights.
WEAK_TASK = 4
#: Of 8 episodes; 8 and 7 were measured. At the card's success rates of these tasks the chance to be below is under one
#: in a thousand: room for another processor's rounding.
FLOOR = {"official": 5, "wide": 3}
#: The twin; official task 6 needs a turn of the hand by 75 degrees, which earlier weights never made. Of 4 episodes 4
#: and 2 were measured, its card has 38 of 40 and 34 of 40: the chance to be below these is under one in a thousand.
TWIN_TASKS = {"official": (3, 6), "wide": (0, 4)}
TWIN_FLOOR = {"official": 2, "wide": 1}
#: Of 6 episodes. Measured: blind 0 of 200 in either placement, replay 0 of 200 in the wide one.
CEILING = 1


def env_maker(placement: str) -> Callable[[int], Any]:
    from runners.assets import resolve_assets
    from runners.envs.libero import make_libero_env

    assets = resolve_assets("builtin", suite="libero_spatial", render="fast")
    return lambda task: make_libero_env("libero_spatial", task, assets=assets, placement=placement)


def successes(policy: Policy, placement: str, tasks: tuple[int, ...]) -> int:
    loop = ClosedLoop("libero_spatial", {placement: env_maker(placement)}, tasks, STATES)
    return round(loop.evaluate(policy)["success"] * len(tasks) * len(STATES))


@pytest.fixture(scope="module")
def policy() -> CachedPolicy:
    return CachedPolicy(load_model(ModelConfig("tiny_oft", checkpoint="builtin")), build_cache_policy("none"))


@pytest.mark.parametrize("placement", ["official", "wide"])
def test_it_solves_most_episodes(policy: CachedPolicy, placement: str) -> None:
    assert successes(policy, placement, (*TASKS, WEAK_TASK)) >= FLOOR[placement]


@pytest.fixture(scope="module")
def twin() -> CachedPolicy:
    return CachedPolicy(load_model(ModelConfig("tiny_openvla", checkpoint="builtin")), build_cache_policy("none"))


@pytest.mark.parametrize("placement", ["official", "wide"])
def test_its_causal_twin_solves_what_it_has_learned(twin: CachedPolicy, placement: str) -> None:
    assert successes(twin, placement, TWIN_TASKS[placement]) >= TWIN_FLOOR[placement]


def test_blind_the_twin_does_not(twin: CachedPolicy) -> None:
    assert successes(BlindPolicy(twin), "wide", TWIN_TASKS["wide"][1:]) == 0  # of 2; 0 of 20 were measured


@pytest.mark.parametrize("placement", ["official", "wide"])
def test_blind_it_does_not(policy: CachedPolicy, placement: str) -> None:
    assert successes(BlindPolicy(policy), placement, TASKS) <= CEILING


def test_another_episodes_actions_do_not_solve_a_wide_one() -> None:
    replay = ReplayPolicy(env_maker("wide"), build_expert("libero_spatial"))
    assert successes(replay, "wide", TASKS) <= CEILING
