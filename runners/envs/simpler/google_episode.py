"""One episode of a Google robot task: a scene of its own, from the settled objects to the last step."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import sapien
from numpy.typing import NDArray
from sapien import physx

from runners.envs.simpler.contacts import touches_others
from runners.envs.simpler.google_cabinet import START_OPEN
from runners.envs.simpler.google_control import GoogleController
from runners.envs.simpler.google_grasp import is_grasped
from runners.envs.simpler.google_layouts import GoogleLayout
from runners.envs.simpler.google_look import google_look
from runners.envs.simpler.google_robot import FINGERS, NUM_SUBSTEPS, START_QPOS, base_pose, episode_recipe, google_model
from runners.envs.simpler.google_rules import (
    Body,
    DrawerFlags,
    NearFlags,
    PickFlags,
    PlaceFlags,
    drawer_flags,
    half_diagonal,
    near_flags,
    pick_flags,
    place_flags,
)
from runners.envs.simpler.google_settle import add_surroundings, settle_layout
from runners.envs.simpler.google_tasks import GoogleTask, instruction_of, model_file, second_instruction
from runners.envs.simpler.objects import add_object, body_of, center_of_mass, load_models
from runners.envs.simpler.physics import new_scene
from runners.envs.simpler.robot import Robot
from runners.envs.simpler.rotations import matrix_of

GoogleFlags = PickFlags | NearFlags | DrawerFlags | PlaceFlags

#: Place apple: steps after which the instruction changes by itself.
SECOND_SUBTASK_FROM = 100


class GoogleEpisode:
    """Scene, robot, objects and cabinet of one layout; ready to be stepped.

    Attributes:
        objects: model id -> entity; the order is that of ``layout.order``, distractors last.
        settled: where they rested, world frame. settle_phases: seconds of each settling call.
        second_subtask: of place-apple; its instruction follows one step later, as upstream's.
    """

    def __init__(self, root: Path, task: GoogleTask, layout: GoogleLayout) -> None:
        self.task, self.layout = task, layout
        self.look = google_look(root, task, layout)
        rest = settle_layout(root, task, layout)
        self.settled, self.settle_phases = rest.poses, rest.phases
        self.scene = new_scene(episode_recipe(task.contact_offset))
        self.robot = Robot(self.scene, root, google_model(layout.urdf))
        self.cabinet = add_surroundings(self.scene, root, layout)
        self.objects = self._add_objects(root)
        self.robot.set_state(START_QPOS)
        self.robot.drive_to(range(len(START_QPOS)), np.array(START_QPOS))  # nothing else ever commands the head
        self.robot.set_base_pose(base_pose(*layout.robot))
        if self.cabinet is not None:
            self.cabinet.set_opening(task.drawer, 0.0 if task.opens else START_OPEN)
        self._controller = GoogleController(self.robot)
        self._num_steps = 0
        self.second_subtask = False
        self.instruction = instruction_of(task, layout)
        self.flags = self._first_flags()

    def _add_objects(self, root: Path) -> dict[str, sapien.Entity]:
        """Objects at rest. They sleep: rounding would make a resting orange roll."""
        models = load_models(root, model_file(self.task, matched=self.layout.setting.matched))
        self._extents = {name: models[name].extents for name in self.settled}
        densities = {placed.model: placed.density for placed in self.layout.objects}
        objects = {
            name: add_object(self.scene, models[name], pose, density=densities.get(name))
            for name, pose in self.settled.items()
        }
        for entity in objects.values():
            body_of(entity).put_to_sleep()
        return objects

    def step(self, action: NDArray[np.floating]) -> bool:
        """One control step; whether the task is done after it."""
        if self.second_subtask:
            self.instruction = second_instruction(self.task, self.layout)
        if self.task.family == "place" and self._num_steps >= SECOND_SUBTASK_FROM:
            self.second_subtask = True
        self._controller.command(np.asarray(action, dtype=np.float64))
        drive, simulate = self._controller.drive, self.scene.step
        for substep in range(1, NUM_SUBSTEPS + 1):
            drive(substep)
            simulate()
        self._num_steps += 1
        self.flags = self._evaluate()
        return self.flags.success

    def proprio(self) -> NDArray[np.float32]:
        """Tool position (m) 3, quaternion wxyz 4 in the base's frame, mean finger angle (rad): float32[8]."""
        pose = self.robot.tcp_at_base
        closing = self.robot.qpos[list(FINGERS)].mean()
        return np.concatenate([pose.p, pose.q, [closing]]).astype(np.float32)

    def tool_pose(self) -> sapien.Pose:
        """World pose of the tool."""
        return self.robot.tcp.entity_pose

    def poses(self) -> Mapping[str, sapien.Pose]:
        """World poses of everything that can be seen, by the names of ``Look``."""
        links = {f"robot/{name}": link.entity_pose for name, link in self.robot.links.items()}
        if self.cabinet is not None:
            links |= {f"cabinet/{name}": link.entity_pose for name, link in self.cabinet.links.items()}
        return {**links, **{name: entity.pose for name, entity in self.objects.items()}}

    def _first_flags(self) -> GoogleFlags:
        family = self.task.family
        if family == "pick":
            return PickFlags()
        if family == "near":
            return NearFlags()
        return PlaceFlags() if family == "place" else DrawerFlags(qpos=self.cabinet.opening(self.task.drawer))

    def _evaluate(self) -> GoogleFlags:
        family = self.task.family
        if family == "pick":
            return self._evaluate_pick()
        if family == "near":
            source, target, *others = (self._body(placed.model) for placed in self.layout.objects)
            return near_flags(source, target, others)
        opening = self.cabinet.opening(self.task.drawer)
        if family != "place":
            return drawer_flags(opening, opens=self.task.opens)
        apple = self.objects[self.layout.objects[0].model]
        touches = self.cabinet.presses_bottom(self._contacts_of(apple), self.task.drawer, apple)
        return place_flags(self.flags, qpos=opening, touches_bottom=touches, second_subtask=self.second_subtask)

    def _evaluate_pick(self) -> PickFlags:
        name = self.layout.objects[0].model
        target = self.objects[name]
        contacts = self._contacts_of(target)
        return pick_flags(
            self.flags,
            grasped=is_grasped(self.robot, contacts, target),
            touches_scene=touches_others(contacts, target, self.robot.links),
            rise=float(target.pose.p[2] - self.settled[name].p[2]),
        )

    def _contacts_of(self, entity: sapien.Entity) -> list[physx.PhysxContact]:
        """Of the last physics step; most are the robot's wheels on the floor."""
        body = body_of(entity)
        return [contact for contact in self.scene.physx_system.get_contacts() if body in contact.bodies]

    def _body(self, name: str) -> Body:
        entity, settled = self.objects[name], self.settled[name]
        size = half_diagonal(matrix_of(settled.q), self._extents[name])
        return Body(np.asarray(entity.pose.p), center_of_mass(entity), np.asarray(settled.p), size)
