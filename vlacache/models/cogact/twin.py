"""Tiny twins of CogACT in its native file format, with seeded weights that mean nothing.

Only the denoiser's last layer is more than random: a least-squares fit makes it predict noise, so that sampling ends
near [-1, 1] and depends on the picture. With random weights every action would be clipped to a bound.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vlacache.models.cogact.checkpoint import BASE_VLM, SIZES_FILE
from vlacache.models.cogact.diffusion import NUM_TRAIN_STEPS, squared_cosine_betas
from vlacache.models.cogact.dit import DiT, DiTConfig
from vlacache.models.cogact.keys import native_shapes
from vlacache.models.cogact.sizes import DINO as PUBLISHED_DINO
from vlacache.models.cogact.sizes import CogACTSizes
from vlacache.models.published import UNTRAINED_KEY
from vlacache.models.robots import ROBOTS
from vlacache.models.tokenizer import TINY_TOKENIZER
from vlacache.models.twin import DECODER, DINO, SIGLIP, make_folder, seeded_state, tower_sizes

SIZES = CogACTSizes(
    (replace(DINO, mean=PUBLISHED_DINO.mean, std=PUBLISHED_DINO.std), SIGLIP),
    replace(DECODER, rms_eps=1e-5),
    DiTConfig(hidden_size=48, depth=3, num_heads=4, token_size=DECODER.hidden_size),
)
FILE = "checkpoints/CogACT-Twin.pt"
_ACTION = {
    "mask": [True] * 6 + [False],
    "q01": [-0.22, -0.15, -0.23, -0.35, -0.42, -0.44, 0.0],
    "q99": [0.18, 0.15, 0.22, 0.59, 0.35, 0.45, 1.0],
}
STATISTICS: dict[str, Any] = {robot.unnorm_key: {"action": _ACTION} for robot in ROBOTS.values()}


def write_cogact_twin(folder: Path, *, seed: int = 0, dtype: torch.dtype = torch.float32) -> None:
    """Write a twin of ``cogact``.

    Args:
        folder: see ``make_folder``. dtype: float32 as published.

    Raises:
        ValueError: see ``make_folder``.
    """
    make_folder(folder)
    (folder / "checkpoints").mkdir(exist_ok=True)
    robot = next(iter(ROBOTS.values()))
    config = SIZES.config(robot, ((-1.0,) * 7, (1.0,) * 7, ()))
    state = seeded_state(native_shapes(config), seed, torch.float32)
    fit_final_layer(state, SIZES.denoiser, seed)
    torch.save(nested({key: value.to(dtype) for key, value in state.items()}), folder / FILE)
    vla = {"type": "prism-dinosiglip-224px+oxe+diffusion", "vla_id": "CogACT-Twin", "base_vlm": BASE_VLM}
    _write_json(folder / "config.json", {"vla": vla, UNTRAINED_KEY: True})
    _write_json(folder / "dataset_statistics.json", STATISTICS)
    _write_json(folder / SIZES_FILE, sizes_json(SIZES))
    shutil.copyfile(TINY_TOKENIZER, folder / "tokenizer.json")


def nested(state: dict[str, Tensor]) -> dict[str, dict[str, dict[str, Tensor]]]:
    """``model.part.rest`` -> ``{"model": {part: {rest: tensor}}}``, the layout of the published pickle."""
    parts: dict[str, dict[str, Tensor]] = {}
    for key, value in state.items():
        _, part, rest = key.split(".", 2)
        parts.setdefault(part, {})[rest] = value
    return {"model": parts}


def fit_final_layer(state: dict[str, Tensor], config: DiTConfig, seed: int, num_samples: int = 256) -> None:
    """Ridge regression of the last layer, in place: features of noisy chunks -> the noise in them.

    The clean chunks are a fixed linear map of the condition, so the fitted denoiser makes actions that depend on it.
    """
    prefix = "model.action_model.net."
    net = DiT(config)
    net.load_state_dict({name: state[prefix + name] for name in net.state_dict()})
    rng = torch.Generator().manual_seed(seed)
    z = torch.randn(num_samples, config.token_size, generator=rng)
    size = config.chunk_length * config.action_dim
    directions = torch.randn(config.token_size, size, generator=rng) * 0.4 / config.token_size**0.5
    clean = (z @ directions).view(num_samples, config.chunk_length, config.action_dim)
    noise = torch.randn(clean.shape, generator=rng)
    timesteps = torch.randint(0, NUM_TRAIN_STEPS, (num_samples,), generator=rng)
    bars = torch.from_numpy(np.cumprod(1.0 - squared_cosine_betas())).float()[timesteps][:, None, None]
    with torch.inference_mode():
        features = _features(net, bars.sqrt() * clean + (1 - bars).sqrt() * noise, net.condition(timesteps, z))
    x = torch.cat([features, torch.ones(len(features), 1)], dim=1)
    gram = x.T @ x + 1e-2 * len(x) * torch.eye(x.shape[1])
    weights = torch.linalg.solve(gram, x.T @ noise.reshape(-1, config.action_dim))
    state[f"{prefix}final_layer.linear.weight"] = weights[:-1].T.contiguous()
    state[f"{prefix}final_layer.linear.bias"] = weights[-1].clone()


def _features(net: DiT, x: Tensor, condition: Tensor) -> Tensor:
    """Input of the last layer at the action tokens: [B * T, D]."""
    seen: list[Tensor] = []
    hook = net.final_layer.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    net.denoise(x, condition)
    hook.remove()
    return seen[0][:, 1:].reshape(-1, net.config.hidden_size)


def sizes_json(sizes: CogACTSizes) -> dict[str, Any]:
    """What ``read_sizes`` reads back."""
    llm, dit = sizes.llm, sizes.denoiser
    return {
        "towers": {
            name: tower_sizes(t) for name, t in zip(("featurizer", "fused_featurizer"), sizes.towers, strict=True)
        },
        "llm": {
            "hidden_size": llm.hidden_size,
            "intermediate_size": llm.intermediate_size,
            "num_hidden_layers": llm.num_layers,
            "num_attention_heads": llm.num_heads,
            "vocab_size": llm.vocab_size,
            "rms_norm_eps": llm.rms_eps,
            "rope_theta": llm.rope_theta,
        },
        "dit": {
            "token_size": dit.token_size,
            "hidden_size": dit.hidden_size,
            "depth": dit.depth,
            "num_heads": dit.num_heads,
            "mlp_ratio": dit.mlp_ratio,
            "in_channels": dit.action_dim,
            "future_action_window_size": dit.chunk_length - 1,
        },
    }


def _write_json(file: Path, data: dict[str, Any]) -> None:
    file.write_text(json.dumps(data, indent=2) + "\n")
