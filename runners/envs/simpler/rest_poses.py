"""Where the original's objects come to rest, as data, for layouts in which they roll or tumble.

One micrometre decides there: in SAPIEN 2.2.2 itself the orange of move-near comes to rest 54 mm aside when it is
dropped 1e-6 m aside. No other solver finds these poses, so they are initial states, as LIBERO ships its own. Made for
every layout by ``scripts/settle_simpler2.py`` with SAPIEN 2.2.2, and found by the digest of all that decides them:
another mesh, density or place has no entry, and settles here.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, cast

REST_FILE = Path(__file__).with_name("rest_poses.json")

Floats = tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Drop:
    """One object that falls: ``collision`` mesh, ``xy`` m, ``turn`` quaternion wxyz, ``density`` kg/m^3."""

    name: str
    collision: Path
    xy: tuple[float, float]
    turn: Floats
    density: float


@dataclass(frozen=True, slots=True)
class DropCase:
    """All that decides where objects come to rest.

    Attributes:
        stage: mesh file; stage_pose, stage_inner: of its body, and of the mesh in it: position m 3, quaternion wxyz 4.
        drops: in the order in which they are built. fixed: a body that is held in the air, and its position.
        sim_hz: physics steps a second. contact_offset: m.
    """

    stage: Path
    stage_pose: Floats
    stage_inner: Floats
    drops: tuple[Drop, ...]
    sim_hz: int
    contact_offset: float
    fixed: Drop | None = None
    fixed_position: Floats = ()

    @property
    def key(self) -> str:
        """Digest of the files' contents and the numbers, to a micrometre."""
        bodies = [*self.drops, *([self.fixed] if self.fixed else [])]
        facts = [
            _digest(self.stage),
            *([round(x, 6) + 0.0 for x in numbers] for numbers in (self.stage_pose, self.stage_inner)),
            [[_digest(b.collision), *(round(x, 6) + 0.0 for x in (*b.xy, *b.turn, b.density))] for b in bodies],
            [round(x, 6) for x in (*self.fixed_position, self.contact_offset)],
            self.sim_hz,
        ]
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class Rest:
    """``poses``: name -> position m 3, quaternion wxyz 4, world frame. ``phases``: seconds of each settling call."""

    poses: Mapping[str, Floats]
    phases: list[float]


def known_rest(case: DropCase) -> Rest | None:
    """Where the original's objects rest, or None if that is not known."""
    entry = _table().get(case.key)
    if entry is None:
        return None
    poses = zip(case.drops, entry["poses"], strict=True)
    return Rest({drop.name: tuple(pose) for drop, pose in poses}, entry["phases"])


def write_table(rests: Mapping[str, tuple[Sequence[Sequence[float]], Sequence[float]]]) -> None:
    """Write poses (in the order of the drops) and phases by key."""
    rows = [
        f'"{key}": {json.dumps({"phases": list(phases), "poses": [[round(x, 7) for x in pose] for pose in poses]})}'
        for key, (poses, phases) in sorted(rests.items())
    ]
    REST_FILE.write_text("{\n" + ",\n".join(rows) + "\n}\n", encoding="utf-8")


@cache
def _table() -> Mapping[str, Mapping[str, Any]]:
    return cast("Mapping[str, Mapping[str, Any]]", json.loads(REST_FILE.read_text(encoding="utf-8")))


@cache
def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
