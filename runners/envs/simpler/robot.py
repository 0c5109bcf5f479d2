"""A robot arm in a physics scene: joints in the original's order, drives as it sets them, weight taken off."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import sapien
from numpy.typing import NDArray

from runners.envs.simpler.files import missing_files

#: Of SAPIEN's four collision groups: shapes that share a bit of this one do not touch. The bit is free in all URDFs.
IGNORE_GROUP, PASSING_BIT = 2, 1 << 20
#: Of the inverse kinematics, as upstream.
_IK_ITERATIONS = 100


@dataclass(frozen=True, slots=True)
class Drive:
    """A joint's PD drive in force mode.

    Attributes:
        stiffness, damping: N m/rad (N/m) and N m s/rad (N s/m). force_limit: N m or N.
    """

    stiffness: float
    damping: float
    force_limit: float


@dataclass(frozen=True, slots=True)
class LinkMaterial:
    """Friction of one link's shapes and the radius of its contact patches (m), which gives torsional friction."""

    static_friction: float
    dynamic_friction: float
    patch_radius: float


@dataclass(frozen=True, slots=True)
class RobotModel:
    """One robot as SIMPLER sets it up.

    Attributes:
        urdf: below the root of the assets. drives: joint -> drive, in SAPIEN 2's order of the active joints, which is
            the order of all joint vectors here. tcp: link that the commands move.
        materials: of the links that have their own. armature: kg m^2 (kg) added to joints that need it.
        multiple_collisions: each mesh file is loaded as its separate pieces.
        weightless: links feel no gravity, in place of ``balance`` before every physics step. For slow arms: Coriolis
            forces are not cancelled then.
        stops: joint -> its range in the simulation, where that is narrower than the one that clips drive targets.
        passing: links that pass through each other.
    """

    urdf: Path
    drives: Mapping[str, Drive]
    tcp: str
    materials: Mapping[str, LinkMaterial]
    armature: Mapping[str, float]
    multiple_collisions: bool = False
    weightless: bool = False
    stops: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    passing: tuple[str, ...] = ()


def urdf_builder(scene: sapien.Scene, urdf: Path, model: RobotModel | None = None) -> sapien.ArticulationBuilder:
    """Parse a URDF; ``model`` adds its materials.

    Raises:
        RuntimeError: the file is missing.
    """
    if not urdf.is_file():
        raise missing_files([urdf])
    loader = scene.create_urdf_loader()
    loader.fix_root_link = True
    if model is not None:
        loader.load_multiple_collisions_from_file = model.multiple_collisions
        for link, material in model.materials.items():
            loader.set_link_material(link, material.static_friction, material.dynamic_friction, 0.0)
            loader.set_link_patch_radius(link, material.patch_radius)
            loader.set_link_min_patch_radius(link, material.patch_radius)
    builders, _, _ = loader.parse(str(urdf))
    return builders[0]


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without SAPIEN's warning for each STL file that is loaded in pieces: the pieces are those of the original."""
    sapien.set_log_level("error")
    try:
        yield
    finally:
        sapien.set_log_level("warning")


class Robot:
    """The robot of one episode. Vectors of joints are in the order of ``RobotModel.drives``."""

    def __init__(self, scene: sapien.Scene, root: Path, model: RobotModel) -> None:
        builder = urdf_builder(scene, root / model.urdf, model)
        for link in builder.link_builders:
            link.visual_records.clear()  # pictures have a scene of their own
        with _quiet():
            self._articulation = builder.build()
        self._articulation.set_name("robot")
        names = [joint.name for joint in self._articulation.active_joints]
        self.joint_names = tuple(model.drives)
        #: SAPIEN 3 orders the joints otherwise than SAPIEN 2.
        self._index = np.array([names.index(name) for name in self.joint_names])
        joints = self._articulation.active_joints
        self._joints = [joints[i] for i in self._index]
        self.limits = np.array([joint.limits[0] for joint in self._joints], dtype=np.float64)
        for name, joint in zip(self.joint_names, self._joints, strict=True):
            drive = model.drives[name]
            joint.set_friction(0.0)
            joint.set_drive_properties(drive.stiffness, drive.damping, drive.force_limit, mode="force")
            if name in model.armature:
                joint.set_armature(np.array([model.armature[name]], dtype=np.float32))
            if name in model.stops:
                joint.set_limits(np.array([model.stops[name]], dtype=np.float32))
        self.links = {link.name: link for link in self._articulation.links}
        for link in self.links.values():
            link.set_disable_gravity(model.weightless)
        for name in model.passing:
            for shape in self.links[name].collision_shapes:
                groups = list(shape.get_collision_groups())
                groups[IGNORE_GROUP] |= PASSING_BIT
                shape.set_collision_groups(groups)
        self.tcp = self.links[model.tcp]
        self._pinocchio = self._articulation.create_pinocchio_model()
        self._set_force, self._passive_force = self._articulation.set_qf, self._articulation.compute_passive_force

    @property
    def qpos(self) -> NDArray[np.float64]:
        """Joint positions float64[J], rad or m."""
        return self._articulation.qpos[self._index].astype(np.float64)

    @property
    def qvel(self) -> NDArray[np.float64]:
        """Joint velocities float64[J], 1/s."""
        return self._articulation.qvel[self._index].astype(np.float64)

    @property
    def base_pose(self) -> sapien.Pose:
        """Of the root link, world frame."""
        return self._articulation.root_pose

    @property
    def tcp_at_base(self) -> sapien.Pose:
        """Pose of the tool in the frame of the root link."""
        return self.base_pose.inv() * self.tcp.entity_pose

    def set_base_pose(self, pose: sapien.Pose) -> None:
        """Move the whole robot."""
        self._articulation.set_root_pose(pose)

    def set_state(self, qpos: Sequence[float]) -> None:
        """Set positions; nothing moves."""
        self._articulation.set_qpos(self._unordered(qpos))
        self._articulation.set_qvel(self._unordered(np.zeros(len(self._index))))

    def drive_to(self, joints: Sequence[int], targets: NDArray[np.float64]) -> None:
        """Set drive targets of the joints with these indices.

        Positions are clipped to the joint limits: SAPIEN 2 does so by itself, SAPIEN 3 would push against the stop.
        """
        clipped = np.clip(targets, self.limits[joints, 0], self.limits[joints, 1])
        for at, joint in enumerate(joints):
            self._joints[joint].set_drive_target(float(clipped[at]))

    def drives_of(self, joints: Sequence[int]) -> tuple[list[Callable[[float], None]], list[Callable[[float], None]]]:
        """Setters of the joints' position and velocity targets, for who sets them before every physics step.

        Targets must be within ``limits``; ``drive_to`` clips, and costs as much as the step.
        """
        chosen = [self._joints[joint] for joint in joints]
        return [j.set_drive_target for j in chosen], [j.set_drive_velocity_target for j in chosen]

    def balance(self) -> None:
        """Before each physics step: cancel gravity and Coriolis forces, so that drives need not hold the weight."""
        self._set_force(self._passive_force())  # gravity and Coriolis, by default

    def inverse_kinematics(self, target: sapien.Pose, movable: Sequence[int]) -> NDArray[np.float64] | None:
        """Joint positions float64[J] that bring the tool to ``target`` (base frame), or None when none was found.

        Closed-loop, from the current positions; it knows no joint limits, as upstream's.
        """
        mask = np.zeros(len(self._index), dtype=np.int32)
        mask[self._index[list(movable)]] = 1
        result, success, _ = self._pinocchio.compute_inverse_kinematics(
            self.tcp.index,
            target,
            initial_qpos=self._articulation.qpos.astype(np.float64),
            active_qmask=mask,
            max_iterations=_IK_ITERATIONS,
        )
        return np.asarray(result, dtype=np.float64)[self._index] if success else None

    def _unordered(self, values: Sequence[float]) -> NDArray[np.float32]:
        """From our order to the articulation's."""
        raw = np.zeros(len(self._index), dtype=np.float32)
        raw[self._index] = values
        return raw
