"""The pictures of the Google robot's tasks: overhead camera, lights, photo or scenery."""

from __future__ import annotations

from pathlib import Path

import sapien

from runners.envs.simpler.google_cabinet import cabinet_file
from runners.envs.simpler.google_layouts import GoogleLayout
from runners.envs.simpler.google_robot import CAMERA_LINK, google_model
from runners.envs.simpler.google_settings import DRAWER_LIGHTS, NO_STAGE, TABLE_LIGHTS
from runners.envs.simpler.google_settle import with_distractors
from runners.envs.simpler.google_stage import stage_file, stage_pose
from runners.envs.simpler.google_tasks import GoogleTask, model_file
from runners.envs.simpler.look import CameraLook, Look, MeshLook, UrdfLook
from runners.envs.simpler.objects import DATASET, load_models

CAMERA = "overhead_camera"
#: The set that SIMPLER's published numbers were made with; ManiSkill's own has another one, tuned by hand.
_CAMERA = CameraLook(
    name=CAMERA,
    mount=f"robot/{CAMERA_LINK}",
    position=(0.0, 0.0, 0.0),
    quaternion=(0.5, 0.5, -0.5, 0.5),
    width=640,
    height=512,
    focal=(425.0, 425.0),
    center=(320.0, 256.0),
    near=0.1,
    far=10.0,
)
#: Half size (m) of the white plate that stands for a room.
_PLATE = (10.0, 10.0, 0.017)


def google_look(root: Path, task: GoogleTask, layout: GoogleLayout) -> Look:
    """The look of one layout.

    Raises:
        RuntimeError: the scenery is missing from the assets.
    """
    setting = layout.setting
    models = load_models(root, model_file(task, matched=setting.matched))
    # Upstream's `disable_bad_material`: the cabinet's photos go with the arm's own materials.
    shiny = not (setting.matched and setting.station is not None)
    arm = UrdfLook(
        "robot",
        root / google_model(layout.urdf).urdf,
        specular=0.9 if shiny else None,
        roughness=0.3 if shiny else None,
    )
    cabinets = () if setting.station is None else (UrdfLook("cabinet", cabinet_file(root, setting.station)),)
    lights = (TABLE_LIGHTS if setting.station is None else DRAWER_LIGHTS)[setting.lights]
    names = [placed.model for placed in with_distractors(layout)]
    return Look(
        robots=(arm, *cabinets),
        meshes=(_stage(root, setting.stage), *(MeshLook(name, models[name].visual) for name in names)),
        lights=lights.lights,
        ambient=lights.ambient,
        camera=_CAMERA,
        photo=None if layout.photo is None else root / DATASET / "real_inpainting" / layout.photo,
    )


def _stage(root: Path, stage: str) -> MeshLook:
    outer, inner = stage_pose(stage)
    if stage == NO_STAGE:
        return MeshLook("arena", None, foreground=False, half_size=_PLATE, position=_vector(outer))
    pose = outer * inner
    w, x, y, z = (float(value) for value in pose.q)
    return MeshLook("arena", stage_file(root, stage), False, (w, x, y, z), _vector(pose))


def _vector(pose: sapien.Pose) -> tuple[float, float, float]:
    x, y, z = (float(value) for value in pose.p)
    return (x, y, z)
