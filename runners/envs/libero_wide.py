"""``placement=wide``: the tasks of libero_spatial with everything movable spread over the reachable table.

Pure geometry: no simulator, no global state. A layout is a function of ``(stream, task_id, index, seed)`` alone, drawn
from NumPy's PCG64 seeded by ``SeedSequence([stream, task_id, index, seed])``; only ``Generator.random`` and
``standard_normal`` are used. Objects are put down one by one, each drawn until it fits and the instruction stays true.
The numbers and the reasons for them are in ``docs/placement.md``.

World frame, metres and radians; the table's centre is (0, 0) and the robot's base axis stands at ``BASE``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

Point = NDArray[np.float64]
Interval = tuple[float, float]

SUITE = "libero_spatial"
NUM_TASKS = 10
#: ``init_index`` of an evaluation runs over 0 .. 999; training layouts come from a stream of their own.
NUM_WIDE_LAYOUTS = 1000
MAX_TRIES = 1000
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

#: LIBERO's agentview on a table: centre, rotation (columns are right, up, backward), tangent of half the angle of view.
CAMERA_POSITION = np.array([0.6586131746834771, 0.0, 1.6103500240372423])
CAMERA_ROTATION = np.array([[0.0, -0.62827, 0.77799], [1.0, 0.0, 0.0], [0.0, 0.77799, 0.62827]])
CAMERA_TANGENT = math.tan(math.radians(45) / 2)
CABINET_HEIGHT = 1.128
SIGHT_HEIGHT, SIGHT_SHARE = 0.02, 0.7  # points that must be seen: so high, and this share of the radius from the centre

ARM_NOISE = 0.02  # rad, standard deviation; that of the official init states


class Stream(IntEnum):
    """First word of the seed: what layouts of different streams are used for never mixes."""

    EVALUATION = 0
    TRAINING = 1
    DEMONSTRATION = 2  # noise and looks of recorded episodes


@dataclass(frozen=True, slots=True)
class Rectangle:
    """Footprint in the frame of a fixture: corners ``low`` and ``high``, float64[2]."""

    low: tuple[float, float]
    high: tuple[float, float]


#: Footprints of the collision geoms; the cabinet's with closed drawers, and with the top one open.
CABINET_CLOSED = Rectangle((-0.124, -0.110), (0.132, 0.112))
CABINET_OPEN = Rectangle((-0.124, -0.270), (0.132, 0.112))
STOVE_TOP = Rectangle((-0.048, -0.096), (0.246, 0.096))
#: Where bowls stand on fixtures, in the fixture's frame.
CABINET_TOP_CENTRE = np.array([0.0035, 0.0157])
DRAWER_CENTRE = np.array([0.0033, 0.0113])  # of the closed top drawer; opening adds its joint to y
BURNER_CENTRE = np.array([0.15, 0.0])
DRAWER_OPEN = (-0.160, -0.140)  # range of the official init states


@dataclass(frozen=True, slots=True)
class Pose:
    """``position`` float64[3] and rotation ``yaw`` about z."""

    position: Point
    yaw: float

    @property
    def quat_wxyz(self) -> NDArray[np.float64]:
        """The rotation as a quaternion, float64[4], scalar first."""
        return np.array([math.cos(self.yaw / 2), 0.0, 0.0, math.sin(self.yaw / 2)])

    def to_world(self, local: Point) -> Point:
        """A point float64[2] of this frame in the world."""
        cos, sin = math.cos(self.yaw), math.sin(self.yaw)
        return self.position[:2] + np.array([cos * local[0] - sin * local[1], sin * local[0] + cos * local[1]])

    def to_local(self, world: Point) -> Point:
        """A point float64[2] of the world in this frame."""
        cos, sin = math.cos(self.yaw), math.sin(self.yaw)
        x, y = world[:2] - self.position[:2]
        return np.array([cos * x + sin * y, -sin * x + cos * y])


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


def sample_wide_layout(stream: Stream, task_id: int, index: int, seed: int) -> WideLayout:
    """The layout of one episode.

    Args:
        stream: evaluation or training. task_id: 0 .. 9 of libero_spatial. index: number of the layout.
        seed: ``env_seed`` of an evaluation, seed of a collection of demonstrations.

    Raises:
        ValueError: negative numbers or no such task. RuntimeError: no layout in ``MAX_TRIES`` (never seen).
    """
    if not 0 <= task_id < NUM_TASKS or index < 0 or seed < 0:
        raise ValueError(f"expected task 0 .. {NUM_TASKS - 1}, index and seed >= 0, got {task_id}, {index}, {seed}")
    entropy = np.random.SeedSequence([int(stream), task_id, index, seed])
    rng = np.random.Generator(np.random.PCG64(entropy))
    for tries in range(1, MAX_TRIES + 1):
        draft = _Draft(rng, task_id)
        if _RULES[task_id](draft):
            return draft.finish(tries)
    raise RuntimeError(f"no layout of task {task_id} in {MAX_TRIES} tries; index {index}, seed {seed}")


def _always(place: Point) -> bool:
    return True


class _Draft:
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

    def finish(self, tries: int) -> WideLayout:
        """Heights, yaws and the arm's start."""
        objects = {}
        for name in sorted(self.at):
            support = self.on.get(name)
            height = TABLE_HEIGHTS[name] + DROP if support is None else BOWL_HEIGHTS[support] + STACKED_DROP
            objects[name] = Pose(np.array([*self.at[name], height]), self.uniform(-math.pi, math.pi))
        arm_offset = ARM_NOISE * self._rng.standard_normal(7)
        return WideLayout(objects, self.fixtures, self.drawer, arm_offset, dict(self.on), tries)


def distance_to_rectangle(point: Point, rectangle: Rectangle) -> float:
    """Distance of ``point`` float64[2] to the rectangle, 0 inside; both in the fixture's frame."""
    low, high = np.array(rectangle.low), np.array(rectangle.high)
    return float(np.linalg.norm(np.maximum(np.maximum(low - point, point - high), 0.0)))


def in_picture(point: Point) -> bool:
    """Whether the front camera has ``point`` float64[3] in its picture."""
    x, y, z = CAMERA_ROTATION.T @ (point - CAMERA_POSITION)  # MuJoCo's cameras look along -z
    return bool(z < 0.0 and max(abs(x), abs(y)) <= -z * CAMERA_TANGENT)


def is_hidden_by_cabinet(point: Point, cabinet: Pose) -> bool:
    """Whether the straight line from the front camera to ``point`` float64[3] passes through the closed cabinet."""
    start = np.array([*cabinet.to_local(CAMERA_POSITION), CAMERA_POSITION[2]])
    way = np.array([*cabinet.to_local(point), point[2]]) - start
    low = np.array([*CABINET_CLOSED.low, 0.0])
    high = np.array([*CABINET_CLOSED.high, CABINET_HEIGHT])
    crossings = np.sort(np.stack([low - start, high - start]) / np.where(way == 0.0, 1e-12, way), axis=0)
    return bool(max(0.0, crossings[0].max()) < min(1.0, crossings[1].min()))


def distance_to_segment(point: Point, start: Point, end: Point) -> float:
    """Distance of ``point`` float64[2] to the segment."""
    way = end - start
    along = float(np.clip((point - start) @ way / (way @ way), 0.0, 1.0))
    return float(np.linalg.norm(point - start - along * way))


def _between_plate_and_ramekin(draft: _Draft) -> bool:
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


def _next_to_ramekin(draft: _Draft) -> bool:
    return (
        draft.anywhere(PLATE)
        and draft.anywhere(RAMEKIN, draft.away_from(PLATE, 0.22))
        and draft.beside(TARGET, RAMEKIN, 0.118, 0.150)
        and draft.anywhere(DISTRACTOR, draft.away_from(RAMEKIN, 0.25))
        and draft.anywhere(COOKIES)
    )


def _table_centre(draft: _Draft) -> bool:
    return (
        draft.put(TARGET, lambda: draft.around(TABLE_CENTRE, 0.09, 0.09))
        and draft.anywhere(PLATE)
        and draft.anywhere(DISTRACTOR, lambda place: float(np.linalg.norm(place - TABLE_CENTRE)) >= 0.22)
        and draft.anywhere(RAMEKIN)
        and draft.anywhere(COOKIES)
    )


def _on_cookie_box(draft: _Draft) -> bool:
    return (
        draft.anywhere(PLATE)
        and draft.anywhere(COOKIES, draft.away_from(PLATE, 0.14))
        and draft.stack(TARGET, COOKIES)
        and draft.anywhere(RAMEKIN)
        and draft.on_cabinet(DISTRACTOR)
    )


def _in_top_drawer(draft: _Draft) -> bool:
    return _around_plate(draft) and draft.in_drawer(TARGET) and draft.on_cabinet(DISTRACTOR)


def _on_ramekin(draft: _Draft) -> bool:
    return (
        draft.anywhere(PLATE)
        and draft.anywhere(RAMEKIN, draft.away_from(PLATE, 0.14))
        and draft.stack(TARGET, RAMEKIN)
        and draft.anywhere(COOKIES)
        and draft.stack(DISTRACTOR, COOKIES)
    )


def _next_to_cookie_box(draft: _Draft) -> bool:
    return (
        draft.anywhere(PLATE)
        and draft.anywhere(COOKIES, draft.away_from(PLATE, 0.22))
        and draft.beside(TARGET, COOKIES, 0.124, 0.155)
        and draft.anywhere(RAMEKIN)
        and draft.on_stove(DISTRACTOR)
    )


def _on_stove(draft: _Draft) -> bool:
    return _around_plate(draft) and draft.on_stove(TARGET, half=0.045) and draft.on_cabinet(DISTRACTOR)


def _next_to_plate(draft: _Draft) -> bool:
    return (
        draft.anywhere(PLATE)
        and draft.beside(TARGET, PLATE, 0.140, 0.168)
        and draft.anywhere(DISTRACTOR, draft.away_from(PLATE, 0.25))
        and draft.anywhere(RAMEKIN)
        and draft.anywhere(COOKIES)
    )


def _on_cabinet(draft: _Draft) -> bool:
    return _around_plate(draft) and draft.on_cabinet(TARGET, 0.075, 0.045) and draft.on_stove(DISTRACTOR)


def _around_plate(draft: _Draft) -> bool:
    return draft.anywhere(PLATE) and draft.anywhere(RAMEKIN) and draft.anywhere(COOKIES)


#: Task id -> what puts its objects down; False when there was no room.
_RULES: tuple[Callable[[_Draft], bool], ...] = (
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
