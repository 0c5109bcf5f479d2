"""Whether the assets have every file that planned episodes need: found out before the first of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from runners.envs.simpler.bridge_look import bridge_look
from runners.envs.simpler.bridge_tasks import BRIDGE_TASKS
from runners.envs.simpler.files import missing_files
from runners.envs.simpler.google_look import google_look
from runners.envs.simpler.google_stage import check_stages
from runners.envs.simpler.google_tasks import GOOGLE_TASKS, model_file, task_layouts
from runners.envs.simpler.look import Look
from runners.envs.simpler.objects import load_models
from runners.envs.simpler.selection import setting_names


def check_files(root: Path, suite: str, layouts: Iterable[tuple[int, int]]) -> None:
    """Refuse layouts that lack a file.

    Args:
        root: of ManiSkill's assets. layouts: task id and layout of each episode.

    Raises:
        RuntimeError: names the files and what fetches them; of missing sceneries also the settings that remain.
    """
    planned = list(dict.fromkeys(layouts))
    has_settings = bool(setting_names(suite, 0))
    if has_settings:
        check_stages(root, suite, planned)
    files = _google_files(root, suite, planned) if has_settings else _bridge_files(root, {task for task, _ in planned})
    missing = {file for file in files if not file.is_file()}
    if missing:
        raise missing_files(missing)


def _google_files(root: Path, suite: str, layouts: Iterable[tuple[int, int]]) -> Iterator[Path]:
    for task_id, index in layouts:
        task, layout = GOOGLE_TASKS[task_id], task_layouts(suite, task_id)[index]
        yield from _look_files(google_look(root, task, layout))
        models = load_models(root, model_file(task, matched=layout.setting.matched))
        yield from (models[placed.model].collision for placed in layout.objects)


def _bridge_files(root: Path, tasks: Iterable[int]) -> Iterator[Path]:
    for task_id in sorted(tasks):
        task = BRIDGE_TASKS[task_id]
        yield from _look_files(bridge_look(root, task))
        yield from (load_models(root, task.info)[name].collision for name in (task.source, task.target))


def _look_files(look: Look) -> Iterator[Path]:
    yield from (robot.file for robot in look.robots)
    yield from (mesh.file for mesh in look.meshes if mesh.file is not None)
    if look.photo is not None:
        yield look.photo
