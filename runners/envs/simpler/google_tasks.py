"""The eleven Google robot tasks by id, for visual matching and for variant aggregation."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Literal

from runners.envs.simpler.google_layouts import (
    GoogleLayout,
    drawer_layouts,
    near_layouts,
    pick_layouts,
    place_layouts,
)

VM_SUITE, VA_SUITE = "simpler_google_vm", "simpler_google_va"
Family = Literal["pick", "near", "open", "close", "place"]
Info = Literal["info_pick_custom_v0.json", "info_pick_custom_baked_tex_v0.json", "info_pick_custom_baked_tex_v1.json"]


@dataclass(frozen=True, slots=True)
class GoogleTask:
    """One task.

    Attributes:
        name: in tables. family: which rules count. drawer: ``top``, ``middle`` or ``bottom``, where there is one.
        max_steps: upstream's. contact_offset: m.
    """

    name: str
    family: Family
    max_steps: int
    contact_offset: float
    drawer: str = ""

    @property
    def opens(self) -> bool:
        """The drawer starts closed."""
        return self.family != "close"


_PICKS = tuple(GoogleTask(f"pick_coke_can_{how}", "pick", 80, 0.02) for how in ("horizontal", "vertical", "standing"))
_DRAWERS = ("top", "middle", "bottom")
GOOGLE_TASKS: tuple[GoogleTask, ...] = (
    *_PICKS,
    GoogleTask("move_near", "near", 80, 0.005),
    *(GoogleTask(f"open_{drawer}_drawer", "open", 113, 0.02, drawer) for drawer in _DRAWERS),
    *(GoogleTask(f"close_{drawer}_drawer", "close", 113, 0.02, drawer) for drawer in _DRAWERS),
    GoogleTask("place_apple_in_closed_top_drawer", "place", 200, 0.005, "top"),
)


@cache
def task_layouts(suite: str, task_id: int) -> tuple[GoogleLayout, ...]:
    """Layouts of one task in the order of its ``init_index``: colours (VM) or settings (VA) outside, places inside."""
    matched = suite == VM_SUITE
    family = GOOGLE_TASKS[task_id].family
    if family == "pick":
        return pick_layouts(task_id, matched=matched)
    if family == "near":
        return near_layouts(matched=matched)
    return place_layouts(matched=matched) if family == "place" else drawer_layouts(matched=matched)


def model_file(task: GoogleTask, *, matched: bool) -> Info:
    """The info file that describes the objects of a task."""
    if not matched or task.family == "pick":
        return "info_pick_custom_v0.json"
    return "info_pick_custom_baked_tex_v0.json" if task.family == "near" else "info_pick_custom_baked_tex_v1.json"


_DROPPED = frozenset({"opened", "light", "generated", "modified", "objaverse", "bridge", "baked", "v2"})


def spoken_name(model: str) -> str:
    """A model id as the instructions say it: ``baked_opened_7up_can_v2`` -> ``7up can``."""
    return " ".join(word for word in model.split("_") if word not in _DROPPED and not word.endswith("cm"))


def instruction_of(task: GoogleTask, layout: GoogleLayout) -> str:
    """In words, at the start of an episode."""
    names = [spoken_name(placed.model) for placed in layout.objects]
    if task.family == "pick":
        return f"pick {names[0]}"
    if task.family == "near":
        return f"move {names[0]} near {names[1]}"
    return f"{'open' if task.opens else 'close'} {task.drawer} drawer"


def second_instruction(task: GoogleTask, layout: GoogleLayout) -> str:
    """What place-apple says once its drawer should be open."""
    return f"place {spoken_name(layout.objects[0].model)} into {task.drawer} drawer"
