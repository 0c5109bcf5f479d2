"""Expert of libero_goal: ten goals in one scene, from privileged state."""

from __future__ import annotations

from functools import partial

import numpy as np
from numpy.typing import NDArray

from runners.envs.libero_state import LiberoState
from runners.experts.furniture import OpenDrawer, TurnKnob
from runners.experts.grasp import Grasp
from runners.experts.pick_place import Chooser, PickAndPlace, Place
from runners.experts.rim_grasp import PLATE_RIM, choose_rim_grasp
from runners.experts.scripted import LiberoExpert, Skill
from runners.experts.squeeze_grasp import choose_squeeze_grasp

ON_PLATE = 0.026  # heights of an object's origin above that of what it is put on, when it is let go
INTO_BOWL = 0.067
ON_BURNER = 0.028
ON_CABINET = 0.006
INTO_DRAWER = -0.020
CABINET_MARGIN = np.array([0.070, 0.039])  # a bowl this far off the middle of the cabinet's top stands on it wholly
#: On the lower part of the rack's upper shelf, in the rack's frame: a bottle that touches there counts as on it.
ON_RACK = np.array([0.0, -0.053, 0.236])


class LiberoGoalExpert(LiberoExpert):
    """Plays every task of libero_goal; the goal predicate says which."""

    def plan(self, state: LiberoState) -> list[Skill]:
        """Skills for the goal predicate.

        Raises:
            ValueError: a predicate that no task of libero_goal has.
        """
        predicate, *names = state.goal[0]
        match predicate, *names:
            case "open", region:
                return [OpenDrawer(_drawer_joint(region))]
            case "turnon", stove:
                return [TurnKnob(f"{stove}_button")]
            case "in", bowl, region:
                return [OpenDrawer(_drawer_joint(region)), _move(bowl, partial(_above_site, region, INTO_DRAWER))]
            case "on", thing, support:
                return [_move(thing, _place_on(support))]
        raise ValueError(f"libero_goal has no goal like {state.goal[0]}")


def _drawer_joint(region: str) -> str:
    """``wooden_cabinet_1_top_region`` -> ``wooden_cabinet_1_top_level``."""
    return region.removesuffix("_region") + "_level"


def _move(thing: str, place: Place) -> PickAndPlace:
    """Bowls are seized by the rim, the plate is slid by its rim, everything else is squeezed."""
    if "plate" in thing:
        return PickAndPlace(thing, partial(choose_rim_grasp, rim=PLATE_RIM), place, slide=True)
    choose: Chooser = choose_rim_grasp if "bowl" in thing else choose_squeeze_grasp
    return PickAndPlace(thing, choose, place)


def _place_on(support: str) -> Place:
    """Where to let go of something that shall be on an object or in a region."""
    if support.endswith("_cook_region"):
        return partial(_above_site, support, ON_BURNER)
    if support.endswith("_top_side"):
        return partial(_near_side_of_cabinet, support)
    if support.endswith("_top_region"):
        return partial(_on_rack, support.removesuffix("_top_region"))
    if support.endswith("_region"):
        return partial(_above_site, support, 0.0)
    return partial(_above_object, support, INTO_BOWL if "bowl" in support else ON_PLATE)


def _above_object(name: str, height: float, state: LiberoState, _: Grasp | None) -> NDArray[np.float64]:
    return state.object_pos(name) + np.array([0.0, 0.0, height])


def _above_site(name: str, height: float, state: LiberoState, _: Grasp | None) -> NDArray[np.float64]:
    return state.site_pos(name) + np.array([0.0, 0.0, height])


def _near_side_of_cabinet(name: str, state: LiberoState, _: Grasp | None) -> NDArray[np.float64]:
    """The place on the cabinet that is nearest to the robot."""
    middle = state.site_pos(name)
    shift = np.clip(state.base_pos[:2] - middle[:2], -CABINET_MARGIN, CABINET_MARGIN)
    return middle + np.array([*shift, ON_CABINET])


def _on_rack(name: str, state: LiberoState, _: Grasp | None) -> NDArray[np.float64]:
    return state.object_pos(name) + state.rotation(state.root_bodies[name]) @ ON_RACK
