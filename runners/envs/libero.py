"""LIBERO by the protocol of the OpenVLA and OFT scripts, on hf-libero.

What is not obvious, and why it is so:

- An episode is ``reset`` (which draws fixture poses), then the init state, then ``NUM_SETTLE_STEPS`` steps with an open
  gripper that do not count. Objects of an init state hang in the air; settling drops them.
- Fixture poses come from numpy's global generator at every reset. ``reseed="episode"`` seeds it before each reset, so
  an episode depends on ``(init_index, seed)`` alone. ``reseed="task"`` copies the official scripts, which seed once:
  the n-th episode of an env then depends on how many came before. Either way the stream is private to the env.
- The scripts compile a new model for every episode (1 s); here the model stays (``hard_reset=False``, 20 ms) and
  ``ModelRebuild`` brings it to where a new one starts. With ``reseed="task"`` all episodes of an env equal those of the
  scripts bit by bit; with ``"episode"`` each equals the first episode of an env that was newly built and seeded.
- Observations are those of robosuite's observables: sampled two physics substeps (4 ms) before the end of the control
  step. Pictures are drawn from that instant only when ``observe`` names a camera.
- Pictures are ``[::-1, ::-1]`` of robosuite's, as the models were trained: upright, and mirrored left to right.
- ``LeanStepper`` replaces robosuite's step loop; its trajectory is equal bit by bit.
- The axis-angle in proprio is not folded to angles below pi, as in the training data of the published checkpoints.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from runners.assets import ResolvedAssets
from runners.envs.base import EnvSpec, SuccessRule, TimeStep
from runners.envs.conventions import quat_xyzw_to_axis_angle, rotate_180
from runners.envs.libero_placement import sampled_state, training_rng, wide_state
from runners.envs.libero_runtime import prepare
from runners.envs.libero_tasks import CAMERAS, LIBERO_SUITES, LiberoTask, load_task
from runners.envs.lifecycle import EpisodeLifecycle
from runners.envs.wide.layout import NUM_WIDE_LAYOUTS, Stream, sample_wide_layout
from runners.envs.wide.layout import SUITE as WIDE_SUITE
from vlacache.types import LIBERO_ACTION_SPEC, Observation

__all__ = ["LIBERO_SUITES", "LiberoEnv", "make_libero_env"]

Reseed = Literal["episode", "task"]
Placement = Literal["official", "wide"]

CONTROL_HZ = 20.0
NUM_SETTLE_STEPS = 10
SETTLE_ACTION = np.array([0.0, 0.0, 0.0, 0.0, 0.0, 0.0, -1.0])


class LiberoEnv:
    """One LIBERO task; fulfils ``runners.envs.base.Env``. Built by ``make_libero_env``."""

    def __init__(self, spec: EnvSpec, task: LiberoTask, *, reseed: Reseed, image_size: int) -> None:
        # Imported late: they import MuJoCo and robosuite, for which prepare() chooses the OpenGL library first.
        from libero.libero.envs.env_wrapper import ControlEnv

        from runners.envs.libero_reset import ModelRebuild, private_numpy_seed

        self.spec = spec
        self._init_states = task.init_states
        self._reseed = reseed
        self._image_size = image_size
        self._lifecycle = EpisodeLifecycle(spec)
        self._rng_state: Mapping[str, Any] | None = None
        with private_numpy_seed(seed=0):
            self._control_env = ControlEnv(
                bddl_file_name=str(task.bddl_file),
                use_camera_obs=False,
                has_offscreen_renderer=False,
                hard_reset=False,
                control_freq=CONTROL_HZ,
            )
        self._rebuild = ModelRebuild(self._control_env.env)
        self._control_env.env.sim.reset = self._rebuild
        self._renderer: Any = None
        self._stepper: Any = None
        self._sample: Any = None
        self._start_state: NDArray[np.float64] | None = None

    def reset(self, *, init_index: int, seed: int) -> TimeStep:
        """Draw the fixtures, set init state or layout ``init_index``, let everything settle. See ``Env.reset``."""
        self._lifecycle.check_reset(init_index)
        robosuite_env = self._robosuite_env()
        self._draw_placement(seed)
        if self.spec.placement == "wide":
            layout = sample_wide_layout(Stream.EVALUATION, self.spec.task_id, init_index, seed)
            return self._begin(wide_state(robosuite_env, layout))
        return self._begin(self._init_states[init_index])

    def reset_training(self, *, index: int, seed: int, other_fixtures: bool = False) -> TimeStep:
        """Start an episode for training data, which no evaluation ever starts from.

        Args:
            index: number of the episode, from 0. seed: of the whole collection.
            other_fixtures: cabinet and stove come from another draw than the objects (a bowl in a drawer lies off its
                middle), as in every official episode: the authors' init states do not hold the fixtures.

        Raises:
            ValueError: ``other_fixtures`` in the wide placement, whose layouts hold both.
            RuntimeError: with ``reseed="task"``, where episodes depend on those before them.
        """
        if self._reseed != "episode":
            raise RuntimeError('training episodes need reseed="episode": build the env with it')
        if other_fixtures and self.spec.placement == "wide":
            raise ValueError("other_fixtures: expected placement official, got wide, whose layouts hold the fixtures")
        robosuite_env = self._robosuite_env()
        rng = training_rng(self.spec.task_id, index, seed)
        self._draw_placement(int(rng.integers(2**32)))
        if self.spec.placement == "wide":
            layout = sample_wide_layout(Stream.TRAINING, self.spec.task_id, index, seed)
            return self._begin(wide_state(robosuite_env, layout))
        state = sampled_state(robosuite_env, rng)
        if other_fixtures:
            self._draw_placement(int(rng.integers(2**32)))
        return self._begin(state)

    def _draw_placement(self, seed: int) -> None:
        """robosuite's reset: robot at its start, fixtures and objects where LIBERO's sampler puts them."""
        from runners.envs.libero_reset import private_numpy_seed

        rng_state = self._rng_state
        if self._reseed == "episode":
            rng_state = None
            self._rebuild.restart()
        with private_numpy_seed(seed=seed, state=rng_state) as end_state:
            self._control_env.reset()
        self._rng_state = end_state

    def _begin(self, init_state: NDArray[np.float64]) -> TimeStep:
        """Set ``init_state`` (time, qpos, qvel) and let everything settle."""
        from runners.envs.libero_stepper import LeanStepper

        self._start_state = init_state
        self._control_env.set_init_state(init_state)
        self._stepper = LeanStepper(self._robosuite_env())
        success = False
        for _ in range(NUM_SETTLE_STEPS):
            success = self._advance(SETTLE_ACTION)
        return self._lifecycle.begin(success=success)

    def step(self, action: NDArray[np.floating]) -> TimeStep:
        """One control step of 50 ms without a picture. Entries outside [-1, 1] are clipped by the controller."""
        self._lifecycle.check_step(action)
        return self._lifecycle.advance(success=self._advance(np.asarray(action, dtype=np.float64)))

    def observe(self, cameras: Sequence[str] = ()) -> Observation:
        """Proprio float32[8] and the named pictures uint8[image_size, image_size, 3] of the last sample."""
        self._lifecycle.check_observe(cameras)
        sample = self._sample
        axis_angle = quat_xyzw_to_axis_angle(sample.hand_quat_wxyz[[1, 2, 3, 0]])
        return Observation(
            images={name: rotate_180(self._open_renderer().render(sample.qpos, CAMERAS[name])) for name in cameras},
            instruction=self.spec.instruction,
            proprio=np.concatenate([sample.eef_pos, axis_angle, sample.gripper_qpos]).astype(np.float32),
            step=self._lifecycle.step,
        )

    def privileged(self) -> Any:
        """Live ``LiberoState``; read it again after each step."""
        from runners.envs.libero_state import LiberoState

        return LiberoState.of(self._robosuite_env())

    def observed_qpos(self) -> NDArray[np.float64]:
        """Joint positions float64[nq] of the instant that ``observe`` shows, 4 ms before that of ``privileged``."""
        self._lifecycle.check_observe(())
        return self._sample.qpos.copy()

    def close(self) -> None:
        """Free renderer and simulator. May be called twice; every other call raises ``RuntimeError`` afterwards."""
        if self._renderer is not None:
            self._renderer.close()
        if self._control_env is not None:
            self._control_env.close()
        self._renderer = self._control_env = self._rebuild = self._stepper = self._sample = None

    def _advance(self, action: NDArray[np.float64]) -> bool:
        """One control step; whether the goal holds after it."""
        robosuite_env = self._robosuite_env()
        # Visual changes (the burner's glow) follow here and not after the step: pictures show them one step late, as
        # robosuite's do. Physics does not read them.
        robosuite_env._post_process()
        self._sample = self._stepper.step(action)
        return bool(robosuite_env._check_success())

    def _robosuite_env(self) -> Any:
        if self._control_env is None:
            raise RuntimeError("the env was closed: build a new one")
        return self._control_env.env

    def _open_renderer(self) -> Any:
        """The renderer, made at the first picture: a run of a scripted policy needs no OpenGL."""
        if self._renderer is None:
            from runners.envs.libero_render import CameraRenderer

            model = self._robosuite_env().sim.model._model
            self._renderer = CameraRenderer(model, self._image_size, self.spec.assets.render)
        return self._renderer


def make_libero_env(
    suite: str,
    task_id: int,
    *,
    assets: ResolvedAssets,
    max_steps: int | None = None,
    reseed: Reseed = "episode",
    placement: str = "official",
    render: str = "fast",
    success_rule: SuccessRule = "first",
    image_size: int = 256,
    allow_untested_mujoco: bool = False,
) -> LiberoEnv:
    """Build one task of a LIBERO suite.

    Args:
        suite: ``libero_spatial``, ``libero_object``, ``libero_goal``, ``libero_10`` or ``libero_90``.
        task_id: in the official order. assets: from ``runners.assets.resolve_assets``.
        max_steps: None for the suite's own limit. reseed: see the module docstring.
        placement: ``official``, the init states of the package, or ``wide`` (see ``runners.envs.wide``).
        render: must agree with ``assets.provenance.render``.
        success_rule: when an episode ends. image_size: pixels, 256 by the protocol.
        allow_untested_mujoco: run on any MuJoCo and mark the run.

    Raises:
        ValueError: an argument outside its choices.
        RuntimeError: MuJoCo outside the tested range, or a missing package or library.
    """
    _check_arguments(assets, max_steps, reseed, placement, render, success_rule, image_size)
    if suite not in LIBERO_SUITES:
        raise ValueError(f"suite: expected one of {', '.join(LIBERO_SUITES)}, got {suite!r}")
    if placement == "wide" and suite != WIDE_SUITE:
        raise ValueError(f"suite.placement=wide: written for {WIDE_SUITE}, got suite {suite}; use placement=official")
    versions = prepare(assets.root, allow_untested_mujoco=allow_untested_mujoco)
    task = load_task(suite, task_id)
    spec = EnvSpec(
        suite=suite,
        task_id=task_id,
        instruction=task.instruction,
        control_hz=CONTROL_HZ,
        max_steps=LIBERO_SUITES[suite] if max_steps is None else max_steps,
        cameras=tuple(CAMERAS),
        action_spec=LIBERO_ACTION_SPEC,
        success_rule=success_rule,
        num_init_states=NUM_WIDE_LAYOUTS if placement == "wide" else len(task.init_states),
        assets=assets.provenance,
        placement=placement,
        versions={**versions, "reseed": reseed},
    )
    return LiberoEnv(spec, task, reseed=reseed, image_size=image_size)


def _check_arguments(
    assets: ResolvedAssets,
    max_steps: int | None,
    reseed: str,
    placement: str,
    render: str,
    success_rule: str,
    image_size: int,
) -> None:
    choices = {
        "reseed": (reseed, get_args(Reseed)),
        "placement": (placement, get_args(Placement)),
        "render": (render, (assets.provenance.render,)),
        "success_rule": (success_rule, get_args(SuccessRule)),
    }
    for name, (value, allowed) in choices.items():
        if value not in allowed:
            raise ValueError(f"suite.{name}: expected one of {', '.join(allowed)}, got {value!r}")
    for name, number in (("max_steps", max_steps), ("image_size", image_size)):
        if number is not None and number < 1:
            raise ValueError(f"suite.{name}: expected at least 1, got {number}")
