"""Solver settings of the original simulator (SAPIEN 2.2.2, PhysX 4) as far as SAPIEN 3 has them, and new scenes."""

from __future__ import annotations

from dataclasses import dataclass

import sapien
from sapien import physx

#: SAPIEN 2's defaults, which SIMPLER keeps.
BOUNCE_THRESHOLD = 2.0
SLEEP_THRESHOLD = 0.005
GRAVITY = (0.0, 0.0, -9.81)


@dataclass(frozen=True, slots=True)
class PhysicsRecipe:
    """What decides how bodies move and touch.

    Attributes:
        sim_hz, control_hz: physics steps and control steps a second.
        contact_offset: metres between shapes at which contacts begin to be computed.
        tgs: temporal Gauss-Seidel solver instead of projected. position_iterations, velocity_iterations: of it.
        friction: static and dynamic, of everything without a material of its own.
    """

    sim_hz: int
    control_hz: int
    contact_offset: float
    tgs: bool = True
    position_iterations: int = 25
    velocity_iterations: int = 1
    friction: float = 1.0

    @property
    def substeps(self) -> int:
        """Physics steps in a control step."""
        return self.sim_hz // self.control_hz


def new_scene(recipe: PhysicsRecipe) -> sapien.Scene:
    """A scene without a renderer. SAPIEN reads its settings from globals: build the bodies before another scene."""
    physx.set_scene_config(
        gravity=GRAVITY,
        bounce_threshold=BOUNCE_THRESHOLD,
        enable_pcm=False,
        enable_tgs=recipe.tgs,
        enable_ccd=False,
        enable_friction_every_iteration=True,
    )
    physx.set_body_config(recipe.position_iterations, recipe.velocity_iterations, SLEEP_THRESHOLD)
    physx.set_shape_config(contact_offset=recipe.contact_offset, rest_offset=0.0)
    physx.set_default_material(recipe.friction, recipe.friction, 0.0)
    scene = sapien.Scene([physx.PhysxCpuSystem()])
    scene.set_timestep(1.0 / recipe.sim_hz)
    return scene
