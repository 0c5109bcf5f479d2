"""Which episode of which suite a recording of the original is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from runners.envs.simpler.bridge import BridgeStart
from runners.envs.simpler.bridge_tasks import BRIDGE_TASKS
from runners.envs.simpler.env import Episode
from runners.envs.simpler.google import GoogleStart
from runners.envs.simpler.google_layouts import PHOTO_POSES, PLACE_PHOTOS
from runners.envs.simpler.google_tasks import VM_SUITE
from runners.envs.simpler.replay import Recording

#: First word of a layout's name -> task id of ``simpler_widowx``.
WIDOWX_LAYOUTS: dict[str, int] = {"spoon": 0, "carrot": 1, "stack": 2, "egg": 3}


def start_recorded(recording: Recording, root: Path) -> Episode:
    """The episode that ``recording`` is of, ready for its first action.

    Args:
        root: of ManiSkill's assets.

    Raises:
        ValueError: no suite has such layouts.
    """
    family = recording.name.split("_")[0]
    if family not in _STARTERS:
        raise ValueError(f"recording {recording.name}: expected a layout of {', '.join(_STARTERS)}")
    return _STARTERS[family](recording, root)


def _start_widowx(recording: Recording, root: Path) -> Episode:
    family, layout = recording.name.split("__")[0].split("_")
    return BridgeStart(root, BRIDGE_TASKS[WIDOWX_LAYOUTS[family]]).start(int(layout))


def _start_google(recording: Recording, root: Path) -> Episode:
    task_id, layout = google_layout(recording.name)
    return GoogleStart(root, VM_SUITE, task_id).start(layout)


def google_layout(name: str) -> tuple[int, int]:
    """Task id and layout of ``simpler_google_vm`` that the recording ``name`` is of, e.g. ``open_top_a0__probe``."""
    words = name.split("__")[0].split("_")
    return _GOOGLE_LAYOUTS[words[0]](words[1:])


def _can(words: list[str]) -> tuple[int, int]:
    """``h_11``: how the can lies, column and row of the grid."""
    how, spot = words
    return "hvu".index(how), 5 * int(spot[0]) + int(spot[1])


def _near(words: list[str]) -> tuple[int, int]:
    return 3, int(words[0])


def _drawer(first_task: int) -> Callable[[list[str]], tuple[int, int]]:
    def layout(words: list[str]) -> tuple[int, int]:
        drawer, place = words
        return first_task + ("top", "mid", "bot").index(drawer), list(PHOTO_POSES).index(place)

    return layout


def _place(words: list[str]) -> tuple[int, int]:
    place, spot = words
    return 10, 9 * PLACE_PHOTOS.index(place) + 3 * int(spot[0]) + int(spot[1])


#: First word of a layout's name -> task id and layout of ``simpler_google_vm`` from the other words.
_GOOGLE_LAYOUTS: dict[str, Callable[[list[str]], tuple[int, int]]] = {
    "coke": _can,
    "near": _near,
    "open": _drawer(4),
    "close": _drawer(7),
    "place": _place,
}

_STARTERS: dict[str, Callable[[Recording, Path], Episode]] = {
    **dict.fromkeys(WIDOWX_LAYOUTS, _start_widowx),
    **dict.fromkeys(_GOOGLE_LAYOUTS, _start_google),
}
RECORDED_FAMILIES: tuple[str, ...] = tuple(_STARTERS)
