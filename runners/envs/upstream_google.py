"""The Google robot's tasks as the original package builds and resets them, from the same layouts as ours."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from runners.envs.simpler.google_layouts import GoogleLayout
from runners.envs.simpler.google_tasks import GOOGLE_TASKS, VM_SUITE, GoogleTask, instruction_of, task_layouts

CAMERA = "overhead_camera"
_CONTROL_MODE = (
    "arm_pd_ee_delta_pose_align_interpolate_by_planner_gripper_pd_joint_target_delta_pos_interpolate_by_planner"
)
#: Keywords of the three ways in which the can lies, by task id.
_CANS = ("lr_switch", "laid_vertically", "upright")
#: Our names of the lights and distractors of variant aggregation -> keywords of the table environments.
_TABLE_KEYWORDS: dict[str, dict[str, Any]] = {
    "darker": {"slightly_darker_lighting": True},
    "brighter": {"slightly_brighter_lighting": True},
    "distractors_few": {"distractor_config": "less"},
    "distractors_many": {"distractor_config": "more"},
    "no_distractor": {"no_distractor": True},
}


def env_id(task: GoogleTask, *, matched: bool) -> str:
    """Upstream's registered id."""
    if task.family == "pick":
        return "GraspSingleOpenedCokeCanInScene-v0"
    if task.family == "near":
        return f"MoveNearGoogle{'BakedTex' if matched else ''}InScene-v0"
    if task.family == "place":
        return "PlaceIntoClosedTopDrawerCustomInScene-v0"
    return f"{task.family.capitalize()}{task.drawer.capitalize()}DrawerCustomInScene-v0"


def build_keywords(task_id: int, layout: GoogleLayout) -> dict[str, Any]:
    """Keywords of ``build_maniskill2_env``, without the photo, whose folder only the package knows."""
    task, setting = GOOGLE_TASKS[task_id], layout.setting
    keywords: dict[str, Any] = {
        "obs_mode": "rgbd",
        "robot": "google_robot_static",
        "sim_freq": 513,
        "control_freq": 3,
        "control_mode": _CONTROL_MODE,
        "max_episode_steps": task.max_steps,
        "scene_name": setting.stage,
        "camera_cfgs": {"add_segmentation": True},
        "urdf_version": layout.urdf or None,
    }
    if task.family == "pick":
        keywords[_CANS[task_id]] = True
    if task.family in ("pick", "near"):
        return keywords | _TABLE_KEYWORDS.get(setting.name, {})
    keywords |= {"station_name": setting.station, "shader_dir": "rt"}
    if setting.matched:
        keywords |= {"light_mode": "simple", "disable_bad_material": True}
    elif setting.lights != "default":
        keywords["light_mode"] = setting.lights
    if task.family == "place":
        keywords["model_ids"] = layout.objects[0].model
    return keywords


def reset_options(task_id: int, layout: GoogleLayout, episode: int) -> Mapping[str, Any]:
    """``options`` of ``reset``. ``episode``: of move-near, 0 .. 59, which upstream turns into positions itself."""
    x, y, yaw = layout.robot
    # Turned by half a turn and the yaw about z: (0, 0, 0, 1) times the yaw, wxyz.
    turn = np.array([-math.sin(yaw / 2), 0.0, 0.0, math.cos(yaw / 2)])
    family = GOOGLE_TASKS[task_id].family
    if family == "near":
        objects: dict[str, Any] = {"episode_id": episode}
    else:
        objects = {"init_xy": np.array(layout.objects[0].xy if layout.objects else (0.0, 0.0))}
    return {"robot_init_options": {"init_xy": np.array([x, y]), "init_rot_quat": turn}, "obj_init_options": objects}


def episodes(suite: str, task_id: int) -> list[tuple[str, dict[str, Any], str | None, Mapping[str, Any], str]]:
    """(env id, build keywords, photo or None, reset options, setting) of each layout of a task, in our order."""
    task = GOOGLE_TASKS[task_id]
    name = env_id(task, matched=suite == VM_SUITE)
    return [
        (
            name,
            build_keywords(task_id, layout),
            layout.photo,
            reset_options(task_id, layout, index % 60),
            layout.setting_name,
        )
        for index, layout in enumerate(task_layouts(suite, task_id))
    ]


def first_instruction(suite: str, task_id: int) -> str:
    """Of the task's first layout."""
    return instruction_of(GOOGLE_TASKS[task_id], task_layouts(suite, task_id)[0])
