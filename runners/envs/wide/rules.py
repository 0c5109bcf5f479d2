"""The ten instructions of libero_spatial as rules that put the objects down.

Each keeps its instruction true and returns False when there was no room.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from runners.envs.wide.draft import COOKIES, DISTRACTOR, PLATE, RAMEKIN, TABLE_CENTRE, TARGET, Draft
from runners.envs.wide.geometry import distance_to_segment


def _between_plate_and_ramekin(draft: Draft) -> bool:
    draft.allow_near(TARGET, PLATE)
    draft.allow_near(TARGET, RAMEKIN)
    if not draft.anywhere(PLATE):
        return False
    plate = draft.at[PLATE]
    if not draft.anywhere(RAMEKIN, lambda place: 0.26 <= float(np.linalg.norm(place - plate)) <= 0.36):
        return False
    ramekin = draft.at[RAMEKIN]
    length = float(np.linalg.norm(ramekin - plate))
    along = (ramekin - plate) / length
    aside = np.array([-along[1], along[0]])
    return (
        draft.put(
            TARGET,
            lambda: plate + draft.uniform(0.137, length - 0.114) * along + draft.uniform(-0.02, 0.02) * aside,
        )
        and draft.anywhere(DISTRACTOR, lambda place: distance_to_segment(place, plate, ramekin) >= 0.16)
        and draft.anywhere(COOKIES)
    )


def _next_to_ramekin(draft: Draft) -> bool:
    return (
        draft.anywhere(PLATE)
        and draft.anywhere(RAMEKIN, draft.away_from(PLATE, 0.22))
        and draft.beside(TARGET, RAMEKIN, 0.118, 0.150)
        and draft.anywhere(DISTRACTOR, draft.away_from(RAMEKIN, 0.25))
        and draft.anywhere(COOKIES)
    )


def _table_centre(draft: Draft) -> bool:
    return (
        draft.put(TARGET, lambda: draft.around(TABLE_CENTRE, 0.09, 0.09))
        and draft.anywhere(PLATE)
        and draft.anywhere(DISTRACTOR, lambda place: float(np.linalg.norm(place - TABLE_CENTRE)) >= 0.22)
        and draft.anywhere(RAMEKIN)
        and draft.anywhere(COOKIES)
    )


def _on_cookie_box(draft: Draft) -> bool:
    return (
        draft.anywhere(PLATE)
        and draft.anywhere(COOKIES, draft.away_from(PLATE, 0.14))
        and draft.stack(TARGET, COOKIES)
        and draft.anywhere(RAMEKIN)
        and draft.on_cabinet(DISTRACTOR)
    )


def _in_top_drawer(draft: Draft) -> bool:
    return _around_plate(draft) and draft.in_drawer(TARGET) and draft.on_cabinet(DISTRACTOR)


def _on_ramekin(draft: Draft) -> bool:
    return (
        draft.anywhere(PLATE)
        and draft.anywhere(RAMEKIN, draft.away_from(PLATE, 0.14))
        and draft.stack(TARGET, RAMEKIN)
        and draft.anywhere(COOKIES)
        and draft.stack(DISTRACTOR, COOKIES)
    )


def _next_to_cookie_box(draft: Draft) -> bool:
    return (
        draft.anywhere(PLATE)
        and draft.anywhere(COOKIES, draft.away_from(PLATE, 0.22))
        and draft.beside(TARGET, COOKIES, 0.124, 0.155)
        and draft.anywhere(RAMEKIN)
        and draft.on_stove(DISTRACTOR)
    )


def _on_stove(draft: Draft) -> bool:
    return _around_plate(draft) and draft.on_stove(TARGET, half=0.045) and draft.on_cabinet(DISTRACTOR)


def _next_to_plate(draft: Draft) -> bool:
    return (
        draft.anywhere(PLATE)
        and draft.beside(TARGET, PLATE, 0.140, 0.168)
        and draft.anywhere(DISTRACTOR, draft.away_from(PLATE, 0.25))
        and draft.anywhere(RAMEKIN)
        and draft.anywhere(COOKIES)
    )


def _on_cabinet(draft: Draft) -> bool:
    return _around_plate(draft) and draft.on_cabinet(TARGET, 0.075, 0.045) and draft.on_stove(DISTRACTOR)


def _around_plate(draft: Draft) -> bool:
    return draft.anywhere(PLATE) and draft.anywhere(RAMEKIN) and draft.anywhere(COOKIES)


#: Task id -> what puts its objects down; False when there was no room.
RULES: tuple[Callable[[Draft], bool], ...] = (
    _between_plate_and_ramekin,
    _next_to_ramekin,
    _table_centre,
    _on_cookie_box,
    _in_top_drawer,
    _on_ramekin,
    _next_to_cookie_box,
    _on_stove,
    _next_to_plate,
    _on_cabinet,
)
