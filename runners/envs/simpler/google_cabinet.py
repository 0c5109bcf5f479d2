"""The cabinet of the drawer tasks: body, three drawers on rails, and the question what touches a drawer's bottom."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import sapien
from sapien import physx

from runners.envs.simpler.contacts import MIN_IMPULSE, impulse_of
from runners.envs.simpler.files import missing_files
from runners.envs.simpler.objects import DATASET
from runners.envs.simpler.robot import urdf_builder

POSITION = (-0.295, 0.0, 0.017)
#: Of each drawer's rail: share of the load, and N s/m. There is no spring. The original's 0.05 holds less in SAPIEN 3:
#: this opens a drawer as far as there when it is pulled with 6, 8, 10 or 20 N, and when it bears 50 N as well.
RAIL_FRICTION, RAIL_DAMPING = 0.0519, 1.0
#: Place of the interior bottom among a drawer's collision shapes.
BOTTOM_SHAPE = 2
#: Opening (m) of the drawer that is to be closed.
START_OPEN = 0.2


def cabinet_file(root: Path, station: str) -> Path:
    """URDF of a cabinet below the root of ManiSkill's assets."""
    return root / DATASET / "custom" / f"{station}.urdf"


class Cabinet:
    """The cabinet of one episode, without visuals."""

    def __init__(self, scene: sapien.Scene, root: Path, station: str) -> None:
        builder = _builder_without_visuals(scene, cabinet_file(root, station))
        builder.set_initial_pose(sapien.Pose(POSITION))
        self._articulation = builder.build()
        self._articulation.set_name("cabinet")
        names = [joint.name for joint in self._articulation.active_joints]
        self._index = {name.removesuffix("_drawer_joint"): at for at, name in enumerate(names)}
        for joint in self._articulation.active_joints:
            joint.set_friction(RAIL_FRICTION)
            joint.set_drive_properties(0.0, RAIL_DAMPING)
        self.links = {link.name: link for link in self._articulation.links}

    def set_opening(self, drawer: str, opening: float) -> None:
        """Put ``drawer`` at ``opening`` (m) and close the others, everything at rest."""
        qpos = np.zeros(len(self._index), dtype=np.float32)
        qpos[self._index[drawer]] = opening
        self._articulation.set_qpos(qpos)
        self._articulation.set_qvel(np.zeros_like(qpos))

    def opening(self, drawer: str) -> float:
        """How far ``drawer`` is pulled out, m."""
        return float(self._articulation.qpos[self._index[drawer]])

    def push(self, drawer: str, force: float) -> None:
        """Press ``drawer`` outwards with ``force`` (N) during the next physics step."""
        forces = np.zeros(len(self._index), dtype=np.float32)
        forces[self._index[drawer]] = force
        self._articulation.set_qf(forces)

    def presses_bottom(self, contacts: Sequence[physx.PhysxContact], drawer: str, entity: sapien.Entity) -> bool:
        """Whether ``entity`` presses on the interior bottom of ``drawer``."""
        link = self.links[f"{drawer}_drawer"]
        bottom = link.collision_shapes[BOTTOM_SHAPE]
        total = np.zeros(3)
        for contact in contacts:
            if bottom in contact.shapes and entity in (body.entity for body in contact.bodies):
                total += impulse_of(contact)
        return bool(np.linalg.norm(total) > MIN_IMPULSE)


def _builder_without_visuals(scene: sapien.Scene, urdf: Path) -> sapien.ArticulationBuilder:
    """Parse ``urdf`` where there may be no renderer: SAPIEN makes a file's materials on the graphics device."""
    if not urdf.is_file():
        raise missing_files([urdf])
    tree = ElementTree.parse(urdf)
    for link in tree.iter("link"):
        for visual in link.findall("visual"):
            link.remove(visual)
    with tempfile.TemporaryDirectory() as folder:
        bare = Path(folder) / urdf.name
        tree.write(bare)
        return urdf_builder(scene, bare)
