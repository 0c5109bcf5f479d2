"""Pictures: a scene that holds the visuals alone, posed like the physics scene whenever a frame is asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from pathlib import Path

import numpy as np
import sapien
from numpy.typing import NDArray
from PIL import Image

from runners.envs.simpler.files import missing_files
from runners.envs.simpler.look import CameraLook, Look, MeshLook, UrdfLook
from runners.envs.simpler.robot import urdf_builder

#: SAPIEN's physically based rasterizer, and four floats in 0 .. 1 for each pixel.
SHADERS, COLOR_FORMAT = "default", "r32g32b32a32sfloat"
#: Third index of SAPIEN's segmentation: the entity that a pixel belongs to.
ENTITY_CHANNEL = 1


@dataclass(frozen=True, slots=True)
class Frame:
    """One picture.

    Attributes:
        image: uint8[H, W, 3], upright RGB. body: int16[H, W], index into ``names`` of the body that a pixel shows,
            -1 where it shows the photo.
    """

    image: NDArray[np.uint8]
    body: NDArray[np.int16]
    names: tuple[str, ...]

    @property
    def objects(self) -> NDArray[np.bool_]:
        """bool[H, W]: pixels that show something else than the photo and the robot."""
        return np.isin(self.body, [at for at, name in enumerate(self.names) if not name.startswith("robot/")])


class Canvas:
    """The render scene of this process, shared by all envs; it holds the bodies of one look at a time.

    One for the process, because the first picture of every new scene takes seconds (6.6 s of CPU time on lavapipe), and
    pictures after a change of bodies, lights or camera do not.
    """

    def __init__(self) -> None:
        try:
            self._scene = sapien.Scene([sapien.render.RenderSystem(_device())])
        except RuntimeError as error:
            raise RuntimeError(
                f"no Vulkan device for pictures ({error}): on an NVIDIA machine install its driver, otherwise run "
                "`make setup-simpler`, which adds Mesa's software renderer to the environment"
            ) from error
        self._look: Look | None = None
        self._bodies: dict[str, sapien.Entity] = {}
        self._foreground: dict[str, bool] = {}
        self._others: list[sapien.Entity] = []
        self._camera: sapien.render.RenderCameraComponent | None = None

    def draw(self, look: Look, poses: Mapping[str, sapien.Pose]) -> Frame:
        """See ``draw``."""
        self._show(look)
        for name, entity in self._bodies.items():
            if name in poses:
                entity.set_pose(poses[name])
        local = sapien.Pose(look.camera.position, look.camera.quaternion)
        self._camera.entity.set_pose(poses[look.camera.mount] * local)
        self._scene.update_render()
        self._camera.take_picture()
        color = self._camera.get_picture("Color")[..., :3]
        shown = self._camera.get_picture("Segmentation")[..., ENTITY_CHANNEL]
        return self._compose(look, color, shown)

    def _compose(self, look: Look, color: NDArray[np.float32], shown: NDArray[np.uint32]) -> Frame:
        names = tuple(name for name in self._bodies if self._foreground[name])
        index = np.full(int(shown.max()) + 1, -1, dtype=np.int16)
        for at, name in enumerate(names):
            identity = self._bodies[name].per_scene_id
            if identity < len(index):
                index[identity] = at
        body = index[shown]
        if look.photo is None:
            return Frame(_bytes(color), body, names)
        image = _photo(look.photo, look.camera.width, look.camera.height).copy()
        seen = body >= 0
        image[seen] = _bytes(color[seen])
        return Frame(image, body, names)

    def _show(self, look: Look) -> None:
        """Exchange the bodies, lights and camera unless they are those of ``look`` already."""
        if self._look is not None and replace(look, photo=None) == replace(self._look, photo=None):
            return
        self._clear()
        scene = self._scene
        scene.set_ambient_light([look.ambient] * 3)
        for light in look.lights:
            component = scene.add_directional_light(light.direction, [light.intensity] * 3, shadow=light.shadow)
            self._others.append(component.entity)
        for robot in look.robots:
            self._add_robot(robot)
        for mesh in look.meshes:
            self._add(mesh.name, _mesh_component(scene, mesh), mesh.foreground)
        self._camera = _add_camera(scene, look.camera)
        self._others.append(self._camera.entity)
        self._look = look

    def _clear(self) -> None:
        for entity in [*self._bodies.values(), *self._others]:
            self._scene.remove_entity(entity)
        self._bodies.clear()
        self._foreground.clear()
        self._others.clear()
        self._look, self._camera = None, None

    def _add_robot(self, look: UrdfLook) -> None:
        for link in urdf_builder(self._scene, look.file).link_builders:
            if link.visual_records:
                component = link.build_render_component()
                _set_material(component, roughness=look.roughness, specular=look.specular)
                self._add(f"{look.name}/{link.name}", component, foreground=True)

    def _add(self, name: str, component: sapien.Component, foreground: bool) -> None:
        entity = sapien.Entity()
        entity.add_component(component)
        entity.name = name
        self._scene.add_entity(entity)
        self._bodies[name] = entity
        self._foreground[name] = foreground


def _device() -> sapien.Device:
    """As ManiSkill chooses it: a process that holds both may use one device only."""
    try:
        return sapien.Device("cuda")
    except RuntimeError:
        return sapien.Device("cpu")


@cache
def _canvas() -> Canvas:
    return Canvas()


def check_renderer() -> None:
    """Raise ``RuntimeError`` where nothing can be drawn: there is no Vulkan device."""
    _canvas()


def draw(look: Look, poses: Mapping[str, sapien.Pose]) -> Frame:
    """Render ``look`` with its bodies at ``poses`` (world frame); bodies without a pose stay where they are modelled.

    Raises:
        RuntimeError: no Vulkan device, a missing file, or the renderer failed.
    """
    try:
        return _canvas().draw(look, poses)
    except RuntimeError:
        _canvas.cache_clear()  # a device that was lost stays lost: the next env draws on a new one
        raise


def _mesh_component(scene: sapien.Scene, mesh: MeshLook) -> sapien.render.RenderBodyComponent:
    builder = scene.create_actor_builder()
    pose = sapien.Pose(mesh.position, mesh.quaternion)
    if mesh.file is None:
        material = sapien.render.RenderMaterial(base_color=[*mesh.color, 1.0])
        builder.add_box_visual(pose, mesh.half_size, material)
    else:
        builder.add_visual_from_file(str(mesh.file), pose)
    component = builder.build_render_component()
    _set_material(component, metallic=mesh.metallic, roughness=mesh.roughness, specular=mesh.specular)
    return component


def _set_material(component: sapien.render.RenderBodyComponent, **values: float | None) -> None:
    """Set the named properties of every part's material; None leaves one as the file has it.

    Baked textures are emissive, in files that name no strength: the original shows them, SAPIEN 3 would leave them
    black, as the file format says.
    """
    for shape in component.render_shapes:
        parts = shape.parts if isinstance(shape, sapien.render.RenderShapeTriangleMesh) else [shape]
        for part in parts:
            if part.material.emission_texture is not None and not any(part.material.emission[:3]):
                part.material.emission = [1.0, 1.0, 1.0, 1.0]
            for name, value in values.items():
                if value is not None:
                    setattr(part.material, name, value)


def _add_camera(scene: sapien.Scene, look: CameraLook) -> sapien.render.RenderCameraComponent:
    # Both are settings of the process, and ManiSkill sets others for its own cameras.
    sapien.render.set_camera_shader_dir(SHADERS)
    sapien.render.set_picture_format("Color", COLOR_FORMAT)
    entity = sapien.Entity()
    camera = sapien.render.RenderCameraComponent(look.width, look.height)
    camera.set_perspective_parameters(look.near, look.far, *look.focal, *look.center, 0.0)
    entity.add_component(camera)
    entity.name = camera.name = look.name
    scene.add_entity(entity)
    return camera


@lru_cache(maxsize=16)
def _photo(path: Path, width: int, height: int) -> NDArray[np.uint8]:
    """uint8[H, W, 3]. Raises ``RuntimeError`` when the file is missing."""
    if not path.is_file():
        raise missing_files([path])
    picture = Image.open(path).convert("RGB")
    if picture.size != (width, height):
        picture = picture.resize((width, height), Image.Resampling.BILINEAR)
    # To floats and back as upstream does, which darkens some values by one.
    return _bytes(np.asarray(picture, dtype=np.float32) / np.float32(255.0))


def _bytes(color: NDArray[np.float32]) -> NDArray[np.uint8]:
    """From 0 .. 1 to bytes, cut off rather than rounded, as upstream does."""
    return np.clip(color * np.float32(255.0), 0.0, 255.0).astype(np.uint8)
