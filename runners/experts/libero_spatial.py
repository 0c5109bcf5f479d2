"""Expert of libero_spatial: "pick up the black bowl ... and place it on the plate", from privileged state."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from runners.envs.libero_state import LiberoState
from runners.experts.grasp import Grasp
from runners.experts.pick_place import PickAndPlace
from runners.experts.rim_grasp import choose_rim_grasp
from runners.experts.scripted import LiberoExpert, Skill

RELEASE_HEIGHT = 0.026  # of the bowl's origin above the plate's


class LiberoSpatialExpert(LiberoExpert):
    """Plays every task of libero_spatial; the goal predicate names bowl and plate."""

    def plan(self, state: LiberoState) -> list[Skill]:
        """Seize the bowl by its rim and put it on the plate."""
        (_, bowl, plate), *_ = state.goal

        def on_plate(now: LiberoState, _: Grasp | None) -> NDArray[np.float64]:
            return now.object_pos(plate) + np.array([0.0, 0.0, RELEASE_HEIGHT])

        return [PickAndPlace(bowl, choose_rim_grasp, on_plate)]
