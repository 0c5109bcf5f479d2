"""Objects and stages: what the info files of the asset pack say about them, and their bodies."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import sapien
from numpy.typing import NDArray
from sapien import physx

from runners.envs.simpler.files import missing_files
from runners.envs.simpler.pieces import convex_pieces

#: Below the root of ManiSkill's assets.
DATASET = Path("data/tasks/bridge_v2_real2sim_dataset")
MODELS = DATASET / "custom/models"
#: kg/m^3 where an info file names none.
DEFAULT_DENSITY = 1000.0
#: Of every object, static and dynamic.
FRICTION = 0.5
#: Linear and angular, 1/s; SAPIEN 3's own default is 0 and 0.05.
DAMPING = 0.1
#: m; in SAPIEN 2 the scene's contact offset counts for bodies that move, static ones keep this default.
STATIC_CONTACT_OFFSET = 0.002
#: The stages are modelled with y up.
STAGE_ROTATION = (0.707, 0.707, 0.0, 0.0)


@dataclass(frozen=True, slots=True)
class ObjectModel:
    """One object of an info file.

    Attributes:
        name: model id. folder: with ``collision.obj`` and a visual. extents: full box float[3], m.
        density: kg/m^3.
    """

    name: str
    folder: Path
    extents: tuple[float, float, float]
    density: float

    @property
    def visual(self) -> Path:
        """The textured mesh, in upstream's order of preference.

        Raises:
            RuntimeError: there is none.
        """
        for suffix in ("obj", "dae", "glb"):
            if (path := self.folder / f"textured.{suffix}").is_file():
                return path
        raise missing_files([self.folder / "textured.obj"])  # or .dae, or .glb

    @property
    def collision(self) -> Path:
        """The convex pieces.

        Raises:
            RuntimeError: the file is missing.
        """
        path = self.folder / "collision.obj"
        if not path.is_file():
            raise missing_files([path])
        return path


@cache
def load_models(root: Path, info: str) -> Mapping[str, ObjectModel]:
    """The objects of one info file, by name.

    Args:
        root: of ManiSkill's assets. info: file name, e.g. ``info_bridge_custom_v0.json``.

    Raises:
        RuntimeError: the file is missing.
    """
    path = root / DATASET / "custom" / info
    if not path.is_file():
        raise missing_files([path])
    entries = json.loads(path.read_text(encoding="utf-8"))
    return {
        name: ObjectModel(name, root / MODELS / name, _extents(entry), entry.get("density", DEFAULT_DENSITY))
        for name, entry in entries.items()
    }


def _extents(entry: Mapping[str, Mapping[str, list[float]]]) -> tuple[float, float, float]:
    low, high = entry["bbox"]["min"], entry["bbox"]["max"]
    x, y, z = (above - below for above, below in zip(high, low, strict=True))
    return (x, y, z)


def add_object(
    scene: sapien.Scene, model: ObjectModel, pose: sapien.Pose, *, density: float | None = None, damping: bool = True
) -> sapien.Entity:
    """A dynamic object at ``pose``, without a visual.

    Args:
        density: overrides the info file's. damping: False for upstream's few objects that keep SAPIEN's own.
    """
    material = physx.PhysxMaterial(FRICTION, FRICTION, 0.0)
    body = physx.PhysxRigidDynamicComponent()
    for vertices in convex_pieces(model.collision):
        shape = physx.PhysxCollisionShapeConvexMesh(vertices=vertices, scale=[1.0] * 3, material=material)
        shape.set_density(model.density if density is None else density)
        body.attach(shape)
    if damping:
        body.set_linear_damping(DAMPING)
        body.set_angular_damping(DAMPING)
    entity = sapien.Entity()
    entity.add_component(body)
    entity.set_name(model.name)
    entity.set_pose(pose)
    scene.add_entity(entity)
    return entity


def add_stage(scene: sapien.Scene, file: Path, offset: tuple[float, float, float]) -> sapien.Entity:
    """The static scenery ``arena``, shifted by ``offset``.

    Raises:
        RuntimeError: the file is missing.
    """
    if not file.is_file():
        raise missing_files([file])
    return static_mesh(scene, file, sapien.Pose(offset), sapien.Pose(q=STAGE_ROTATION))


def static_mesh(scene: sapien.Scene, file: Path, pose: sapien.Pose, inner: sapien.Pose) -> sapien.Entity:
    """The body ``arena`` at ``pose`` that never moves, with the triangles of ``file`` at ``inner`` in it."""
    builder = scene.create_actor_builder()
    builder.add_nonconvex_collision_from_file(str(file), pose=inner)
    builder.set_initial_pose(pose)
    entity = builder.build_static(name="arena")
    for shape in entity.find_component_by_type(physx.PhysxRigidStaticComponent).collision_shapes:
        shape.set_contact_offset(STATIC_CONTACT_OFFSET)
    return entity


def body_of(entity: sapien.Entity) -> physx.PhysxRigidDynamicComponent:
    """The moving body of an object."""
    return entity.find_component_by_type(physx.PhysxRigidDynamicComponent)


def center_of_mass(entity: sapien.Entity) -> NDArray[np.float64]:
    """float64[3], world frame, m."""
    return np.asarray((entity.pose * body_of(entity).cmass_local_pose).p, dtype=np.float64)
