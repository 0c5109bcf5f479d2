"""Key names and shapes of CogACT's native files, for any size: what a twin is written with.

Independent of the loader's rules, and held to the committed manifest of the published files by the tests.
"""

from __future__ import annotations

from vlacache.models.cogact.dit import TIME_FEATURES, DiTConfig
from vlacache.models.config import VLAConfig
from vlacache.models.published_keys import Shapes, vlm_shapes

#: HF name -> native name, of the parts that both families share.
_RENAMED = {
    "vision_backbone.featurizer.": "vision_backbone.dino_featurizer.",
    "vision_backbone.fused_featurizer.": "vision_backbone.siglip_featurizer.",
    "projector.fc1.": "projector.projector.0.",
    "projector.fc2.": "projector.projector.2.",
    "projector.fc3.": "projector.projector.4.",
    "language_model.": "llm_backbone.llm.",
}


def native_shapes(config: VLAConfig) -> Shapes:
    """Everything in ``checkpoints/*.pt``, nested dicts joined by dots."""
    assert config.denoiser is not None  # a CogACT config has it
    shapes = {native_name(key): shape for key, shape in vlm_shapes(config).items()}
    return {f"model.{key}": shape for key, shape in {**shapes, **denoiser_shapes(config.denoiser)}.items()}


def native_name(key: str) -> str:
    """An HF key of the VLM in CogACT's naming."""
    for theirs, native in _RENAMED.items():
        if key.startswith(theirs):
            return key.replace(theirs, native, 1).replace(".scale_factor", ".gamma")
    raise ValueError(f"key: expected one of the prefixes {list(_RENAMED)}, got {key!r}")


def denoiser_shapes(config: DiTConfig) -> Shapes:
    """The ``action_model`` part."""
    width, net = config.hidden_size, "action_model.net."
    shapes: Shapes = {
        f"{net}positional_embedding": (config.chunk_length + 1, width),
        f"{net}z_embedder.uncondition": (1, config.token_size),
    }
    linears = {
        "history_embedder.linear": (config.action_dim, width),
        "x_embedder.linear": (config.action_dim, width),
        "t_embedder.mlp.0": (TIME_FEATURES, width),
        "t_embedder.mlp.2": (width, width),
        "z_embedder.linear": (config.token_size, width),
        "final_layer.linear": (width, config.action_dim),
    }
    for index in range(config.depth):
        linears[f"blocks.{index}.attn.qkv"] = (width, 3 * width)
        linears[f"blocks.{index}.attn.proj"] = (width, width)
        linears[f"blocks.{index}.mlp.fc1"] = (width, config.mlp_hidden)
        linears[f"blocks.{index}.mlp.fc2"] = (config.mlp_hidden, width)
    for name, (inputs, outputs) in linears.items():
        shapes |= {f"{net}{name}.weight": (outputs, inputs), f"{net}{name}.bias": (outputs,)}
    return shapes
