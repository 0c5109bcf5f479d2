"""Which layouts of the Google robot's tasks a run takes: settings by name, evenly. Needs no simulator."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import chain

from runners.envs.simpler.google_tasks import VA_SUITE, VM_SUITE, task_layouts
from runners.suggest import suggestion


def setting_names(suite: str, task_id: int) -> tuple[str, ...]:
    """Settings of a task in the order of its layouts; empty for a suite without."""
    if suite not in (VM_SUITE, VA_SUITE):
        return ()
    return tuple(dict.fromkeys(layout.setting_name for layout in task_layouts(suite, task_id)))


def select_layouts(suite: str, task_id: int, settings: Sequence[str] | None) -> tuple[int, ...]:
    """Layouts of a Google robot task: the first place of every setting, then the second of every setting ...

    So the first n of them, which ``suite.episodes_per_task`` takes, spread evenly over the settings.

    Args:
        settings: names, or None for all; those of other tasks are passed over.
    """
    places: dict[str, list[int]] = defaultdict(list)
    for index, layout in enumerate(task_layouts(suite, task_id)):
        if settings is None or layout.setting_name in settings:
            places[layout.setting_name].append(index)
    return tuple(chain.from_iterable(zip(*places.values(), strict=True)))


def check_settings(suite: str, task_ids: Sequence[int], settings: Sequence[str]) -> None:
    """Raise ``ValueError`` for a setting that none of the tasks has, or a task that has none of the settings."""
    known = {task_id: setting_names(suite, task_id) for task_id in task_ids}
    every = tuple(dict.fromkeys(chain.from_iterable(known.values())))
    if not every:
        raise ValueError(f"suite.settings: of {VM_SUITE} and {VA_SUITE}, got suite={suite}; leave it null")
    if not settings or len(set(settings)) < len(settings):
        raise ValueError(f"suite.settings: expected at least one name, each once, got {list(settings)}; null means all")
    for name in settings:
        if name not in every:
            raise ValueError(
                f"suite.settings: no setting {name!r}{suggestion(name, every)}; {suite} has {', '.join(every)} for "
                "these tasks"
            )
    for task_id, names in known.items():
        if not set(names) & set(settings):
            raise ValueError(
                f"suite.settings={listed(settings)}: task {task_id} has none of these but {', '.join(names)}; add one "
                "of them, or leave the task out of suite.task_ids"
            )


def listed(names: Iterable[str]) -> str:
    """As the command line takes it: ``[base,darker]``."""
    return f"[{','.join(names)}]"
