"""When a Google robot task counts as done, by the original's rules. Lengths in m; the flags carry its names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.floating]

#: Pick: heights over the settled one, and how many steps of either count.
LIFTED, LIFTED_WELL = 0.01, 0.02
HELD_STEPS = LIFTED_STEPS = 5
#: Near: ways and heights.
MOVED, NEAR, CLOSER = 0.03, 0.10, 0.01
OTHER_SANK, OWN_SANK = -0.02, -0.15
#: Drawers.
OPEN_FROM, CLOSED_TO, PLACE_FROM = 0.15, 0.05, 0.05


@dataclass(frozen=True, slots=True)
class PickFlags:
    """After one control step of a pick; the last three fields count over the episode."""

    is_grasped: bool = False
    consecutive_grasp: bool = False
    lifted_object: bool = False
    lifted_object_significantly: bool = False
    num_grasped: int = 0
    num_lifted_well: int = 0

    @property
    def success(self) -> bool:
        """In the air now, or clearly so during five steps of the episode: putting it down again is forgiven."""
        return self.lifted_object or self.num_lifted_well >= LIFTED_STEPS


def pick_flags(before: PickFlags, *, grasped: bool, touches_scene: bool, rise: float) -> PickFlags:
    """Flags after another step.

    Args:
        before: of the step before. grasped: both sides press on the object. touches_scene: something that is not the
            robot does. rise: height of the object's origin over its settled one.
    """
    # Once lifted, a touch of the scene does not undo it; losing the grasp does.
    lifted = (before.lifted_object and grasped) or (not touches_scene and rise > LIFTED)
    well = lifted and rise > LIFTED_WELL
    num_grasped = before.num_grasped + 1 if grasped else 0
    return PickFlags(
        is_grasped=grasped,
        consecutive_grasp=num_grasped >= HELD_STEPS,
        lifted_object=lifted,
        lifted_object_significantly=well,
        num_grasped=num_grasped,
        num_lifted_well=before.num_lifted_well + well,
    )


@dataclass(frozen=True, slots=True)
class NearFlags:
    """After one control step of move-near; nothing is remembered between steps."""

    all_obj_keep_height: bool = False
    moved_correct_obj: bool = False
    moved_wrong_obj: bool = False
    near_tgt_obj: bool = False
    is_closest_to_tgt: bool = False

    @property
    def success(self) -> bool:
        """All clauses but ``moved_wrong_obj``, which the original reports and does not ask for."""
        return self.all_obj_keep_height and self.moved_correct_obj and self.near_tgt_obj and self.is_closest_to_tgt


@dataclass(frozen=True, slots=True)
class Body:
    """One object: float[3] ``origin`` and ``center`` (of mass) now, ``settled`` origin; see ``half_diagonal``."""

    origin: Vector
    center: Vector
    settled: Vector
    half_diagonal: float

    @property
    def way(self) -> float:
        """Horizontal way of the origin since settling."""
        return _distance(self.origin, self.settled)


def half_diagonal(rotation: Vector, extents: Sequence[float]) -> float:
    """Half the horizontal length of the settled rotation float[3, 3] times the full extents float[3].

    The vector of extents is turned, not the box, as upstream does: entries of either sign add up.
    """
    return float(np.linalg.norm((np.asarray(rotation) @ np.asarray(extents))[:2]) / 2)


def near_flags(source: Body, target: Body, others: Sequence[Body]) -> NearFlags:
    """Flags now; ``others`` are the objects that the instruction does not name."""
    kept = all(body.origin[2] - body.settled[2] > OTHER_SANK for body in others)
    # Upstream compares the centre of mass now with the settled origin.
    kept = kept and all(body.center[2] - body.settled[2] > OWN_SANK for body in (source, target))
    ways = [body.way for body in (target, *others)]
    distance = _distance(source.center, target.center)
    return NearFlags(
        all_obj_keep_height=kept,
        moved_correct_obj=source.way > MOVED and all(way < source.way for way in ways),
        moved_wrong_obj=any(way > MOVED for way in ways) and any(way > source.way for way in ways),
        near_tgt_obj=distance < source.half_diagonal + target.half_diagonal + NEAR,
        is_closest_to_tgt=all(distance < _distance(source.center, b.origin) + CLOSER for b in (target, *others)),
    )


def _distance(a: Vector, b: Vector) -> float:
    return float(np.linalg.norm(np.asarray(a)[:2] - np.asarray(b)[:2]))


@dataclass(frozen=True, slots=True)
class DrawerFlags:
    """After one control step of an open or close task; ``qpos``: of the drawer."""

    success: bool = False
    qpos: float = 0.0


def drawer_flags(qpos: float, *, opens: bool) -> DrawerFlags:
    """Flags of a drawer that stands at ``qpos``."""
    return DrawerFlags(qpos >= OPEN_FROM if opens else qpos <= CLOSED_TO, qpos)


@dataclass(frozen=True, slots=True)
class PlaceFlags:
    """After one control step of place-apple.

    Attributes:
        is_drawer_open: as for the task of opening it; success asks for less. num_contacts: steps so far that ended with
            the object on the drawer's bottom. qpos: of the drawer.
    """

    is_drawer_open: bool = False
    has_contact: bool = False
    second_subtask: bool = False
    num_contacts: int = 0
    qpos: float = 0.0

    @property
    def success(self) -> bool:
        """The second part, a touch of the drawer's bottom some time before, and the drawer not shut again."""
        return self.second_subtask and self.qpos >= PLACE_FROM and self.has_contact


def place_flags(before: PlaceFlags, *, qpos: float, touches_bottom: bool, second_subtask: bool) -> PlaceFlags:
    """Flags after another step.

    Args:
        before: of the step before. qpos: of the drawer. touches_bottom: the object presses on the drawer's bottom.
        second_subtask: the instruction is to place.
    """
    num_contacts = before.num_contacts + touches_bottom
    return replace(
        before,
        is_drawer_open=qpos >= OPEN_FROM,
        has_contact=num_contacts >= 1,
        second_subtask=second_subtask,
        num_contacts=num_contacts,
        qpos=qpos,
    )
