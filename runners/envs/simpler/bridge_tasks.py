"""The four WidowX tasks: where objects start, where robot and stage stand, what counts."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from itertools import permutations, product

import numpy as np

from runners.envs.simpler.rotations import Quaternion, Vector, quaternion_from_euler

#: Height from which objects are dropped: the table and half a metre.
DROP_Z = 0.87 + 0.5

Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Setup:
    """Where robot and stage stand.

    Attributes:
        base_position: of the robot, m; it is turned by half a turn about z. qpos: float[8] at the start.
        stage: file name. photo: the picture behind robot and objects. camera_position, camera_quaternion: on the base.
        bright: SIMPLER's three lights; the sink has a single weak one.
    """

    base_position: Vector
    qpos: tuple[float, ...]
    stage: str
    photo: str
    camera_position: Vector
    camera_quaternion: Quaternion
    bright: bool


TABLE = Setup(
    base_position=(0.147, 0.028, 0.870),
    qpos=(-0.01840777, 0.0398835, 0.22242722, -0.00460194, 1.36524296, 0.00153398, 0.037, 0.037),
    stage="bridge_table_1_v1.glb",
    photo="bridge_real_eval_1.png",
    camera_position=(0.0, -0.16, 0.36),
    camera_quaternion=(0.8992917, -0.09263245, 0.35892478, 0.23209205),
    bright=True,
)
SINK = Setup(
    base_position=(0.127, 0.06, 0.85),
    qpos=(-0.2600599, -0.12875618, 0.04461369, -0.00652761, 1.7033415, -0.26983038, 0.037, 0.037),
    stage="bridge_table_1_v2.glb",
    photo="bridge_sink.png",
    camera_position=(-0.00300001, -0.21, 0.39),
    camera_quaternion=(-0.907313, 0.0782, -0.36434, -0.194741),
    bright=False,
)


@dataclass(frozen=True)
class BridgeTask:
    """One WidowX task.

    Attributes:
        info: file with the objects' sizes and densities. source, target: model ids.
        pairs: xy (m) of source and target of each layout; turns: yaw of the source (rad). Every pair with every turn.
        max_steps: upstream's limit. max_gap: m that the source may hang above the target.
        only_target_touched: the source may touch nothing but the target and the robot.
    """

    instruction: str
    info: str
    source: str
    target: str
    setup: Setup
    pairs: tuple[tuple[Point, Point], ...]
    turns: tuple[float, ...]
    max_steps: int
    max_gap: float
    only_target_touched: bool

    @cached_property
    def layouts(self) -> tuple[tuple[Point, Point, Quaternion], ...]:
        """(source xy, target xy, source quaternion) of each episode."""
        turned = [quaternion_from_euler(0.0, 0.0, turn) for turn in self.turns]
        return tuple((source, target, turn) for (source, target), turn in product(self.pairs, turned))


def _corner_pairs(*half_edges: float) -> tuple[tuple[Point, Point], ...]:
    """Ordered pairs of the corners of squares round (-0.16, 0)."""
    pairs: list[tuple[Point, Point]] = []
    for half in half_edges:
        corners = [(-0.16 + half * sx, half * sy) for sx, sy in product((-1.0, 1.0), repeat=2)]
        pairs += permutations(corners, 2)
    return tuple(pairs)


def _sink_pairs() -> tuple[tuple[Point, Point], ...]:
    xs, ys = np.linspace(-0.01, 0.01, 2), np.linspace(-0.015, 0.015, 4)
    return tuple(((float(x) - 0.105, float(y) + 0.206), (-0.125, 0.025)) for x, y in product(xs, ys))


_PLAIN_INFO, _BAKED_INFO = "info_bridge_custom_v0.json", "info_bridge_custom_baked_tex_v0.json"

#: In the order of the task ids.
BRIDGE_TASKS: tuple[BridgeTask, ...] = (
    BridgeTask(
        instruction="put the spoon on the towel",
        info=_PLAIN_INFO,
        source="bridge_spoon_generated_modified",
        target="table_cloth_generated_shorter",
        setup=TABLE,
        pairs=_corner_pairs(0.075),
        turns=(0.0, math.pi / 2),
        max_steps=60,
        max_gap=0.02,
        only_target_touched=False,
    ),
    BridgeTask(
        instruction="put carrot on plate",
        info=_PLAIN_INFO,
        source="bridge_carrot_generated_modified",
        target="bridge_plate_objaverse_larger",
        setup=TABLE,
        pairs=_corner_pairs(0.075),
        turns=(math.pi, -math.pi / 2),
        max_steps=60,
        max_gap=0.02,
        only_target_touched=True,
    ),
    BridgeTask(
        instruction="stack the green block on the yellow block",
        info=_BAKED_INFO,
        source="baked_green_cube_3cm",
        target="baked_yellow_cube_3cm",
        setup=TABLE,
        pairs=_corner_pairs(0.05, 0.1),
        turns=(0.0,),
        max_steps=60,
        max_gap=0.02,
        only_target_touched=True,
    ),
    BridgeTask(
        instruction="put eggplant into yellow basket",
        info=_PLAIN_INFO,
        source="eggplant",
        target="dummy_sink_target_plane",
        setup=SINK,
        pairs=_sink_pairs(),
        turns=(0.0, math.pi / 4, -math.pi / 4),
        max_steps=120,
        max_gap=0.06,
        only_target_touched=False,
    ),
)
