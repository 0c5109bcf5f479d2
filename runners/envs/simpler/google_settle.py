"""Where the objects of a Google robot layout come to rest.

They fall in a scene of their own, without the robot (the original parks it 10 m away) and with the original's solver.
Episodes use another solver, under which the same fall ends millimetres away.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import sapien

from runners.envs.simpler.google_cabinet import Cabinet
from runners.envs.simpler.google_layouts import GoogleLayout, Placed, distractor_spots
from runners.envs.simpler.google_robot import SIM_HZ, settle_recipe
from runners.envs.simpler.google_stage import has_contacts, stage_file, stage_pose
from runners.envs.simpler.google_tasks import GoogleTask, model_file
from runners.envs.simpler.objects import add_object, body_of, load_models, static_mesh
from runners.envs.simpler.physics import new_scene
from runners.envs.simpler.rest_poses import Drop, DropCase, known_rest
from runners.envs.simpler.settle import DROP_S, FREE, MORE_S, REST_S, is_moving, settle, wait

#: Height from which objects are dropped: the table and half a metre.
DROP_Z = 0.87 + 0.5
#: Distractors fall straight down.
_STRAIGHT = [True, True, False, True, True, False]


@dataclass(frozen=True, slots=True)
class Settled:
    """``poses``: of every object at rest, world frame. ``phases``: seconds of each settling call for the objects."""

    poses: dict[str, sapien.Pose]
    phases: list[float]


def with_distractors(layout: GoogleLayout) -> tuple[Placed, ...]:
    """The objects in the order in which they are built, and the distractors after them."""
    objects = [layout.objects[at] for at in layout.order or range(len(layout.objects))]
    names = layout.setting.distractors
    if not names:
        return tuple(objects)
    target = layout.objects[0]
    spots = distractor_spots(target.xy, len(names))
    return (*objects, *(Placed(name, spot, target.turn) for name, spot in zip(names, spots, strict=True)))


def settle_layout(root: Path, task: GoogleTask, layout: GoogleLayout) -> Settled:
    """Drop the objects of ``layout`` and wait until they rest, unless it is known where the original's do.

    Raises:
        RuntimeError: a file of the assets is missing.
    """
    case = drop_case(root, task, layout)
    if case is not None and (rest := known_rest(case)) is not None:
        return Settled({name: sapien.Pose(pose[:3], pose[3:]) for name, pose in rest.poses.items()}, rest.phases)
    scene = new_scene(settle_recipe(task.contact_offset))
    add_surroundings(scene, root, layout)
    models = load_models(root, model_file(task, matched=layout.setting.matched))
    bodies: dict[str, sapien.Entity] = {}
    phases: list[float] = []
    for placed in with_distractors(layout):
        pose = sapien.Pose((*placed.xy, DROP_Z), placed.turn)
        bodies[placed.model] = add_object(scene, models[placed.model], pose, density=placed.density)
        if len(bodies) == len(layout.objects):
            phases = settle(scene, list(bodies.values()), SIM_HZ)
        elif len(bodies) > len(layout.objects):
            body_of(bodies[placed.model]).set_locked_motion_axes(_STRAIGHT)
            wait(scene, DROP_S, SIM_HZ)
    _free(scene, [bodies[name] for name in layout.setting.distractors])
    return Settled({name: entity.pose for name, entity in bodies.items()}, phases)


def drop_case(root: Path, task: GoogleTask, layout: GoogleLayout) -> DropCase | None:
    """What decides where the objects of ``layout`` rest; None beside a cabinet and with distractors."""
    setting = layout.setting
    if not has_contacts(setting.stage) or setting.distractors:
        return None
    models = load_models(root, model_file(task, matched=setting.matched))
    outer, inner = stage_pose(setting.stage)
    drops = (
        Drop(placed.model, model.collision, placed.xy, placed.turn, placed.density or model.density)
        for placed, model in ((placed, models[placed.model]) for placed in with_distractors(layout))
    )
    return DropCase(
        stage=stage_file(root, setting.stage),
        stage_pose=(*map(float, outer.p), *map(float, outer.q)),
        stage_inner=(*map(float, inner.p), *map(float, inner.q)),
        drops=tuple(drops),
        sim_hz=SIM_HZ,
        contact_offset=task.contact_offset,
    )


def _free(scene: sapien.Scene, distractors: Sequence[sapien.Entity]) -> None:
    """Let the distractors tilt and roll, one after the other as upstream does."""
    for entity in distractors:
        body = body_of(entity)
        body.set_locked_motion_axes(FREE)
        entity.set_pose(entity.pose)
        body.set_linear_velocity(np.zeros(3))
        body.set_angular_velocity(np.zeros(3))
        wait(scene, REST_S, SIM_HZ)
    if distractors and is_moving(distractors):
        wait(scene, MORE_S, SIM_HZ)


def add_surroundings(scene: sapien.Scene, root: Path, layout: GoogleLayout) -> Cabinet | None:
    """The table of ``layout``, or its cabinet, which is returned. Rooms around a cabinet have no contacts."""
    setting = layout.setting
    if setting.station is not None:
        return Cabinet(scene, root, setting.station)
    if has_contacts(setting.stage):
        static_mesh(scene, stage_file(root, setting.stage), *stage_pose(setting.stage))
    return None
