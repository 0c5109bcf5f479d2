"""Names and sizes of the suites, for code that must load without the config libraries (training on a lent machine)."""

from __future__ import annotations

#: Tasks of each suite. 0 .. n-1 are its task ids.
NUM_TASKS: dict[str, int] = {
    "libero_spatial": 10,
    "libero_object": 10,
    "libero_goal": 10,
    "libero_10": 10,
    "libero_90": 90,
    "toy": 3,
    "simpler_widowx": 4,
    "simpler_google_vm": 11,
    "simpler_google_va": 11,
}

#: Initial states of every LIBERO task in each placement: 50 ship with hf-libero, wide ones are drawn.
LIBERO_INIT_STATES: dict[str, int] = {"official": 50, "wide": 1000}

_GOOGLE_STEPS = (80, 80, 80, 80, 113, 113, 113, 113, 113, 113, 200)
#: Step limits of the suites whose tasks differ; ``suite.max_steps=null`` stands for these.
TASK_MAX_STEPS: dict[str, tuple[int, ...]] = {
    "simpler_widowx": (60, 60, 60, 120),
    "simpler_google_vm": _GOOGLE_STEPS,
    "simpler_google_va": _GOOGLE_STEPS,
}

_GOOGLE_NAMES = (
    *(f"pick coke can, {how}" for how in ("horizontal", "vertical", "standing")),
    "move near",
    *(f"{verb} {drawer} drawer" for verb in ("open", "close") for drawer in ("top", "middle", "bottom")),
    "open top drawer and place apple",
)
#: Names of tasks whose instruction does not tell them apart, or is another one in each layout.
TASK_NAMES: dict[str, tuple[str, ...]] = {"simpler_google_vm": _GOOGLE_NAMES, "simpler_google_va": _GOOGLE_NAMES}

_GOOGLE_FAMILIES: dict[str, tuple[int, ...]] = {
    "pick coke can": (0, 1, 2),
    "move near": (3,),
    "open / close drawer": (4, 5, 6, 7, 8, 9),
    "open top drawer and place apple": (10,),
}
#: Rows of SIMPLER's published tables: the mean over some tasks.
TASK_FAMILIES: dict[str, dict[str, tuple[int, ...]]] = {
    "simpler_google_vm": _GOOGLE_FAMILIES,
    "simpler_google_va": _GOOGLE_FAMILIES,
}

#: Robots of the SIMPLER suites, as SIMPLER and ``vlacache.models.robots`` call them; the others have LIBERO's.
SUITE_ROBOTS: dict[str, str] = {
    "simpler_widowx": "widowx_bridge",
    "simpler_google_vm": "google_robot",
    "simpler_google_va": "google_robot",
}
