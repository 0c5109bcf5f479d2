"""``suite.protocol=maniskill3``: ManiSkill 3's own WidowX tasks, to compare with; not SIMPLER's numbers.

Their physics, layouts, controller formula and rules are kept (what differs: docs/simpler.md). Only the action's
rotation is converted, from SIMPLER's rotation vector to the Euler angles that ManiSkill's controller takes.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import sapien
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from runners.assets.maniskill import MANISKILL_VARIABLE, ManiSkillAssets
from runners.envs.base import EnvSpec, SuccessRule
from runners.envs.simpler.bridge import SUITE, bridge_facts
from runners.envs.simpler.bridge_look import CAMERA
from runners.envs.simpler.bridge_tasks import BRIDGE_TASKS
from runners.envs.simpler.env import LayoutFacts, SimplerEnv
from runners.envs.simpler.picture import Frame
from runners.envs.simpler.runtime import prepare
from vlacache.types import SIMPLER_WIDOWX_ACTION_SPEC

#: By task id: ManiSkill's id and its number of layouts.
TASKS: tuple[tuple[str, int], ...] = (
    ("PutSpoonOnTableClothInScene-v1", 24),
    ("PutCarrotOnPlateInScene-v1", 24),
    ("StackGreenCubeOnYellowCubeBakedTexInScene-v1", 24),
    ("PutEggplantInBasketScene-v1", 64),
)
OBS_MODE = "rgb+segmentation"


@dataclass(frozen=True, slots=True)
class ManiSkillFlags:
    """ManiSkill's verdict after one step."""

    success: bool = False


class ManiSkillEpisode:
    """One running episode of a ManiSkill env that outlives it."""

    def __init__(self, env: Any, instruction: str, layout: int) -> None:
        self.instruction = instruction
        self.flags = ManiSkillFlags()
        self._env = env
        env.reset(seed=0, options={"episode_id": layout})

    def step(self, action: NDArray[np.floating]) -> bool:
        """One control step; whether ManiSkill calls it a success."""
        euler = Rotation.from_rotvec(action[3:6]).as_euler("XYZ")
        *_, info = self._env.step(np.concatenate([action[:3], euler, action[6:]]).astype(np.float32))
        self.flags = ManiSkillFlags(bool(info["success"].item()))
        return self.flags.success

    def proprio(self) -> NDArray[np.float32]:
        """float32[8]: tool position (m) 3 and quaternion wxyz 4 in the frame of the base, opening of the gripper."""
        robot = self._env.agent.robot
        pose = robot.pose.sp.inv() * self.tool_pose()
        opening = robot.get_qpos()[0, 6:8].mean().item() / 0.037
        return np.concatenate([pose.p, pose.q, [opening]]).astype(np.float32)

    def tool_pose(self) -> sapien.Pose:
        """World pose of the tool."""
        return self._env.agent.robot.links_map["ee_gripper_link"].pose.sp

    def frame(self) -> Frame:
        """Picture with ManiSkill's overlay; which bodies are seen is not told apart."""
        self._env._obs_mode = OBS_MODE
        try:
            image = self._env.get_obs()["sensor_data"][CAMERA]["rgb"][0].cpu().numpy()
        finally:
            self._env._obs_mode = "none"
        return Frame(np.array(image, dtype=np.uint8), np.full(image.shape[:2], -1, dtype=np.int16), ())


class ManiSkillStart:
    """Starts episodes of one ManiSkill env, which is built once."""

    def __init__(self, task_id: int) -> None:
        import gymnasium
        import mani_skill.envs  # noqa: F401 - registers the ids
        from mani_skill.envs.tasks.digital_twins.base_env import BaseDigitalTwinEnv

        # ManiSkill keeps these in its class: a second env would draw the first one's photo and objects.
        BaseDigitalTwinEnv._rgb_overlay_images = {}
        BaseDigitalTwinEnv._objects_to_remove_from_greenscreen = []
        name, _ = TASKS[task_id]
        self.env = gymnasium.make(name, obs_mode=OBS_MODE, sim_backend="physx_cpu").unwrapped
        self.env._obs_mode = "none"  # no picture at reset and step
        self._instruction = BRIDGE_TASKS[task_id].instruction

    def start(self, init_index: int) -> ManiSkillEpisode:
        """Layout ``init_index``, ManiSkill's ``episode_id``."""
        return ManiSkillEpisode(self.env, self._instruction, init_index)


class ManiSkillEnv(SimplerEnv):
    """A ManiSkill env behind the same contract."""

    def __init__(
        self, spec: EnvSpec, starter: ManiSkillStart, facts: Sequence[LayoutFacts], sensor_noise: float = 0.0
    ) -> None:
        super().__init__(spec, starter, facts, sensor_noise)
        self._simulator: Any = starter.env

    def frame(self) -> Frame:
        """See ``SimplerEnv.frame``."""
        return self.privileged().frame()

    def close(self) -> None:
        """Free the simulator. May be called twice."""
        super().close()
        if self._simulator is not None:
            self._simulator.close()
        self._simulator = None


def make_maniskill_env(
    task_id: int,
    *,
    assets: ManiSkillAssets,
    max_steps: int,
    success_rule: SuccessRule = "final_step",
    sensor_noise: float = 0.0,
) -> ManiSkillEnv:
    """Build one task by ManiSkill's own protocol; task ids as in ``make_widowx_env``.

    Raises:
        RuntimeError: a package is missing, or ManiSkill was imported for another assets folder.
    """
    versions = prepare()
    _point_maniskill_at(assets)
    name, layouts = TASKS[task_id]
    spec = EnvSpec(
        suite=SUITE,
        task_id=task_id,
        instruction=BRIDGE_TASKS[task_id].instruction,
        control_hz=5,
        max_steps=max_steps,
        cameras=(CAMERA,),
        action_spec=SIMPLER_WIDOWX_ACTION_SPEC,
        success_rule=success_rule,
        num_init_states=layouts,
        assets=assets.provenance,
        versions={**versions, "protocol": "maniskill3", "env": name},
    )
    facts = bridge_facts(assets, BRIDGE_TASKS[task_id], layouts)
    return ManiSkillEnv(spec, ManiSkillStart(task_id), facts, sensor_noise)


def _point_maniskill_at(assets: ManiSkillAssets) -> None:
    """ManiSkill reads its assets folder from the environment, once, when it is imported."""
    os.environ[MANISKILL_VARIABLE] = str(assets.root)
    import mani_skill

    if assets.root / "data" != mani_skill.ASSET_DIR:
        raise RuntimeError(
            f"ManiSkill was imported with assets at {mani_skill.ASSET_DIR.name}: set {MANISKILL_VARIABLE} to the "
            "folder of the assets before Python starts"
        )
