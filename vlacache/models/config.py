"""Sizes of a Prismatic-style VLA. Nothing here is specific to the tiny models or to 7B."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from vlacache.core.flops import DecoderShape
from vlacache.models.cogact.dit import DiTConfig

HeadKind = Literal["l1_chunk", "token_bins", "diffusion"]
#: SIMPLER's robots, see ``vlacache.models.robots``.
RobotName = Literal["google_robot", "widowx_bridge"]
#: One step from a rendered picture to the tower's input, see ``vlacache.models.preprocess``.
ImageStep = Literal["bilinear", "bicubic", "jpeg", "lanczos", "crop"]
#: What becomes of the gripper entry after de-normalisation where no robot's rules follow, see ``models.postprocess``.
GripperRule = Literal["as_is", "libero"]
#: How a model reads the rotation in the robot's state; ``pointing``: see ``vlacache.models.proprio.pointing_and_yaw``.
ProprioRotation = Literal["axis_angle", "pointing"]


@dataclass(frozen=True, slots=True)
class TowerConfig:
    """One ViT tower (timm's VisionTransformer).

    Attributes:
        image_size, patch_size: pixels. width, depth, num_heads, mlp_hidden: of the blocks.
        num_registers: register tokens. class_token: with cls. layer_scale: with LayerScale.
        feature_block: index of the block whose output is the feature (no final norm); the blocks after it are not run.
        mean, std: channel normalisation of pixels in [0, 1].
    """

    image_size: int
    patch_size: int
    width: int
    depth: int
    num_heads: int
    mlp_hidden: int
    feature_block: int
    num_registers: int = 0
    class_token: bool = False
    layer_scale: bool = False
    mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    std: tuple[float, float, float] = (0.5, 0.5, 0.5)

    @property
    def grid(self) -> tuple[int, int]:
        """Patch rows and columns."""
        side = self.image_size // self.patch_size
        return side, side


#: Of a prompt and its answer, as the published models were trained; a config.json may say another number.
MAX_TOKENS = 2048


@dataclass(frozen=True, slots=True)
class DecoderConfig:
    """A Llama decoder. ``rms_eps`` and ``rope_theta`` come from the checkpoint, never from a default elsewhere."""

    hidden_size: int
    intermediate_size: int
    num_layers: int
    num_heads: int
    vocab_size: int
    rms_eps: float = 1e-6
    rope_theta: float = 10000.0

    @property
    def shape(self) -> DecoderShape:
        """The sizes that cost and K/V storage depend on."""
        return DecoderShape(self.num_layers, self.num_heads, self.hidden_size, self.intermediate_size)


@dataclass(frozen=True, slots=True)
class VLAConfig:
    """A whole model.

    Attributes:
        name: config name. views: camera names in token order. towers: one or two; features are concatenated.
        projector_hidden: width of the projector's first layer.
        causal: causal (OpenVLA) or bidirectional (OFT) attention.
        head: ``l1_chunk`` (OFT: placeholders, L1 regression), ``token_bins`` (OpenVLA: 256 bins, autoregressive) or
            ``diffusion`` (CogACT: a denoiser conditioned on the last token).
        chunk_length, action_dim: T and the size of an action. proprio_dim: S, or None without proprio token.
        proprio_last: whether that token closes the prompt (before the action) instead of following the patches.
        proprio_rotation: how its rotation is given.
        num_action_bins: bins a dimension (token_bins). prompt: template with ``{instruction}``.
        action_low, action_high: de-normalisation of [-1, 1] per dimension; identity by default.
        action_mask: dimensions that are de-normalised; empty for all. action_epsilon: added to the range (OFT).
        proprio_low, proprio_high, proprio_mask: normalisation of proprio to [-1, 1] per dimension.
        vocab_padding: rows at the end of the vocabulary that are no tokens; action ids end before them.
        image_steps: from the rendered picture to ``image_size``, in order. gripper: rule for the last action entry.
        denoiser: sizes of the diffusion head, else None. robot: a SIMPLER robot whose
            rules make commands of the actions (rotation, gripper, CogACT's ensemble), else None.
        max_tokens: the longest prompt with its answer that the model was trained for; None for no limit.
    """

    name: str
    views: tuple[str, ...]
    towers: tuple[TowerConfig, ...]
    projector_hidden: int
    decoder: DecoderConfig
    causal: bool
    head: HeadKind
    chunk_length: int
    action_dim: int = 7
    proprio_dim: int | None = None
    proprio_last: bool = False
    proprio_rotation: ProprioRotation = "axis_angle"
    num_action_bins: int = 256
    prompt: str = "In: What action should the robot take to {instruction}?\nOut:"
    action_low: tuple[float, ...] = field(default=(-1.0,) * 7)
    action_high: tuple[float, ...] = field(default=(1.0,) * 7)
    proprio_low: tuple[float, ...] = ()
    proprio_high: tuple[float, ...] = ()
    action_mask: tuple[bool, ...] = ()
    action_epsilon: float = 0.0
    proprio_mask: tuple[bool, ...] = ()
    vocab_padding: int = 0
    image_steps: tuple[ImageStep, ...] = ("bilinear",)
    gripper: GripperRule = "as_is"
    denoiser: DiTConfig | None = None
    robot: RobotName | None = None
    max_tokens: int | None = None

    def __post_init__(self) -> None:
        sizes = {(t.image_size, t.patch_size) for t in self.towers}
        if len(sizes) != 1:
            raise ValueError(f"{self.name}: towers must share image and patch size, got {sorted(sizes)}")
        if self.proprio_dim is not None and len(self.proprio_low) != self.proprio_dim:
            raise ValueError(f"{self.name}: expected {self.proprio_dim} proprio bounds, got {len(self.proprio_low)}")
        if (self.head == "diffusion") != (self.denoiser is not None):
            raise ValueError(f"{self.name}: a denoiser belongs to head='diffusion' alone, got head={self.head!r}")
        if self.denoiser is not None and self.denoiser.token_size != self.decoder.hidden_size:
            width, got = self.decoder.hidden_size, self.denoiser.token_size
            raise ValueError(f"{self.name}: expected the denoiser's token_size to be the decoder's {width}, got {got}")

    @property
    def grid(self) -> tuple[int, int]:
        """Patch rows and columns of one view."""
        return self.towers[0].grid

    @property
    def num_action_tokens(self) -> int:
        """Action entries of one chunk."""
        return self.chunk_length * self.action_dim

    @property
    def num_executable(self) -> int:
        """Actions that a call returns: the chunk, or one where a robot's rules want a call at every step."""
        return self.chunk_length if self.robot is None else 1

    @property
    def num_tokens(self) -> int:
        """Ids that are tokens; the highest of them are the action bins."""
        return self.decoder.vocab_size - self.vocab_padding

    def to_json(self) -> str:
        """The config as stored beside a checkpoint."""
        return json.dumps(asdict(self), indent=2) + "\n"

    @classmethod
    def from_json(cls, path: Path) -> VLAConfig:
        """Read a stored config.

        Raises:
            ValueError: the file is not JSON or lacks or has unknown keys.
        """
        try:
            return cls.from_dict(json.loads(path.read_text()))
        except (json.JSONDecodeError, TypeError, KeyError) as error:
            raise ValueError(f"{path}: expected a model config written by this project, got: {error}") from error

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> VLAConfig:
        """Inverse of ``asdict`` (lists become tuples)."""
        values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in data.items()}
        values["towers"] = tuple(_tower_from_dict(tower) for tower in data["towers"])
        values["decoder"] = DecoderConfig(**data["decoder"])
        if data.get("denoiser") is not None:
            values["denoiser"] = DiTConfig(**data["denoiser"])
        return cls(**values)


def _tower_from_dict(data: Mapping[str, Any]) -> TowerConfig:
    values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in data.items()}
    return TowerConfig(**values)
