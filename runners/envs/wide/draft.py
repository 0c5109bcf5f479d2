"""One try at a layout: where fixtures and objects may be, and whether one more fits.

World frame, metres and radians; the table's centre is (0, 0) and the robot's base axis stands at ``BASE``.
The numbers and the reasons for them are in ``docs/placement.md``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from runners.envs.wide.geometry import (
    CABINET_CLOSED,
    CABINET_OPEN,
    STOVE_TOP,
    Interval,
    Point,
    Pose,
    distance_to_rectangle,
    in_picture,
    is_hidden_by_cabinet,
    overlap,
)

PROPOSALS = 60  # for one object, before the whole layout is drawn again

BASE = np.array([-0.66, 0.0])
MIN_REACH, MAX_REACH = 0.40, 0.765
DRAWER_REACH = 0.715  # the drawer's walls leave only far rim points free, and the arm must still be able to lift
REGION_LOW, REGION_HIGH = np.array([-0.28, -0.12]), np.array([0.12, 0.34])
TABLE_CENTRE = np.array([-0.075, 0.0])

TARGET, DISTRACTOR = "akita_black_bowl_1", "akita_black_bowl_2"
COOKIES, RAMEKIN, PLATE = "cookies_1", "glazed_rim_porcelain_ramekin_1", "plate_1"
CABINET, STOVE = "wooden_cabinet_1", "flat_stove_1"
TOP_DRAWER = "wooden_cabinet_1_top_level"

RADII = {TARGET: 0.054, DISTRACTOR: 0.054, PLATE: 0.069, RAMEKIN: 0.046, COOKIES: 0.052}
#: Height of an object's origin where it stands on the table, and of a bowl's on something else.
TABLE_HEIGHTS = {TARGET: 0.8984, DISTRACTOR: 0.8984, PLATE: 0.9022, RAMEKIN: 0.8993, COOKIES: 0.9094}
BOWL_HEIGHTS = {COOKIES: 0.9165, RAMEKIN: 0.934, STOVE: 0.929, CABINET: 1.1255, TOP_DRAWER: 1.0625}
#: Objects start this much above their rest height, so that nothing starts inside anything.
DROP, STACKED_DROP = 0.002, 0.004

#: Task -> range of the cabinet's shift in x and y where the bowl is in or on it, and must not get out of reach.
CABINET_SHIFTS = {4: ((-0.12, -0.03), (-0.05, 0.03)), 9: ((-0.06, 0.0), (-0.04, 0.01))}

GAP = 0.020
NEIGHBOUR_GAP = 0.012  # between two objects that must stand next to each other
HANDLED_GAP = 0.035  # of the target and the plate to fixtures: room for the hand

SIGHT_HEIGHT, SIGHT_SHARE = 0.02, 0.7  # points that must be seen: so high, and this share of the radius from the centre

ARM_NOISE = 0.02  # rad, standard deviation; that of the official init states

#: Where bowls stand on fixtures, in the fixture's frame.
CABINET_TOP_CENTRE = np.array([0.0035, 0.0157])
DRAWER_CENTRE = np.array([0.0033, 0.0113])  # of the closed top drawer; opening adds its joint to y
BURNER_CENTRE = np.array([0.15, 0.0])
DRAWER_OPEN = (-0.160, -0.140)  # range of the official init states


@dataclass(frozen=True, slots=True)
class WideLayout:
    """Where an episode starts.

    Attributes:
        objects: instance name -> pose of its origin, a few millimetres above rest.
        fixtures: cabinet and stove; their height is the simulator's own (z is 0 here).
        top_drawer: joint position (m), 0 closed, negative open.
        arm_offset: float64[7] added to the robot's start joints (rad).
        stacked: object -> what it stands on, for those that do not stand on the table.
        tries: drawn layouts, the accepted one included.
    """

    objects: Mapping[str, Pose]
    fixtures: Mapping[str, Pose]
    top_drawer: float
    arm_offset: NDArray[np.float64]
    stacked: Mapping[str, str]
    tries: int


def _always(place: Point) -> bool:
    return True


class Draft:
    """One try: fixtures first, then the objects one by one, each where it fits with what is there already."""

    def __init__(self, rng: np.random.Generator, task_id: int) -> None:
        self._rng = rng
        self._neighbours: set[frozenset[str]] = set()
        self.at: dict[str, Point] = {}
        self.on: dict[str, str] = {}
        self.drawer = self.uniform(*DRAWER_OPEN) if task_id == 4 else 0.0
        self._footprints = {CABINET: CABINET_OPEN if task_id == 4 else CABINET_CLOSED, STOVE: STOVE_TOP}
        cabinet_x, cabinet_y = CABINET_SHIFTS.get(task_id, ((-0.03, 0.03), (-0.04, 0.01)))
        self.fixtures = {
            CABINET: self._fixture((0.03, -0.27, 2.693), cabinet_x, cabinet_y, math.radians(8)),
            STOVE: self._fixture((-0.41, -0.14, 0.0), (-0.03, 0.05), (-0.03, 0.06), math.radians(8)),
        }

    def _fixture(self, nominal: tuple[float, float, float], shift_x: Interval, shift_y: Interval, turn: float) -> Pose:
        x, y, yaw = nominal
        position = np.array([x + self.uniform(*shift_x), y + self.uniform(*shift_y), 0.0])
        return Pose(position, yaw + self.uniform(-turn, turn))

    def uniform(self, low: float, high: float) -> float:
        return low + (high - low) * float(self._rng.random())

    def put(
        self, name: str, propose: Callable[[], Point], condition: Callable[[Point], bool] = _always, on: str = ""
    ) -> bool:
        """Put ``name`` where ``propose`` says, as soon as it fits and ``condition`` holds; False when it never does."""
        if on:
            self.on[name] = on
        for _ in range(PROPOSALS):
            place = propose()
            if condition(place) and self._fits(name, place):
                self.at[name] = place
                return True
        return False

    def anywhere(self, name: str, condition: Callable[[Point], bool] = _always) -> bool:
        """Put ``name`` down uniformly in the region."""
        return self.put(
            name,
            lambda: np.array([self.uniform(*pair) for pair in zip(REGION_LOW, REGION_HIGH, strict=True)]),
            condition,
        )

    def beside(self, name: str, other: str, near: float, far: float) -> bool:
        """Put ``name`` down ``near`` to ``far`` from ``other``, in any direction."""
        self.allow_near(name, other)

        def propose() -> Point:
            distance, angle = self.uniform(near, far), self.uniform(-math.pi, math.pi)
            return self.at[other] + distance * np.array([math.cos(angle), math.sin(angle)])

        return self.put(name, propose)

    def stack(self, name: str, support: str) -> bool:
        """Put ``name`` on another object, within 6 mm of its centre."""
        return self.put(name, lambda: self.around(self.at[support], 0.006, 0.006), on=support)

    def on_cabinet(self, name: str, half_x: float = 0.055, half_y: float = 0.028) -> bool:
        cabinet = self.fixtures[CABINET]
        return self.put(name, lambda: cabinet.to_world(self.around(CABINET_TOP_CENTRE, half_x, half_y)), on=CABINET)

    def on_stove(self, name: str, half: float = 0.03) -> bool:
        stove = self.fixtures[STOVE]
        return self.put(name, lambda: stove.to_world(self.around(BURNER_CENTRE, half, half)), on=STOVE)

    def in_drawer(self, name: str) -> bool:
        centre = DRAWER_CENTRE + np.array([0.0, self.drawer])
        cabinet = self.fixtures[CABINET]
        return self.put(name, lambda: cabinet.to_world(self.around(centre, 0.035, 0.008)), on=TOP_DRAWER)

    def around(self, centre: Point, half_x: float, half_y: float) -> Point:
        return centre + np.array([self.uniform(-half_x, half_x), self.uniform(-half_y, half_y)])

    def allow_near(self, name: str, other: str) -> None:
        """These two stand next to each other by the instruction: ``NEIGHBOUR_GAP`` is enough."""
        self._neighbours.add(frozenset((name, other)))

    def away_from(self, name: str, least: float) -> Callable[[Point], bool]:
        """Condition: at least ``least`` from the centre of ``name``."""
        return lambda place: float(np.linalg.norm(place - self.at[name])) >= least

    def _fits(self, name: str, place: Point) -> bool:
        """Within reach; on the table also inside the region and clear of fixtures and objects."""
        reach = float(np.linalg.norm(place - BASE))
        support = self.on.get(name)
        if name in (TARGET, PLATE) and not self._is_in_sight(name, place):
            return False
        if support in (CABINET, TOP_DRAWER, STOVE):
            return reach <= (DRAWER_REACH if support == TOP_DRAWER else MAX_REACH) or name != TARGET
        inside = bool(((place >= REGION_LOW) & (place <= REGION_HIGH)).all())
        if not (inside and MIN_REACH <= reach <= MAX_REACH):
            return False
        return support is not None or (self._is_clear_of_fixtures(name, place) and self._is_clear(name, place))

    def _is_in_sight(self, name: str, place: Point) -> bool:
        """Most of the object is in the picture of the front camera and not hidden by the cabinet."""
        support = self.on.get(name)
        height = (TABLE_HEIGHTS[name] if support is None else BOWL_HEIGHTS[support]) + SIGHT_HEIGHT
        edge = SIGHT_SHARE * RADII[name]
        sides = ((0.0, 0.0), (-edge, 0.0), (edge, 0.0), (0.0, -edge), (0.0, edge))
        points = [np.array([place[0] + dx, place[1] + dy, height]) for dx, dy in sides]
        behind_cabinet = support not in (CABINET, TOP_DRAWER)
        cabinet = self.fixtures[CABINET]
        return all(in_picture(point) for point in points) and not (
            behind_cabinet and any(is_hidden_by_cabinet(point, cabinet) for point in points)
        )

    def _is_clear_of_fixtures(self, name: str, place: Point) -> bool:
        least = RADII[name] + (HANDLED_GAP if name in (TARGET, PLATE) else GAP)
        return all(
            distance_to_rectangle(self.fixtures[fixture].to_local(place), footprint) >= least
            for fixture, footprint in self._footprints.items()
        )

    def _is_clear(self, name: str, place: Point) -> bool:
        for other, there in self.at.items():
            if other in self.on:
                continue
            gap = NEIGHBOUR_GAP if frozenset((name, other)) in self._neighbours else GAP
            if float(np.linalg.norm(place - there)) < RADII[name] + RADII[other] + gap:
                return False
        return True

    def fixtures_are_apart(self) -> bool:
        """Whether cabinet, drawers closed, and stove stand beside each other. An open drawer hangs above the stove."""
        return not overlap(self.fixtures[CABINET], CABINET_CLOSED, self.fixtures[STOVE], STOVE_TOP)

    def finish(self, tries: int) -> WideLayout:
        """Heights, yaws and the arm's start."""
        objects = {}
        for name in sorted(self.at):
            support = self.on.get(name)
            height = TABLE_HEIGHTS[name] + DROP if support is None else BOWL_HEIGHTS[support] + STACKED_DROP
            objects[name] = Pose(np.array([*self.at[name], height]), self.uniform(-math.pi, math.pi))
        arm_offset = ARM_NOISE * self._rng.standard_normal(7)
        return WideLayout(objects, self.fixtures, self.drawer, arm_offset, dict(self.on), tries)
