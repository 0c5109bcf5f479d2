"""Expert of libero_object: "pick up the ... and place it in the basket", from privileged state."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from runners.envs.libero_state import LiberoState
from runners.experts.grasp import Grasp
from runners.experts.pick_place import PickAndPlace
from runners.experts.scripted import LiberoExpert, Skill
from runners.experts.squeeze_grasp import choose_squeeze_grasp

RELEASE_HEIGHT = 0.165  # of the grip site above the basket's origin: the fingers open just over the rim


class LiberoObjectExpert(LiberoExpert):
    """Plays every task of libero_object; the goal predicate names the object and the basket's region."""

    def plan(self, state: LiberoState) -> list[Skill]:
        """Squeeze the object and drop it into the basket."""
        (_, thing, region), *_ = state.goal
        basket = region.removesuffix("_contain_region")

        def over_basket(now: LiberoState, grasp: Grasp | None) -> NDArray[np.float64]:
            height = RELEASE_HEIGHT - (0.0 if grasp is None else grasp.offset[2])
            return now.object_pos(basket) + np.array([0.0, 0.0, height])

        return [PickAndPlace(thing, choose_squeeze_grasp, over_basket)]
