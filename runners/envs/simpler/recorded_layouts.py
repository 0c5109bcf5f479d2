"""Which episode of which suite a recording of the original is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from runners.envs.simpler.bridge import BridgeStart
from runners.envs.simpler.bridge_tasks import BRIDGE_TASKS
from runners.envs.simpler.env import Episode
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


_STARTERS: dict[str, Callable[[Recording, Path], Episode]] = dict.fromkeys(WIDOWX_LAYOUTS, _start_widowx)
RECORDED_FAMILIES: tuple[str, ...] = tuple(_STARTERS)
