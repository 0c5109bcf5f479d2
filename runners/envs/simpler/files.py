"""Files of ManiSkill's assets that are missing, and how to get them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

#: Folder below ``data/robots`` -> ManiSkill's download with it. Everything else is in that of the scenes.
_ROBOTS = {"googlerobot": "googlerobot", "widowx": "widowx250s"}
_SCENES = "bridge_v2_real2sim"


def missing_files(paths: Iterable[Path]) -> RuntimeError:
    """The error that names the files by their last two parts, and the commands that fetch them."""
    files = sorted(set(paths))
    names = ", ".join(f"{path.parent.name}/{path.name}" for path in files)
    sources = sorted({_source(path) for path in files})
    commands = " && ".join(f"python -m mani_skill.utils.download_asset {source} -y" for source in sources)
    are, them = ("is", "it") if len(files) == 1 else ("are", "them")
    return RuntimeError(
        f"assets: {names} {are} missing; get {them} with `{commands}`, or complete the folder that assets= names"
    )


def _source(path: Path) -> str:
    return next((name for part, name in _ROBOTS.items() if part in path.parts), _SCENES)
