"""The pictures of the WidowX tasks: camera, lights, and SIMPLER's photo behind robot and objects."""

from __future__ import annotations

from pathlib import Path

from runners.envs.simpler.bridge_tasks import SINK, BridgeTask
from runners.envs.simpler.look import CameraLook, Light, Look, MeshLook, UrdfLook
from runners.envs.simpler.objects import DATASET, STAGE_ROTATION, load_models
from runners.envs.simpler.widowx import WIDOWX_MODEL

CAMERA = "3rd_view_camera"
STAGE_OFFSET = (2.0634, 2.8313, 0.0)
_THREE_LIGHTS = (Light((0, 0, -1), 2.2), Light((-1, -0.5, -1), 0.7), Light((1, 1, -1), 0.7))
_SINK_LIGHT = (Light((0, 0, -1), 0.3),)


def bridge_look(root: Path, task: BridgeTask) -> Look:
    """The look of every layout of ``task``."""
    setup = task.setup
    models = load_models(root, task.info)
    # In the sink the photo is drawn over the basket and the plane in it, which physics alone needs.
    hidden = {"sink", task.target} if setup == SINK else set()
    names = [task.source, task.target, *(["sink"] if setup == SINK else [])]
    return Look(
        robots=(UrdfLook("robot", root / WIDOWX_MODEL.urdf, specular=0.9, roughness=0.3),),
        meshes=(
            MeshLook("arena", root / DATASET / "stages" / setup.stage, False, STAGE_ROTATION, STAGE_OFFSET),
            *(MeshLook(name, models[name].visual, name not in hidden) for name in names),
        ),
        lights=_THREE_LIGHTS if setup.bright else _SINK_LIGHT,
        ambient=0.3,
        camera=CameraLook(
            name=CAMERA,
            mount="robot/base_link",
            position=setup.camera_position,
            quaternion=setup.camera_quaternion,
            width=640,
            height=480,
            focal=(623.588, 623.588),
            center=(319.501, 239.545),
            near=0.01,
            far=10.0,
        ),
        photo=root / DATASET / "real_inpainting" / setup.photo,
    )
