"""Key names and shapes of the published OpenVLA files, for any size: what a twin is written with.

Independent of the loader's rules, and held to the committed manifest of the 7B files by the tests.
"""

from __future__ import annotations

from vlacache.models.config import TowerConfig, VLAConfig

Shapes = dict[str, tuple[int, ...]]


def vlm_shapes(config: VLAConfig) -> Shapes:
    """Everything in the safetensors shards."""
    dino, siglip = config.towers
    shapes = tower_shapes("vision_backbone.featurizer.", dino)
    shapes |= tower_shapes("vision_backbone.fused_featurizer.", siglip) | _attention_pool(siglip)
    width, hidden = sum(t.width for t in config.towers), config.decoder.hidden_size
    shapes |= _linear("projector.fc1", width, config.projector_hidden)
    shapes |= _linear("projector.fc2", config.projector_hidden, hidden) | _linear("projector.fc3", hidden, hidden)
    return shapes | _llama_shapes(config)


def tower_shapes(prefix: str, tower: TowerConfig) -> Shapes:
    """One ViT with all of its blocks and the final norm, used or not."""
    width, patches = tower.width, tower.grid[0] * tower.grid[1]
    shapes: Shapes = {f"{prefix}pos_embed": (1, patches, width)}
    if tower.class_token:
        shapes[f"{prefix}cls_token"] = (1, 1, width)
    if tower.num_registers:
        shapes[f"{prefix}reg_token"] = (1, tower.num_registers, width)
    shapes[f"{prefix}patch_embed.proj.weight"] = (width, 3, tower.patch_size, tower.patch_size)
    shapes[f"{prefix}patch_embed.proj.bias"] = (width,)
    for index in range(tower.depth):
        block = f"{prefix}blocks.{index}."
        shapes |= _norm(f"{block}norm1", width) | _norm(f"{block}norm2", width)
        shapes |= _linear(f"{block}attn.qkv", width, 3 * width) | _linear(f"{block}attn.proj", width, width)
        shapes |= _linear(f"{block}mlp.fc1", width, tower.mlp_hidden)
        shapes |= _linear(f"{block}mlp.fc2", tower.mlp_hidden, width)
        if tower.layer_scale:
            shapes |= {f"{block}ls{i}.scale_factor": (width,) for i in (1, 2)}
    return shapes | _norm(f"{prefix}norm", width)


def action_head_shapes(config: VLAConfig, num_blocks: int = 2) -> Shapes:
    """OFT's ``action_head--<step>_checkpoint.pt``."""
    hidden = config.decoder.hidden_size
    prefix = "module.model."
    shapes = _norm(f"{prefix}layer_norm1", hidden * config.action_dim)
    shapes |= _linear(f"{prefix}fc1", hidden * config.action_dim, hidden)
    for index in range(num_blocks):
        block = f"{prefix}mlp_resnet_blocks.{index}.ffn."
        shapes |= _norm(f"{block}0", hidden) | _linear(f"{block}1", hidden, hidden)
    return shapes | _norm(f"{prefix}layer_norm2", hidden) | _linear(f"{prefix}fc2", hidden, config.action_dim)


def proprio_projector_shapes(config: VLAConfig) -> Shapes:
    """OFT's ``proprio_projector--<step>_checkpoint.pt``."""
    hidden = config.decoder.hidden_size
    assert config.proprio_dim is not None  # an OFT config has it
    return _linear("module.fc1", config.proprio_dim, hidden) | _linear("module.fc2", hidden, hidden)


def _llama_shapes(config: VLAConfig) -> Shapes:
    c = config.decoder
    table = (c.vocab_size, c.hidden_size)
    shapes: Shapes = {"language_model.model.embed_tokens.weight": table, "language_model.lm_head.weight": table}
    for index in range(c.num_layers):
        layer = f"language_model.model.layers.{index}."
        shapes |= {f"{layer}self_attn.{p}_proj.weight": (c.hidden_size, c.hidden_size) for p in "qkvo"}
        shapes |= {f"{layer}mlp.{p}_proj.weight": (c.intermediate_size, c.hidden_size) for p in ("gate", "up")}
        shapes[f"{layer}mlp.down_proj.weight"] = (c.hidden_size, c.intermediate_size)
        shapes |= {f"{layer}{n}_layernorm.weight": (c.hidden_size,) for n in ("input", "post_attention")}
    return {**shapes, "language_model.model.norm.weight": (c.hidden_size,)}


def _attention_pool(tower: TowerConfig) -> Shapes:
    """SigLIP's pooling head; in the file, never used."""
    prefix, width = "vision_backbone.fused_featurizer.attn_pool.", tower.width
    shapes: Shapes = {f"{prefix}latent": (1, 1, width)}
    shapes |= _linear(f"{prefix}q", width, width) | _linear(f"{prefix}kv", width, 2 * width)
    shapes |= _linear(f"{prefix}proj", width, width) | _norm(f"{prefix}norm", width)
    shapes |= _linear(f"{prefix}mlp.fc1", width, tower.mlp_hidden)
    return shapes | _linear(f"{prefix}mlp.fc2", tower.mlp_hidden, width)


def _linear(name: str, inputs: int, outputs: int) -> Shapes:
    return {f"{name}.weight": (outputs, inputs), f"{name}.bias": (outputs,)}


def _norm(name: str, width: int) -> Shapes:
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}
