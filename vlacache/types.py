"""Types that cross the boundary between a simulator and a policy: numpy only, frozen.

Letters: H, W pixels; P patches of all cameras; S proprio dimension; T actions in a chunk; L decoder layers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

#: The stages of one policy call, in order. Their times add up to ``InferenceStats.total_ms`` within 2 %.
STAGES: tuple[str, ...] = ("preprocess", "vision", "decide", "prefill", "decode", "action_head", "postprocess")

Clock = Literal["cpu", "cuda_event"]


@dataclass(frozen=True, slots=True)
class Observation:
    """What a policy sees at one env step.

    Attributes:
        images: camera name -> uint8[H, W, 3], upright RGB as rendered (resize and crop belong to the model).
        instruction: the task in words.
        proprio: float32[S] or None. LIBERO: end-effector position (m) 3, axis-angle (rad) 3, finger joints (m) 2.
        step: env steps since the episode began (settling steps not counted).
        objects: camera name -> bool[H, W], pixels of the movable objects, where the simulator tells; for the record of
            what a cache reused, never for a policy.
    """

    images: Mapping[str, NDArray[np.uint8]]
    instruction: str
    proprio: NDArray[np.float32] | None
    step: int
    objects: Mapping[str, NDArray[np.bool_]] | None = None


@dataclass(frozen=True, slots=True)
class ActionSpec:
    """The meaning of an action vector. Environment and policy each declare one; they must be equal.

    Attributes:
        dim: number of entries; translation 3, rotation 3, gripper 1 when 7.
        translation: ``normalized`` (controller units in [-1, 1]) or ``metre``.
        rotation: ``axis_angle`` or ``euler_xyz``; in controller units when translation is normalized, else radians.
        gripper: what +1 means, ``plus_one_closes`` (robosuite) or ``plus_one_opens`` (SIMPLER).
        low, high: bounds of every entry.
    """

    dim: int
    translation: Literal["normalized", "metre"]
    rotation: Literal["axis_angle", "euler_xyz"]
    gripper: Literal["plus_one_closes", "plus_one_opens"]
    low: float = -1.0
    high: float = 1.0

    def validate(self, action: NDArray[np.floating]) -> None:
        """Raise ``ValueError`` unless ``action`` is a finite vector of the declared size."""
        shape = np.shape(action)
        if shape != (self.dim,):
            raise ValueError(f"action: expected shape ({self.dim},), got {shape}; check the model's action head")
        if not np.all(np.isfinite(action)):
            raise ValueError(f"action: expected finite numbers, got {np.asarray(action).tolist()}")

    def differences(self, other: ActionSpec) -> list[str]:
        """Fields in which the two specs differ, as ``name: ours != theirs``."""
        pairs = ((f.name, getattr(self, f.name), getattr(other, f.name)) for f in fields(self))
        return [f"{name}: {ours!r} != {theirs!r}" for name, ours, theirs in pairs if ours != theirs]


#: robosuite OSC_POSE as LIBERO uses it: 1.0 = 5 cm / 0.5 rad, last entry -1 opens and +1 closes.
LIBERO_ACTION_SPEC = ActionSpec(dim=7, translation="normalized", rotation="axis_angle", gripper="plus_one_closes")

#: SIMPLER's end-effector deltas (m, rad, no scaling or bounds). The Google robot's gripper entry is a relative command.
SIMPLER_GOOGLE_ACTION_SPEC = ActionSpec(
    dim=7, translation="metre", rotation="axis_angle", gripper="plus_one_closes", low=-math.inf, high=math.inf
)
SIMPLER_WIDOWX_ACTION_SPEC = replace(SIMPLER_GOOGLE_ACTION_SPEC, gripper="plus_one_opens")


@dataclass(frozen=True, slots=True)
class InferenceStats:
    """Cost and cache state of one policy call. Times in milliseconds, synchronised on both sides.

    ``macs`` counts multiply-accumulates of towers, projector, decoder, readout and head (FLOPs are twice that);
    ``prefill_macs`` the decoder's share. ``reuse_ratio`` is reused (layer, vision token) pairs / all such pairs.
    ``fallback`` says why nothing was reused: ``cold``, ``prompt_changed``, ``cameras_changed``, ``refresh``,
    ``precise_motion``, ``break_even``, ``policy_none``, or None when the cache was used. ``accepted_tokens`` counts the
    decode steps that the draft saved (speculative decoding), None for a call without a draft. ``is_warmup``: a first
    call, or one that ran something in another way than later calls will (a shape whose graph is captured after it); its
    times count for nothing. ``runtime`` says how the call was launched: ``eager``, ``graphs``, or graphs with what ran
    without them (``graphs, 3 refused``); None where nothing is launched (a scripted policy). ``peak_memory_bytes`` is
    of the process so far: reserved by the allocator on a GPU, graphs' memory included, or the resident set on a CPU.
    ``foreign_tokens`` counts generated ids that are no action bins (end of text, padding rows); they were de-tokenised
    as extreme actions all the same.
    """

    preprocess_ms: float = 0.0
    vision_ms: float = 0.0
    decide_ms: float = 0.0
    prefill_ms: float = 0.0
    decode_ms: float = 0.0
    action_head_ms: float = 0.0
    postprocess_ms: float = 0.0
    total_ms: float = 0.0
    clock: Clock = "cpu"
    num_prompt_tokens: int = 0
    recomputed_tokens_mean: float = 0.0
    reuse_ratio: float = 0.0
    max_age: int = 0
    macs: int = 0
    prefill_macs: int = 0
    peak_memory_bytes: int = 0
    is_warmup: bool = False
    fallback: str | None = None
    accepted_tokens: int | None = None
    runtime: str | None = None
    foreign_tokens: int = 0


@dataclass(frozen=True, slots=True)
class CacheTrace:
    """What the cache did to each patch in one call, for overlays drawn after the run.

    Attributes:
        views: camera names in token order; every view has ``grid[0] * grid[1]`` patches, row-major.
        grid: patch rows and columns of one view.
        reused_layers: uint8[P] number of decoder layers whose K/V were read from the cache.
        static: bool[P] the patch passed the similarity test.
        relevant: bool[P] the patch was evicted from the candidates because the task looks at it.
        num_layers: L.
    """

    views: tuple[str, ...]
    grid: tuple[int, int]
    reused_layers: NDArray[np.uint8]
    static: NDArray[np.bool_]
    relevant: NDArray[np.bool_]
    num_layers: int


@dataclass(frozen=True, slots=True)
class ActionChunk:
    """``actions`` float32[T, dim] in the policy's ``ActionSpec``, with the cost of the call that made them."""

    actions: NDArray[np.float32]
    stats: InferenceStats
    trace: CacheTrace | None = None


@runtime_checkable
class Policy(Protocol):
    """Anything that turns an observation into actions.

    Attributes:
        name: config name, e.g. ``tiny_oft``.
        weights: ``trained``, ``untrained`` or ``none`` (scripted); printed in every table.
        action_spec: compared with the environment's before the first episode.
        cameras: the cameras whose pictures ``infer`` needs; nothing else is rendered for it.
        num_open_loop_steps: actions of a chunk that are executed before the next call.
    """

    name: str
    weights: str
    action_spec: ActionSpec
    cameras: tuple[str, ...]
    num_open_loop_steps: int

    def reset(self, seed: int) -> None:
        """Forget everything about the last episode. A policy that draws random numbers seeds itself here."""
        ...

    def infer(self, observation: Observation) -> ActionChunk:
        """One policy call."""
        ...
