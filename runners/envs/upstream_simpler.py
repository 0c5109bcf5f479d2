"""``suite.backend=simpler_env``: the same suites through the original package, to compare with.

The package (``simpler_env`` with ``mani_skill2_real2sim``, on GitHub, not on PyPI) needs SAPIEN 2, so an environment of
its own, and an NVIDIA GPU: SAPIEN 2 has no software renderer. Its conventions are kept: an episode runs on after a
success, the instruction is read anew at every step, and every step renders.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.metadata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runners.envs.base import AssetProvenance, EnvSpec, SuccessRule, TimeStep
from runners.envs.lifecycle import EpisodeLifecycle
from runners.envs.simpler.bridge_tasks import BRIDGE_TASKS, BridgeTask
from runners.envs.simpler.google_tasks import GOOGLE_TASKS, VA_SUITE, VM_SUITE
from runners.envs.upstream_google import CAMERA as GOOGLE_CAMERA
from runners.envs.upstream_google import episodes, first_instruction
from vlacache.types import SIMPLER_GOOGLE_ACTION_SPEC, SIMPLER_WIDOWX_ACTION_SPEC, ActionSpec, Observation

PACKAGE = "simpler_env"
WIDOWX_SUITE = "simpler_widowx"
#: Names of the pictures in upstream's observations; older versions call them ``Color`` (floats in 0 .. 1).
PICTURE_KEYS = ("rgb", "Color")


@dataclass(frozen=True)
class UpstreamLayout:
    """One initial state.

    Attributes:
        options: of ``reset``. env: for ``simpler_env.make``, or, with ``keywords``, an id for its environment builder.
        photo: file below the package's ``real_inpainting`` folder, shown behind robot and objects.
        setting: see ``EnvSpec``.
    """

    options: Mapping[str, Any]
    env: str
    keywords: Mapping[str, Any] | None = None
    photo: str | None = None
    setting: str | None = None

    def build(self) -> Any:
        """The package's env for this layout."""
        if self.keywords is None:
            return _package().make(self.env)
        builder = importlib.import_module(f"{PACKAGE}.utils.env.env_builder")
        photo: dict[str, str] = {}
        if self.photo is not None:
            assets = importlib.import_module("mani_skill2_real2sim").ASSET_DIR
            photo["rgb_overlay_path"] = str(assets / "real_inpainting" / self.photo)
        return builder.build_maniskill2_env(self.env, **self.keywords, **photo)

    def is_built_like(self, other: UpstreamLayout) -> bool:
        """Whether both are layouts of one env."""
        return (self.env, self.keywords, self.photo) == (other.env, other.keywords, other.photo)


@dataclass(frozen=True, slots=True)
class UpstreamTask:
    """One task; ``instruction`` is that of its first layout."""

    instruction: str
    control_hz: int
    max_steps: int
    camera: str
    action_spec: ActionSpec
    layouts: Sequence[UpstreamLayout]


def _widowx(name: str, task: BridgeTask) -> UpstreamTask:
    x, y, _ = task.setup.base_position
    robot = {"init_xy": np.array([x, y]), "init_rot_quat": np.array([0.0, 0.0, 0.0, 1.0])}
    layouts = [
        UpstreamLayout({"robot_init_options": robot, "obj_init_options": {"episode_id": index}}, name)
        for index in range(len(task.layouts))
    ]
    return UpstreamTask(task.instruction, 5, task.max_steps, "3rd_view_camera", SIMPLER_WIDOWX_ACTION_SPEC, layouts)


def _google(suite: str, task_id: int) -> UpstreamTask:
    layouts = [
        UpstreamLayout(options, name, keywords, photo, setting)
        for name, keywords, photo, options, setting in episodes(suite, task_id)
    ]
    max_steps = GOOGLE_TASKS[task_id].max_steps
    instruction = first_instruction(suite, task_id)
    return UpstreamTask(instruction, 3, max_steps, GOOGLE_CAMERA, SIMPLER_GOOGLE_ACTION_SPEC, layouts)


_WIDOWX_NAMES = (
    "widowx_spoon_on_towel",
    "widowx_carrot_on_plate",
    "widowx_stack_cube",
    "widowx_put_eggplant_in_basket",
)
#: Suites that the package has.
UPSTREAM_SUITES: tuple[str, ...] = (WIDOWX_SUITE, VM_SUITE, VA_SUITE)


@cache
def upstream_tasks(suite: str) -> tuple[UpstreamTask, ...]:
    """The tasks of a suite by id.

    Raises:
        ValueError: no such suite.
    """
    if suite not in UPSTREAM_SUITES:
        raise ValueError(f"suite.backend={PACKAGE}: expected suite={' or '.join(UPSTREAM_SUITES)}, got {suite}")
    if suite == WIDOWX_SUITE:
        return tuple(_widowx(name, task) for name, task in zip(_WIDOWX_NAMES, BRIDGE_TASKS, strict=True))
    return tuple(_google(suite, task_id) for task_id in range(len(GOOGLE_TASKS)))


class UpstreamEnv:
    """One task of the original package; fulfils ``runners.envs.base.Env``, but for rendering on demand."""

    def __init__(self, spec: EnvSpec, task: UpstreamTask) -> None:
        self.spec = spec
        self._task = task
        self._built = task.layouts[0]
        self._simulator = self._built.build()
        self._lifecycle = EpisodeLifecycle(spec)
        self._observation: Mapping[str, Any] = {}

    def reset(self, *, init_index: int, seed: int) -> TimeStep:
        """Start layout ``init_index``; upstream draws nothing, so ``seed`` changes nothing. See ``Env.reset``."""
        self._lifecycle.check_reset(init_index)
        layout = self._task.layouts[init_index]
        simulator = self.privileged()
        if not layout.is_built_like(self._built):
            simulator.close()
            self._built, self._simulator = layout, layout.build()
        self._observation, _ = self._simulator.reset(options=dict(layout.options))
        instruction = str(self._simulator.get_language_instruction())
        self.spec = replace(self.spec, instruction=instruction, setting=layout.setting)
        return self._lifecycle.begin(success=False)

    def step(self, action: NDArray[np.floating]) -> TimeStep:
        """One control step; its picture is rendered whether asked for or not. See ``Env.step``."""
        self._lifecycle.check_step(action)
        self._observation, _, done, _, info = self.privileged().step(np.asarray(action, dtype=np.float64))
        return self._lifecycle.advance(success=bool(info.get("success", done)))

    def observe(self, cameras: Sequence[str] = ()) -> Observation:
        """Pictures of the last step, and the instruction as it reads now. See ``Env.observe``."""
        self._lifecycle.check_observe(cameras)
        return Observation(
            images={name: _picture(self._observation["image"][name]) for name in cameras},
            instruction=str(self.privileged().get_language_instruction()),
            proprio=np.asarray(self._observation["agent"]["qpos"], dtype=np.float32).ravel(),
            step=self._lifecycle.step,
        )

    def privileged(self) -> Any:
        """The package's own env.

        Raises:
            RuntimeError: after ``close``.
        """
        if self._simulator is None:
            raise RuntimeError("the env was closed: build a new one")
        return self._simulator

    def close(self) -> None:
        """Free the simulator. May be called twice."""
        if self._simulator is not None:
            self._simulator.close()
        self._simulator = None


def make_upstream_env(
    suite: str, task_id: int, *, max_steps: int | None = None, success_rule: SuccessRule = "final_step"
) -> UpstreamEnv:
    """Build one task.

    Raises:
        ValueError: no such suite or task. RuntimeError: the package is not installed.
    """
    tasks = upstream_tasks(suite)
    if not 0 <= task_id < len(tasks):
        raise ValueError(f"suite.task_ids: {suite} has tasks 0 .. {len(tasks) - 1}, got {task_id}")
    task = tasks[task_id]
    spec = EnvSpec(
        suite=suite,
        task_id=task_id,
        instruction=task.instruction,
        control_hz=task.control_hz,
        max_steps=task.max_steps if max_steps is None else max_steps,
        cameras=(task.camera,),
        action_spec=task.action_spec,
        success_rule=success_rule,
        num_init_states=len(task.layouts),
        assets=upstream_provenance(),
        versions=upstream_versions(),
    )
    return UpstreamEnv(spec, task)


def upstream_versions() -> dict[str, str]:
    """For the run record. Raises ``RuntimeError`` when the package is not installed."""
    _package()
    versions = {"backend": PACKAGE}
    for name in (PACKAGE, "mani_skill2_real2sim", "sapien"):
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = "unknown"
    return versions


def upstream_provenance() -> AssetProvenance:
    """The package brings its own assets; their digest is that of its version."""
    versions = upstream_versions()
    digest = hashlib.sha256(repr(sorted(versions.items())).encode()).hexdigest()
    return AssetProvenance("official", digest[:16], "raster", f"{PACKAGE} {versions[PACKAGE]}")


def _package() -> Any:
    try:
        return importlib.import_module(PACKAGE)
    except ImportError as error:
        raise RuntimeError(
            f"suite.backend={PACKAGE}: the package is not installed here ({error}). It needs SAPIEN 2 and an NVIDIA "
            "GPU: install https://github.com/simpler-env/SimplerEnv in an environment of its own, or use "
            "suite.backend=simpler"
        ) from error


def _picture(camera: Mapping[str, Any]) -> NDArray[np.uint8]:
    """uint8[H, W, 3] of one camera's textures."""
    key = next((key for key in PICTURE_KEYS if key in camera), None)
    if key is None:
        raise RuntimeError(f"{PACKAGE}: expected a picture named {' or '.join(PICTURE_KEYS)}, got {sorted(camera)}")
    image = np.asarray(camera[key])[..., :3]
    if image.dtype != np.uint8:
        image = np.clip(image * 255.0, 0, 255).astype(np.uint8)
    return np.array(image)
