"""Variant aggregation: the stages, lights, cabinets and distractors that SIMPLER's scripts run beside the base."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from runners.envs.simpler.look import Light

#: Colours of the arm, in the order of SIMPLER's visual-matching scripts; the physics is the same.
URDF_VARIANTS: tuple[str, ...] = (
    "",
    "recolor_tabletop_visual_matching_1",
    "recolor_tabletop_visual_matching_2",
    "recolor_cabinet_visual_matching_1",
)
#: The same as settings of visual matching.
COLOR_NAMES: dict[str, str] = dict(
    zip(URDF_VARIANTS, ("arm_original", "arm_tabletop_1", "arm_tabletop_2", "arm_cabinet_1"), strict=True)
)

TABLE_STAGE = "google_pick_coke_can_1_v4"
ROOM_STAGE = "frl_apartment_stage_simple"
#: A white plate in place of a room; visual matching hides it behind a photo.
NO_STAGE = "dummy_drawer"


@dataclass(frozen=True, slots=True)
class Lights:
    """``ambient`` grey level and the directional lights."""

    ambient: float
    lights: tuple[Light, ...]


TABLE_LIGHTS: dict[str, Lights] = {
    "default": Lights(0.3, (Light((0, 0, -1), 2.2), Light((-1, -0.5, -1), 0.7), Light((1, 1, -1), 0.7))),
    "brighter": Lights(0.3, (Light((0, 0, -1), 3.6), Light((-1, -0.5, -1), 1.3), Light((1, 1, -1), 1.3))),
    "darker": Lights(0.3, (Light((1, 1, -1), 0.8), Light((0, 0, -1), 0.8))),
}


def _room_lights(first: float) -> Lights:
    sides = (Light((-1, 1, -0.05), 0.5), Light((-1, -1, -0.05), 0.5))
    return Lights(0.3, (Light((-0.2, 0, -1), first, shadow=True), *sides))


_SLOPE = math.radians(75)
DRAWER_LIGHTS: dict[str, Lights] = {
    "simple": Lights(1.0, (Light((-math.cos(_SLOPE), 0, -math.sin(_SLOPE)), 1.0),)),
    "default": _room_lights(1.0),
    "brighter": _room_lights(2.0),
    "darker": _room_lights(0.5),
}


@dataclass(frozen=True, slots=True)
class Setting:
    """What SIMPLER varies around a task.

    Attributes:
        name: in tables. stage: file stem below ``stages/``. lights: key of the task family's lights.
        station: file stem of the cabinet's URDF, None without one. distractors: model ids that are dropped around the
            target. alone: the third object of move-near stays away. matched: visual matching (photo, plain lights).
    """

    name: str
    stage: str
    lights: str = "default"
    station: str | None = None
    distractors: tuple[str, ...] = ()
    alone: bool = False
    matched: bool = False


_FEW = ("opened_pepsi_can", "apple", "sponge", "orange")
_MANY = (
    "opened_7up_can",
    "opened_sprite_can",
    "sponge",
    "orange",
    "opened_fanta_can",
    "bridge_spoon_generated_modified",
)
_TABLE = Setting("base", TABLE_STAGE)
_OTHER_TABLES = (
    Setting("background_1", "google_pick_coke_can_1_v4_alt_background"),
    Setting("background_2", "google_pick_coke_can_1_v4_alt_background_2"),
    replace(_TABLE, name="darker", lights="darker"),
    replace(_TABLE, name="brighter", lights="brighter"),
    Setting("table_1", "Baked_sc1_staging_objaverse_cabinet1_h870"),
    Setting("table_2", "Baked_sc1_staging_objaverse_cabinet2_h870"),
)
PICK_SETTINGS: tuple[Setting, ...] = (
    _TABLE,
    replace(_TABLE, name="distractors_few", distractors=_FEW),
    replace(_TABLE, name="distractors_many", distractors=_MANY),
    *_OTHER_TABLES,
)
NEAR_SETTINGS: tuple[Setting, ...] = (_TABLE, replace(_TABLE, name="no_distractor", alone=True), *_OTHER_TABLES)

_ROOM = Setting("base", ROOM_STAGE, station="mk_station")
DRAWER_SETTINGS: tuple[Setting, ...] = (
    _ROOM,
    replace(_ROOM, name="bedroom", stage="modern_bedroom_no_roof"),
    replace(_ROOM, name="office", stage="modern_office_no_roof"),
    replace(_ROOM, name="brighter", lights="brighter"),
    replace(_ROOM, name="darker", lights="darker"),
    replace(_ROOM, name="cabinet_2", station="mk_station2"),
    replace(_ROOM, name="cabinet_3", station="mk_station3"),
)

MATCHED_TABLE = Setting("visual_matching", TABLE_STAGE, matched=True)
MATCHED_DRAWER = Setting("visual_matching", NO_STAGE, lights="simple", station="mk_station_recolor", matched=True)
