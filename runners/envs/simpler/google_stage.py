"""The sceneries of the Google robot's tasks: files, and where they stand."""

from __future__ import annotations

from pathlib import Path

import sapien

from runners.envs.simpler.google_settings import NO_STAGE, ROOM_STAGE
from runners.envs.simpler.objects import DATASET, STAGE_ROTATION

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


def stage_file(root: Path, stage: str) -> Path:
    """The mesh of ``stage``.

    Raises:
        RuntimeError: it is missing.
    """
    path = root / DATASET / "stages" / f"{stage}.glb"
    if not path.is_file():
        raise RuntimeError(
            f"assets: stages/{path.name} is missing, which this setting of simpler_google_va needs; get it with "
            "`python -m mani_skill.utils.download_asset bridge_v2_real2sim -y`, or choose layouts of other settings "
            "with suite.init_indices (docs/simpler.md lists them)"
        )
    return path


def stage_pose(stage: str) -> tuple[sapien.Pose, sapien.Pose]:
    """Pose of the static body, and of the mesh in it. Meshes have y up."""
    return sapien.Pose(_OFFSET), _MOVED.get(stage, sapien.Pose()) * sapien.Pose(q=STAGE_ROTATION)
