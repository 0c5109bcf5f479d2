"""A toy task in numpy for tests and for trying the plumbing: a gripper over a board must seize a coloured square.

Deterministic, no files, well under a millisecond a step. ``init_index`` places the squares, ``seed`` the gripper.
The ``agentview`` picture has a static textured background in which only the gripper moves; ``wrist`` follows it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from runners.envs.base import AssetProvenance, Env, EnvSpec, SuccessRule, TimeStep
from runners.envs.lifecycle import EpisodeLifecycle
from vlacache.types import LIBERO_ACTION_SPEC, Observation

TOY_COLOURS: dict[str, tuple[int, int, int]] = {"red": (205, 60, 50), "green": (60, 160, 75), "blue": (55, 95, 200)}
STEP_SIZE = 0.1  # board units for a full action; the board is [-1, 1] x [-1, 1]
ROTATION_STEP = 0.1  # rad for a full action
SQUARE_HALF = 0.14
GRIPPER_RADIUS = 0.07
MIN_SQUARE_DISTANCE = 0.5
MIN_START_DISTANCE = 1.0  # ten steps, more than a random walk of a test covers
FINGER_OPEN_M = 0.04
WRIST_SPAN = 0.5  # half width of the board section that the wrist camera sees
NUM_INIT_STATES = 20


@dataclass(frozen=True, slots=True)
class ToyState:
    """Privileged state. Board coordinates, float64.

    Attributes:
        gripper: x, y, z of the gripper. rotation: axis-angle (rad). closed: the fingers are shut.
        squares: float64[3, 2] centres in the order of ``TOY_COLOURS``. target: index of the square to seize.
    """

    gripper: NDArray[np.float64]
    rotation: NDArray[np.float64]
    closed: bool
    squares: NDArray[np.float64]
    target: int

    @property
    def success(self) -> bool:
        """The closed gripper is over the target square."""
        offset = np.abs(self.gripper[:2] - self.squares[self.target])
        return self.closed and bool(np.all(offset < SQUARE_HALF))


class ToyEnv:
    """See the module docstring; fulfils ``runners.envs.base.Env``."""

    def __init__(self, spec: EnvSpec, image_size: int) -> None:
        self.spec = spec
        self._image_size = image_size
        self._lifecycle = EpisodeLifecycle(spec)
        self._state: ToyState | None = None
        grain = np.random.default_rng(0).integers(-14, 15, size=(image_size, image_size, 1))
        shade = np.linspace(-12, 12, image_size)[None, :, None]
        self._board = np.clip(np.array([188, 170, 148]) + grain + shade, 0, 255).astype(np.uint8)

    def reset(self, *, init_index: int, seed: int) -> TimeStep:
        """Place the squares by ``init_index`` and the open gripper by ``seed``."""
        self._lifecycle.check_reset(init_index)
        squares = _place_squares(init_index)
        target = self.spec.task_id
        start = _place_gripper(squares[target], [target, init_index, seed])
        self._state = ToyState(np.array([*start, 0.2]), np.zeros(3), closed=False, squares=squares, target=target)
        return self._lifecycle.begin(success=self._state.success)

    def step(self, action: NDArray[np.floating]) -> TimeStep:
        """Move by ``STEP_SIZE * action[:3]``; the last entry opens (< 0), closes (> 0) or keeps (0) the fingers."""
        self._lifecycle.check_step(action)
        state = self.privileged()
        command = np.clip(np.asarray(action, dtype=np.float64), -1.0, 1.0)
        self._state = ToyState(
            gripper=np.clip(state.gripper + STEP_SIZE * command[:3], -1.0, 1.0),
            rotation=state.rotation + ROTATION_STEP * command[3:6],
            closed=state.closed if command[6] == 0.0 else bool(command[6] > 0.0),
            squares=state.squares,
            target=state.target,
        )
        return self._lifecycle.advance(success=self._state.success)

    def observe(self, cameras: Sequence[str] = ()) -> Observation:
        """Proprio and the named pictures of the current state."""
        self._lifecycle.check_observe(cameras)
        state = self.privileged()
        finger = 0.0 if state.closed else FINGER_OPEN_M
        return Observation(
            images={name: self._draw(name, state) for name in cameras},
            instruction=self.spec.instruction,
            proprio=np.concatenate([state.gripper, state.rotation, [finger, -finger]]).astype(np.float32),
            step=self._lifecycle.step,
        )

    def privileged(self) -> ToyState:
        """State for scripted policies. Raises ``RuntimeError`` before ``reset``."""
        if self._state is None:
            raise RuntimeError("privileged before reset: call reset(init_index=..., seed=...) first")
        return self._state

    def close(self) -> None:
        """Nothing to free."""

    def _draw(self, camera: str, state: ToyState) -> NDArray[np.uint8]:
        """One picture uint8[image_size, image_size, 3]."""
        picture = self._draw_board(state)
        if camera == "wrist":
            picture = _crop_around(picture, state.gripper[:2])
        return picture

    def _draw_board(self, state: ToyState) -> NDArray[np.uint8]:
        picture = self._board.copy()
        axis = np.linspace(-1.0, 1.0, self._image_size)
        x, y = axis[None, :], -axis[:, None]
        for centre, colour in zip(state.squares, TOY_COLOURS.values(), strict=True):
            inside = (np.abs(x - centre[0]) < SQUARE_HALF) & (np.abs(y - centre[1]) < SQUARE_HALF)
            picture[inside] = (0.2 * picture[inside] + 0.8 * np.array(colour)).astype(np.uint8)
        distance = np.hypot(x - state.gripper[0], y - state.gripper[1])
        ring = (distance < GRIPPER_RADIUS) & (state.closed | (distance > 0.6 * GRIPPER_RADIUS))
        picture[ring] = (35, 35, 40)
        return picture


class FaultyEnv:
    """Any env, but ``step`` number ``raise_at_step`` (counted from 0 over each episode) raises: fault injection.

    Args:
        env: the env to wrap. raise_at_step: step that raises ``RuntimeError``. num_faults: episodes that fail
            before the env works normally; None for all of them.
    """

    def __init__(self, env: Env, raise_at_step: int, num_faults: int | None = None) -> None:
        self.spec = env.spec
        self._env = env
        self._raise_at_step = raise_at_step
        self._faults_left = num_faults
        self._step = 0

    def reset(self, *, init_index: int, seed: int) -> TimeStep:
        """See ``Env.reset``."""
        self._step = 0
        return self._env.reset(init_index=init_index, seed=seed)

    def step(self, action: NDArray[np.floating]) -> TimeStep:
        """See ``Env.step``; raises ``RuntimeError`` at the chosen step."""
        if self._step == self._raise_at_step and self._faults_left != 0:
            self._faults_left = None if self._faults_left is None else self._faults_left - 1
            raise RuntimeError(f"injected fault at step {self._step}")
        self._step += 1
        return self._env.step(action)

    def observe(self, cameras: Sequence[str] = ()) -> Observation:
        """See ``Env.observe``."""
        return self._env.observe(cameras)

    def privileged(self) -> object:
        """See ``Env.privileged``."""
        return self._env.privileged()

    def close(self) -> None:
        """See ``Env.close``."""
        self._env.close()


def make_toy_env(
    task_id: int = 0,
    *,
    max_steps: int = 40,
    image_size: int = 224,
    success_rule: SuccessRule = "first",
) -> ToyEnv:
    """Build task ``task_id`` (0 red, 1 green, 2 blue) of suite ``toy``.

    Raises:
        ValueError: unknown task, or sizes below 1.
    """
    colours = list(TOY_COLOURS)
    if not 0 <= task_id < len(colours):
        raise ValueError(f"task_id: suite toy has tasks 0 .. {len(colours) - 1}, got {task_id}")
    if max_steps < 1 or image_size < 1:
        raise ValueError(f"expected max_steps >= 1 and image_size >= 1, got {max_steps} and {image_size}")
    spec = EnvSpec(
        suite="toy",
        task_id=task_id,
        instruction=f"move over the {colours[task_id]} square and close the gripper",
        control_hz=20.0,
        max_steps=max_steps,
        cameras=("agentview", "wrist"),
        action_spec=LIBERO_ACTION_SPEC,
        success_rule=success_rule,
        num_init_states=NUM_INIT_STATES,
        assets=AssetProvenance(source="none", digest="0" * 16, render="fast", detail="toy"),
        versions={"numpy": np.__version__},
    )
    return ToyEnv(spec, image_size)


def _place_squares(init_index: int) -> NDArray[np.float64]:
    """Centres float64[3, 2] at least ``MIN_SQUARE_DISTANCE`` apart, by rejection; the same for every task."""
    rng = np.random.default_rng([len(TOY_COLOURS), init_index])
    while True:
        squares = rng.uniform(-0.75, 0.75, size=(len(TOY_COLOURS), 2))
        gaps = np.linalg.norm(squares[:, None] - squares[None], axis=-1)[np.triu_indices(len(squares), k=1)]
        if gaps.min() >= MIN_SQUARE_DISTANCE:
            return squares


def _place_gripper(target: NDArray[np.float64], seed: list[int]) -> NDArray[np.float64]:
    """Start float64[2] at least ``MIN_START_DISTANCE`` from the target square, by rejection."""
    rng = np.random.default_rng(seed)
    while True:
        start = rng.uniform(-0.8, 0.8, size=2)
        if np.linalg.norm(start - target) >= MIN_START_DISTANCE:
            return start


def _crop_around(picture: NDArray[np.uint8], centre: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Section of +-``WRIST_SPAN`` around ``centre``, grey outside the board, at the size of ``picture``."""
    size = picture.shape[0]
    offsets = np.linspace(-WRIST_SPAN, WRIST_SPAN, size)
    columns = np.rint((centre[0] + offsets + 1.0) * 0.5 * (size - 1)).astype(int)
    rows = np.rint((1.0 - (centre[1] - offsets)) * 0.5 * (size - 1)).astype(int)
    inside = ((rows >= 0) & (rows < size))[:, None] & ((columns >= 0) & (columns < size))[None]
    section = picture[np.clip(rows, 0, size - 1)[:, None], np.clip(columns, 0, size - 1)[None]]
    return np.where(inside[..., None], section, np.uint8(90))
