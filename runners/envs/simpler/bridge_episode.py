"""One episode of a WidowX task: a scene of its own, from the drop of the objects to the last step."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import sapien
from numpy.typing import NDArray

from runners.envs.simpler.bridge_look import STAGE_OFFSET, bridge_look
from runners.envs.simpler.bridge_rules import HELD_STEPS, BridgeFlags, is_on, moved
from runners.envs.simpler.bridge_tasks import DROP_Z, SINK, BridgeTask
from runners.envs.simpler.contacts import touches_others
from runners.envs.simpler.objects import (
    DATASET,
    STAGE_ROTATION,
    add_object,
    add_stage,
    body_of,
    center_of_mass,
    load_models,
)
from runners.envs.simpler.physics import new_scene
from runners.envs.simpler.rest_poses import Drop, DropCase, known_rest
from runners.envs.simpler.robot import Robot
from runners.envs.simpler.rotations import Quaternion, matrix_of
from runners.envs.simpler.settle import settle
from runners.envs.simpler.widowx import OPEN_M, RECIPE, WIDOWX_MODEL, WidowXController, is_grasped

SINK_POSITION = (-0.16, 0.13, 0.88)
#: Where the robot waits while objects settle.
PARKED = (-10.0, 0.0, 0.0)
TURNED = (0.0, 0.0, 0.0, 1.0)
AS_IS: Quaternion = (1.0, 0.0, 0.0, 0.0)


def drop_case(root: Path, task: BridgeTask, layout: int) -> DropCase:
    """What decides where the objects of ``layout`` rest."""
    models = load_models(root, task.info)
    source_xy, target_xy, turn = task.layouts[layout]

    def drop(name: str, xy: tuple[float, float], quaternion: Quaternion = AS_IS) -> Drop:
        return Drop(name, models[name].collision, xy, quaternion, models[name].density)

    sunk = task.setup == SINK
    return DropCase(
        stage=root / DATASET / "stages" / task.setup.stage,
        stage_pose=(*STAGE_OFFSET, *AS_IS),
        stage_inner=(0.0, 0.0, 0.0, *STAGE_ROTATION),
        drops=(drop(task.source, source_xy, turn), drop(task.target, target_xy)),
        sim_hz=RECIPE.sim_hz,
        contact_offset=RECIPE.contact_offset,
        fixed=drop("sink", SINK_POSITION[:2]) if sunk else None,
        fixed_position=SINK_POSITION if sunk else (),
    )


class BridgeEpisode:
    """Scene, robot and objects of one layout; ready to be stepped."""

    recipe = RECIPE

    def __init__(self, root: Path, task: BridgeTask, layout: int) -> None:
        self.task = task
        self._models = load_models(root, task.info)
        self.scene = new_scene(RECIPE)
        self.robot = Robot(self.scene, root, WIDOWX_MODEL)
        self.robot.set_state(task.setup.qpos)
        add_stage(self.scene, root / DATASET / "stages" / task.setup.stage, STAGE_OFFSET)
        self.objects = self._add_objects(layout)
        self.robot.set_base_pose(sapien.Pose(PARKED))
        self.settle_phases = self._settle(drop_case(root, task, layout))
        self.robot.set_state(task.setup.qpos)
        self.robot.set_base_pose(sapien.Pose(task.setup.base_position, TURNED))
        self._settled = {name: np.asarray(entity.pose.p, dtype=np.float64) for name, entity in self.objects.items()}
        self.boxes = {
            name: matrix_of(self.objects[name].pose.q) @ self._models[name].extents
            for name in (task.source, task.target)
        }
        self._controller = WidowXController(self.robot)
        self._held_steps = 0
        self.flags = BridgeFlags()
        self.instruction = task.instruction
        self.look = bridge_look(root, task)

    def _add_objects(self, layout: int) -> dict[str, sapien.Entity]:
        task = self.task
        source_xy, target_xy, turn = task.layouts[layout]
        poses = {
            task.source: sapien.Pose((*source_xy, DROP_Z), turn),
            task.target: sapien.Pose((*target_xy, DROP_Z)),
        }
        objects = {name: add_object(self.scene, self._models[name], pose) for name, pose in poses.items()}
        if task.setup == SINK:
            sink = add_object(self.scene, self._models["sink"], sapien.Pose(SINK_POSITION), damping=False)
            sink.components[0].set_locked_motion_axes([True] * 6)
            objects["sink"] = sink
        return objects

    def _settle(self, case: DropCase) -> list[float]:
        """Bring the objects to rest; seconds of each settling call."""
        rest = known_rest(case)
        if rest is None:
            return settle(self.scene, [self.objects[drop.name] for drop in case.drops], RECIPE.sim_hz)
        for name, pose in rest.poses.items():
            self.objects[name].set_pose(sapien.Pose(pose[:3], pose[3:]))
            body_of(self.objects[name]).put_to_sleep()
        return rest.phases

    @property
    def target_pose(self) -> sapien.Pose:
        """The controller's target of the tool, frame of the base."""
        return self._controller.target

    def step(self, action: NDArray[np.floating]) -> bool:
        """One control step; whether the task is done after it."""
        self._controller.command(action)
        for _ in range(RECIPE.substeps):
            self.robot.balance()
            self.scene.step()
        self.flags = self._evaluate()
        return self.flags.success

    def proprio(self) -> NDArray[np.float32]:
        """float32[8]: tool position (m) 3 and quaternion wxyz 4 in the frame of the base, opening of the gripper."""
        pose = self.robot.tcp_at_base
        opening = self.robot.qpos[6:8].mean() / OPEN_M
        return np.concatenate([pose.p, pose.q, [opening]]).astype(np.float32)

    def grip_point(self, along: float) -> NDArray[np.float64]:
        """Centre of mass of the source, ``along`` m further on its x axis: float64[3], frame of the base."""
        entity = self.objects[self.task.source]
        point = center_of_mass(entity) + along * matrix_of(entity.pose.q)[:, 0]
        return np.asarray((self.robot.base_pose.inv() * sapien.Pose(point)).p, dtype=np.float64)

    def source_axis_at_base(self, axis: int) -> NDArray[np.float64]:
        """Unit vector float64[3] of the source's axis 0, 1 or 2, frame of the base."""
        return (matrix_of(self.robot.base_pose.q).T @ matrix_of(self.objects[self.task.source].pose.q))[:, axis]

    def way_to_target(self) -> NDArray[np.float64]:
        """From the source's centre of mass to the target's: float64[3], m, frame of the base."""
        way = center_of_mass(self.objects[self.task.target]) - center_of_mass(self.objects[self.task.source])
        return matrix_of(self.robot.base_pose.q).T @ way

    def height_over_target(self) -> float:
        """Of the source's centre of mass over the target's, m."""
        return -float(self.way_to_target()[2])

    def tool_pose(self) -> sapien.Pose:
        """World pose of the tool."""
        return self.robot.tcp.entity_pose

    def poses(self) -> Mapping[str, sapien.Pose]:
        """World poses of everything that can be seen, by the names of ``Look``."""
        links = {f"robot/{name}": link.entity_pose for name, link in self.robot.links.items()}
        return {**links, **{name: entity.pose for name, entity in self.objects.items()}}

    def _evaluate(self) -> BridgeFlags:
        task, objects = self.task, self.objects
        source, target = objects[task.source], objects[task.target]
        contacts = self.scene.get_contacts()
        grasped = is_grasped(self.robot, contacts, source)
        self._held_steps = self._held_steps + 1 if grasped else 0
        # Upstream compares the centre of mass now with the settled origin, for the source alone.
        source_way = center_of_mass(source)[:2] - self._settled[task.source][:2]
        others = [
            float(np.linalg.norm(np.asarray(objects[task.target].pose.p)[:2] - self._settled[task.target][:2])),
        ]
        correct, wrong = moved(float(np.linalg.norm(source_way)), others)
        boxes = (self.boxes[task.source], self.boxes[task.target])
        on_target = is_on(center_of_mass(source), center_of_mass(target), *boxes, task.max_gap)
        if on_target and task.only_target_touched:
            on_target = not touches_others(contacts, source, {task.target, *self.robot.links})
        return BridgeFlags(
            moved_correct_obj=correct,
            moved_wrong_obj=wrong,
            is_src_obj_grasped=grasped,
            consecutive_grasp=self._held_steps >= HELD_STEPS,
            src_on_target=on_target,
        )
