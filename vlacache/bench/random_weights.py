"""The published architectures without a checkpoint: random weights straight on the device, for timing only.

Scales: ``7b`` has the published sizes. ``small`` has their patches (224 px, 256 a view) on a decoder of 8 layers, so
that a processor's time follows the MACs. ``tiny`` is the twins' size (16 patches a view), for tests: there a call is
the launching of operations, and nothing about the published models can be read off its times.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from vlacache.models.cogact.checkpoint import COGNITION_ID
from vlacache.models.cogact.dit import DiTConfig
from vlacache.models.cogact.sizes import CogACTSizes, published_sizes
from vlacache.models.cogact.twin import SIZES as COGACT_TWIN
from vlacache.models.config import DecoderConfig, VLAConfig
from vlacache.models.factory import LoadedModel, wrap_model
from vlacache.models.heads import TokenBinHead
from vlacache.models.memory import Beside, nothing_beside, require_memory
from vlacache.models.openvla import empty_model
from vlacache.models.prismatic import VLAModel
from vlacache.models.published import full_size
from vlacache.models.robots import GOOGLE_ROBOT
from vlacache.models.tokenizer import BOS_ID, SPACE_ID
from vlacache.models.twin import emphasise_actions, twin_config

Scale = Literal["7b", "small", "tiny"]
SCALES: tuple[Scale, ...] = get_args(Scale)
#: Of ``small``: the vision towers are a tenth of the MACs, as in the published models.
SMALL_TOWERS = (
    replace(COGACT_TWIN.towers[0], image_size=224, width=128, mlp_hidden=512),
    replace(COGACT_TWIN.towers[1], image_size=224, width=144, mlp_hidden=538),
)
SMALL_DECODER = DecoderConfig(hidden_size=384, intermediate_size=1024, num_layers=8, num_heads=8, vocab_size=32064)
#: Prompt ids (BOS and the trailing space included): LIBERO prompts have 30 to 35, SIMPLER's 20 to 26.
PROMPT_IDS = {"openvla": 35, "openvla_oft": 35, "cogact": 24}


class FixedPrompt:
    """So many arbitrary ids whatever the text: the published tokenizers are not at hand without a checkpoint."""

    def __init__(self, num_ids: int, last: tuple[int, ...] = ()) -> None:
        self._ids = [BOS_ID, *range(100, 100 + num_ids - 2), SPACE_ID, *last]

    def encode(self, text: str) -> list[int]:
        """The ids."""
        return list(self._ids)


def random_config(name: str, scale: Scale) -> VLAConfig:
    """``openvla``, ``openvla_oft`` or ``cogact`` (Base, google robot) in one of ``SCALES``.

    Raises:
        ValueError: another name.
    """
    if name not in PROMPT_IDS:
        raise ValueError(f"--random-weights: expected a model of {sorted(PROMPT_IDS)}, got {name!r}")
    if name == "cogact":
        return _cogact_sizes(scale).config(GOOGLE_ROBOT, ((-1.0,) * 7, (1.0,) * 7, (True,) * 6 + (False,)))
    if scale == "7b":
        return full_size(name)
    twin = twin_config(name)
    if scale == "tiny":
        return twin
    width = 4 * sum(tower.width for tower in SMALL_TOWERS)
    return replace(twin, towers=SMALL_TOWERS, projector_hidden=width, decoder=SMALL_DECODER)


def _cogact_sizes(scale: Scale) -> CogACTSizes:
    if scale == "7b":
        return published_sizes("DiT-B")
    if scale == "tiny":
        return COGACT_TWIN
    denoiser = DiTConfig(hidden_size=96, depth=4, num_heads=4, token_size=SMALL_DECODER.hidden_size)
    return CogACTSizes(SMALL_TOWERS, replace(SMALL_DECODER, rms_eps=COGACT_TWIN.llm.rms_eps), denoiser)


def random_model(
    name: str,
    scale: Scale,
    *,
    device: torch.device,
    dtype: torch.dtype,
    num_prompt_ids: int | None = None,
    beside: Beside = nothing_beside,
) -> LoadedModel:
    """A model with seeded random weights; CogACT's denoiser in float32, as loaded from its files.

    Args:
        beside: what the caller is going to hold on the device too.

    Raises:
        ValueError: an unknown name. RuntimeError: too little memory on the device (before anything is allocated).
    """
    config = random_config(name, scale)
    model = empty_model(config)
    num_bytes = sum(p.numel() * _dtype_of(key, config, dtype).itemsize for key, p in model.named_parameters())
    require_memory(num_bytes, device, what=f"{name} with random weights", beside=beside(config, dtype))
    generator = torch.Generator(device).manual_seed(0)
    for key, parameter in list(model.named_parameters()):
        tensor = torch.empty(parameter.shape, dtype=_dtype_of(key, config, dtype), device=device)
        _set(model, key, _fill(tensor, key, generator))
    if isinstance(model.head, TokenBinHead):
        emphasise_actions(model.head.proj.weight, config)
    ids = PROMPT_IDS[name] if num_prompt_ids is None else num_prompt_ids
    tokenizer = FixedPrompt(ids, (COGNITION_ID,) if name == "cogact" else ())
    return wrap_model(model, tokenizer, "untrained", f"random, {scale}", str(device))


def _dtype_of(key: str, config: VLAConfig, dtype: torch.dtype) -> torch.dtype:
    return torch.float32 if config.head == "diffusion" and key.startswith("head.") else dtype


def _fill(tensor: Tensor, key: str, generator: torch.Generator) -> Tensor:
    """Sizes that keep activations finite in bfloat16 through 32 layers: matrices by fan-in, norms 1, biases 0."""
    if tensor.ndim < 2:
        return tensor.zero_() if key.endswith("bias") else tensor.fill_(1.0)
    if key == "embed.weight" or key.endswith(("pos_embed", "_token", "uncondition", "positional_embedding")):
        return tensor.normal_(std=0.5, generator=generator)
    return tensor.normal_(std=1.0 / math.sqrt(math.prod(tensor.shape[1:])), generator=generator)


def _set(model: VLAModel, key: str, tensor: Tensor) -> None:
    owner, _, leaf = key.rpartition(".")
    setattr(model.get_submodule(owner), leaf, nn.Parameter(tensor, requires_grad=False))
