"""Where the Google robot and its objects start: the grids of SIMPLER's scripts, one layout for each episode."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import permutations, product

import numpy as np

from runners.envs.simpler.google_settings import (
    COLOR_NAMES,
    DRAWER_SETTINGS,
    MATCHED_DRAWER,
    MATCHED_TABLE,
    NEAR_SETTINGS,
    PICK_SETTINGS,
    URDF_VARIANTS,
    Setting,
)
from runners.envs.simpler.rotations import Quaternion, quaternion_from_euler

Point = tuple[float, float]
_UPRIGHT = quaternion_from_euler(math.pi / 2, 0, 0)
_QUARTER_TURN = quaternion_from_euler(0, 0, math.pi / 2)
_AS_IS: Quaternion = (1.0, 0.0, 0.0, 0.0)


@dataclass(frozen=True, slots=True)
class Placed:
    """One object: model id, where it is dropped (m), how it is turned, and its density (kg/m^3) if not the file's."""

    model: str
    xy: Point
    turn: Quaternion
    density: float | None = None


@dataclass(frozen=True, slots=True)
class GoogleLayout:
    """The start of one episode.

    Attributes:
        setting: stage, lights, cabinet. robot: x, y (m) and yaw (rad). urdf: colour of the arm.
        objects: dropped together; the first is what the task is about, for move-near the first two (source, target).
        order: of move-near, positions of ``objects`` in the triplet: the order in which they are built.
        photo: file below ``real_inpainting/`` of visual matching, else None.
    """

    setting: Setting
    robot: tuple[float, float, float]
    urdf: str = ""
    objects: tuple[Placed, ...] = ()
    order: tuple[int, ...] = ()
    photo: str | None = None

    @property
    def setting_name(self) -> str:
        """What varies around the task: the colour of the arm (visual matching) or the setting."""
        return COLOR_NAMES[self.urdf] if self.setting.matched else self.setting.name


#: Pick: how the can lies, by task id 0 .. 2 (horizontal, vertical, standing).
CAN_TURNS: tuple[Quaternion, ...] = (quaternion_from_euler(0, 0, math.pi), _QUARTER_TURN, _UPRIGHT)
_CAN = "opened_coke_can"
_PICK_ROBOT = (0.35, 0.20, 0.0)
_PICK_PHOTO = "google_coke_can_real_eval_1.png"


def _grid(xs: Sequence[float], ys: Sequence[float]) -> Iterator[Point]:
    return ((float(x), float(y)) for x, y in product(xs, ys))


def pick_layouts(task: int, *, matched: bool) -> tuple[GoogleLayout, ...]:
    """Pick coke can, ``task`` 0 horizontal, 1 vertical, 2 standing: 25 positions x 4 colours or 9 settings."""
    spots = list(_grid(np.linspace(-0.35, -0.12, 5), np.linspace(-0.02, 0.42, 5)))
    cans = [(Placed(_CAN, xy, CAN_TURNS[task]),) for xy in spots]
    if matched:
        return tuple(
            GoogleLayout(MATCHED_TABLE, _PICK_ROBOT, urdf, can, photo=_PICK_PHOTO)
            for urdf, can in product(URDF_VARIANTS, cans)
        )
    return tuple(GoogleLayout(setting, _PICK_ROBOT, objects=can) for setting, can in product(PICK_SETTINGS, cans))


_TRIPLETS: tuple[tuple[str, str, str], ...] = (
    ("blue_plastic_bottle", "opened_pepsi_can", "orange"),
    ("opened_7up_can", "apple", "sponge"),
    ("opened_coke_can", "opened_redbull_can", "apple"),
    ("sponge", "blue_plastic_bottle", "opened_7up_can"),
    ("orange", "opened_pepsi_can", "opened_redbull_can"),
)
_TRIANGLES: tuple[tuple[Point, Point, Point], ...] = (
    ((-0.33, 0.04), (-0.33, 0.34), (-0.13, 0.19)),
    ((-0.13, 0.04), (-0.33, 0.19), (-0.13, 0.34)),
)
_PAIRS = tuple(permutations(range(3), 2))
NUM_NEAR = len(_TRIPLETS) * len(_TRIANGLES) * len(_PAIRS)
#: Of those that do not stand upright as the cans do.
_TURNS = {
    "blue_plastic_bottle": quaternion_from_euler(math.pi / 2, 0, math.pi / 2),
    "orange": _QUARTER_TURN,
    "sponge": _QUARTER_TURN,
    "apple": _AS_IS,
}
#: Toy fruit, as in the real evaluation.
_LIGHT_FRUIT = {"apple": 200.0, "orange": 200.0}
#: No baked version of these was made.
_NEVER_BAKED = ("blue_plastic_bottle", "orange")
_NEAR_ROBOT = (0.35, 0.21, -0.09)
_NEAR_PHOTO = "google_move_near_real_eval_1.png"


def near_layout(episode: int, setting: Setting, urdf: str = "") -> GoogleLayout:
    """Move near, upstream's ``episode_id`` 0 .. 59; visual matching takes the models with baked textures."""
    triplet, rest = divmod(episode, len(_TRIANGLES) * len(_PAIRS))
    triangle, pair = divmod(rest, len(_PAIRS))
    source, target = _PAIRS[pair]
    named = [source, target, *({0, 1, 2} - {source, target} if not setting.alone else ())]
    objects = tuple(
        Placed(
            f"baked_{name}" if setting.matched and name not in _NEVER_BAKED else name,
            _TRIANGLES[triangle][at],
            _TURNS.get(name, _UPRIGHT),
            _LIGHT_FRUIT.get(name),
        )
        for at, name in ((at, _TRIPLETS[triplet][at]) for at in named)
    )
    photo = _NEAR_PHOTO if setting.matched else None
    return GoogleLayout(setting, _NEAR_ROBOT, urdf, objects, tuple(int(i) for i in np.argsort(named)), photo)


def near_layouts(*, matched: bool) -> tuple[GoogleLayout, ...]:
    """60 episodes x 4 colours or 8 settings."""
    if matched:
        return tuple(near_layout(e, MATCHED_TABLE, urdf) for urdf, e in product(URDF_VARIANTS, range(NUM_NEAR)))
    return tuple(near_layout(e, setting) for setting, e in product(NEAR_SETTINGS, range(NUM_NEAR)))


#: Visual matching: the robot's place for each photo ``open_drawer_<id>.png``.
PHOTO_POSES: dict[str, tuple[float, float, float]] = {
    "a0": (0.644, -0.179, -0.03),
    "a1": (0.765, -0.182, -0.02),
    "a2": (0.889, -0.203, -0.06),
    "b0": (0.652, 0.009, 0.0),
    "b1": (0.752, 0.009, 0.0),
    "b2": (0.851, 0.035, 0.0),
    "c0": (0.665, 0.224, 0.0),
    "c1": (0.765, 0.222, -0.025),
    "c2": (0.865, 0.222, -0.025),
}
PLACE_PHOTOS = ("a0", "b0", "c0")


def _photo(name: str) -> str:
    return f"open_drawer_{name}.png"


def drawer_layouts(*, matched: bool) -> tuple[GoogleLayout, ...]:
    """Open or close a drawer: 9 places of the robot x 4 colours or 7 settings."""
    if matched:
        return tuple(
            GoogleLayout(MATCHED_DRAWER, pose, urdf, photo=_photo(name))
            for urdf, (name, pose) in product(URDF_VARIANTS, PHOTO_POSES.items())
        )
    places = [(x, y, 0.0) for x, y in _grid(np.linspace(0.65, 0.85, 3), np.linspace(-0.2, 0.2, 3))]
    return tuple(GoogleLayout(setting, place) for setting, place in product(DRAWER_SETTINGS, places))


def place_layouts(*, matched: bool) -> tuple[GoogleLayout, ...]:
    """Place apple: 3 places of the robot x 9 of the apple x 4 colours or 7 settings."""
    spots = list(_grid(np.linspace(-0.08, -0.02, 3), np.linspace(-0.02, 0.08, 3)))
    apples = [(Placed("baked_apple_v2" if matched else "apple", xy, _AS_IS),) for xy in spots]
    if matched:
        return tuple(
            GoogleLayout(MATCHED_DRAWER, PHOTO_POSES[name], urdf, apple, photo=_photo(name))
            for urdf, name, apple in product(URDF_VARIANTS, PLACE_PHOTOS, apples)
        )
    places = [(0.65, y, 0.0) for y in (-0.2, 0.0, 0.2)]
    return tuple(
        GoogleLayout(setting, place, objects=apple)
        for setting, place, apple in product(DRAWER_SETTINGS, places, apples)
    )


#: Seed of upstream's episodes: the first draw of its main generator, which always starts from 2022.
_EPISODE_SEED = 40194941


def distractor_spots(target: Point, count: int) -> list[Point]:
    """Where the distractors of a pick are dropped, in their order; the same in every run, as upstream's.

    Uniform within 0.3 m of the target, clipped to the table, more than 0.25 m from the target.
    """
    rng = np.random.RandomState(_EPISODE_SEED)
    spots: list[Point] = []
    while len(spots) < count:
        spot = np.clip(np.asarray(target) + rng.uniform(-0.3, 0.3, 2), [-0.50, 0.05], [-0.1, 0.35])
        if np.linalg.norm(spot - np.asarray(target)) > 0.25:
            spots.append((float(spot[0]), float(spot[1])))
    return spots
