"""Privileged view of a LIBERO scene for scripted policies: live reads of the simulator by name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import mujoco
import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class LiberoState:
    """Reads the current state; world frame, metres, radians. Values are copies.

    Attributes:
        model, data: MuJoCo's structures, for geometry queries. Not to be written.
        goal: the task's predicates, e.g. ``(("on", "akita_black_bowl_1", "plate_1"),)``, all of which must hold.
        root_bodies: object or fixture instance name -> body id.
        eef_site: id of the grip site. robot_base: id of the arm's root body.
    """

    model: mujoco.MjModel
    data: mujoco.MjData
    goal: tuple[tuple[str, ...], ...]
    root_bodies: dict[str, int]
    eef_site: int
    robot_base: int

    @classmethod
    def of(cls, robosuite_env: Any) -> LiberoState:
        """View of a built LIBERO environment."""
        sim, robot = robosuite_env.sim, robosuite_env.robots[0]
        return cls(
            model=sim.model._model,
            data=sim.data._data,
            goal=tuple(tuple(predicate) for predicate in robosuite_env.parsed_problem["goal_state"]),
            root_bodies=dict(robosuite_env.obj_body_id),
            eef_site=robot.eef_site_id,
            robot_base=sim.model.body_name2id(robot.robot_model.root_body),
        )

    @property
    def eef_pos(self) -> NDArray[np.float64]:
        """Grip site between the finger tips, float64[3]."""
        return self.data.site_xpos[self.eef_site].copy()

    @property
    def eef_rotation(self) -> NDArray[np.float64]:
        """Rotation of the grip site, float64[3, 3]; the fingers move along column 0, the hand points along column 2."""
        return self.data.site_xmat[self.eef_site].reshape(3, 3).copy()

    @property
    def base_pos(self) -> NDArray[np.float64]:
        """Root of the arm, float64[3]."""
        return self.data.xpos[self.robot_base].copy()

    def object_pos(self, name: str) -> NDArray[np.float64]:
        """Origin of an object or fixture, float64[3]. Raises ``KeyError`` for an unknown instance."""
        return self.data.xpos[self.root_bodies[name]].copy()

    def site_pos(self, name: str) -> NDArray[np.float64]:
        """Centre of a named region, float64[3]. Raises ``KeyError`` for an unknown site."""
        return self.data.site(name).xpos.copy()

    def holds(self, name: str) -> bool:
        """Whether both fingers touch the object or fixture ``name``; False for a region, which nothing can hold."""
        if name not in self.root_bodies:
            return False
        touching = {side for side, fingers in self._fingers().items() if self._touch(fingers, self.root_bodies[name])}
        return len(touching) == 2

    def _fingers(self) -> dict[str, set[int]]:
        """Bodies of each finger, its tip among them."""
        sides = {side: self.model.body(f"gripper0_{side}finger").id for side in ("left", "right")}
        return {side: {b for b in range(self.model.nbody) if self._is_part(b, root)} for side, root in sides.items()}

    def _touch(self, bodies: set[int], root: int) -> bool:
        for contact in self.data.contact[: self.data.ncon]:
            one, other = (int(self.model.geom_bodyid[geom]) for geom in contact.geom)
            if (one in bodies and self._is_part(other, root)) or (other in bodies and self._is_part(one, root)):
                return True
        return False

    def _is_part(self, body: int, root: int) -> bool:
        """Whether ``body`` is ``root`` or hangs below it."""
        while body > root:  # parents have lower numbers
            body = int(self.model.body_parentid[body])
        return body == root

    def rotation(self, body: int) -> NDArray[np.float64]:
        """Rotation of a body, float64[3, 3]."""
        return self.data.xmat[body].reshape(3, 3).copy()

    def subtree(self, body: int) -> NDArray[np.bool_]:
        """Which bodies hang below ``body`` (itself included), bool[nbody]."""
        inside = np.zeros(self.model.nbody, dtype=bool)
        inside[body] = True
        for child in range(body + 1, self.model.nbody):  # parents come first
            inside[child] = inside[self.model.body_parentid[child]]
        return inside
