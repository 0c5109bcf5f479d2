"""The sceneries of the Google robot's tasks: files, and where they stand."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

import sapien

from runners.envs.simpler.google_settings import NO_STAGE, ROOM_STAGE
from runners.envs.simpler.google_tasks import task_layouts
from runners.envs.simpler.objects import DATASET, STAGE_ROTATION
from runners.envs.simpler.selection import listed

#: Of every stage, m.
_OFFSET = (1.6616, 3.0337, 0.0)
#: Stages that are moved within their body beforehand: position (m) and orientation (wxyz).
_MOVED: dict[str, sapien.Pose] = {
    "modern_bedroom_no_roof": sapien.Pose([0.178, -2.235, 1.669], [0.007, 0.0, 0.0, -1.0]),
    "modern_office_no_roof": sapien.Pose([-0.192, -1.728, 1.48], [0.709, 0.0, 0.0, -0.705]),
}
_ROOMS = frozenset({ROOM_STAGE, NO_STAGE, *_MOVED})


def has_contacts(stage: str) -> bool:
    """Whether things rest on the stage; rooms around a cabinet are only seen."""
    return stage not in _ROOMS


def stage_path(stage: str) -> Path:
    """The mesh of ``stage``, below the root of the assets; ``dummy_drawer`` has none."""
    return DATASET / "stages" / f"{stage}.glb"


def stage_file(root: Path, stage: str) -> Path:
    """The mesh of ``stage``.

    Raises:
        RuntimeError: it is missing.
    """
    path = root / stage_path(stage)
    if not path.is_file():
        raise RuntimeError(
            f"assets: stages/{path.name} is missing; get it with `python -m mani_skill.utils.download_asset "
            "bridge_v2_real2sim -y`, or choose other settings with suite.settings"
        )
    return path


def check_stages(root: Path, suite: str, layouts: Iterable[tuple[int, int]]) -> None:
    """Refuse layouts whose stage is missing from the assets, before the first episode.

    Args:
        root: of ManiSkill's assets. layouts: task id and layout of each episode.

    Raises:
        RuntimeError: names every missing file with the settings that show it, and the settings that remain.
    """
    missing: dict[str, set[str]] = defaultdict(set)
    remaining: dict[str, None] = {}
    for task_id, index in layouts:
        layout = task_layouts(suite, task_id)[index]
        stage = layout.setting.stage
        if stage == NO_STAGE or (root / stage_path(stage)).is_file():
            remaining[layout.setting_name] = None
        else:
            missing[stage].add(layout.setting_name)
    if missing:
        lacking = set().union(*missing.values())
        remaining = {name: None for name in remaining if name not in lacking}
        files = ", ".join(f"stages/{stage}.glb (setting {', '.join(sorted(missing[stage]))})" for stage in missing)
        others = "choose other tasks with suite.task_ids"
        rest = f"leave these settings out: suite.settings={listed(remaining)}" if remaining else others
        raise RuntimeError(
            f"assets: {files} missing; get them with `python -m mani_skill.utils.download_asset bridge_v2_real2sim "
            f"-y`, or {rest}"
        )


def stage_pose(stage: str) -> tuple[sapien.Pose, sapien.Pose]:
    """Pose of the static body, and of the mesh in it. Meshes have y up."""
    return sapien.Pose(_OFFSET), _MOVED.get(stage, sapien.Pose()) * sapien.Pose(q=STAGE_ROTATION)
