"""CogACT written down once more from the fact sheet: plain loops over the file's own keys, float64.

The VLM is OpenVLA's with another RMS eps; its plain version is shared. Nothing here comes from the library.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from tests.models.plain_openvla import PlainOpenVLA, attention, rope

#: Native name -> the name that the shared plain VLM looks for.
NAMES = [
    ("vision_backbone.dino_featurizer.", "vision_backbone.featurizer."),
    ("vision_backbone.siglip_featurizer.", "vision_backbone.fused_featurizer."),
    ("projector.projector.0.", "projector.fc1."),
    ("projector.projector.2.", "projector.fc2."),
    ("projector.projector.4.", "projector.fc3."),
    ("llm_backbone.llm.", "language_model."),
]
#: Changes the keys and values [N, d] of a layer: (layer, k, v) -> (k, v).
Override = Callable[[int, Tensor, Tensor], tuple[Tensor, Tensor]]


class PlainCogACT(PlainOpenVLA):
    """Weights by key, and the way from pixels to a normalised chunk."""

    def __init__(self, folder: Path) -> None:
        (file,) = (folder / "checkpoints").glob("*.pt")
        self.w = {}
        for part, state in torch.load(file, weights_only=True)["model"].items():
            for key, tensor in state.items():
                name = f"{part}.{key}"
                for native, shared in NAMES:
                    name = shared + name[len(native) :] if name.startswith(native) else name
                self.w[name.replace(".gamma", ".scale_factor")] = tensor.double()
        sizes = json.loads((folder / "sizes.json").read_text())
        self.config, self.towers, self.dit = sizes["llm"], sizes["towers"], sizes["dit"]
        self.processor = [
            {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)},
            {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)},
        ]

    def rms_norm(self, x: Tensor, key: str) -> Tensor:
        return x / torch.sqrt((x**2).mean(-1, keepdim=True) + 1e-5) * self.w[f"{key}.weight"]

    def cognition(self, picture: Tensor, ids: list[int], override: Override) -> Tensor:
        """Feature [d] of the last token; ids end with 29871 and 2."""
        text = self.embed(ids)
        x = torch.cat([text[:1], self.vision([picture]), text[1:]])
        heads = self.config["num_attention_heads"]
        for index in range(self.config["num_hidden_layers"]):
            layer = f"language_model.model.layers.{index}."
            h = self.rms_norm(x, f"{layer}input_layernorm")
            q, k, v = (self.linear(h, f"{layer}self_attn.{p}_proj") for p in "qkv")
            k, v = override(index, rope(k, heads), v)
            x = x + self.linear(attention(rope(q, heads), k, v, heads, causal=True), f"{layer}self_attn.o_proj")
            h = self.rms_norm(x, f"{layer}post_attention_layernorm")
            gate, up = (self.linear(h, f"{layer}mlp.{p}_proj") for p in ("gate", "up"))
            x = x + self.linear(gate / (1 + torch.exp(-gate)) * up, f"{layer}mlp.down_proj")
        return self.rms_norm(x, "language_model.model.norm")[-1]

    def denoiser(self, x: Tensor, timestep: int, z: Tensor) -> Tensor:
        """Noise in x [T, 7] given the condition z [d]."""
        net, heads = "action_model.net.", self.dit["num_heads"]
        angles = [timestep * math.exp(-math.log(10000) * i / 128) for i in range(128)]
        features = torch.tensor([*map(math.cos, angles), *map(math.sin, angles)], dtype=torch.float64)
        t = self.linear(features, f"{net}t_embedder.mlp.0")
        t = self.linear(t / (1 + torch.exp(-t)), f"{net}t_embedder.mlp.2")
        first = t + self.linear(z, f"{net}z_embedder.linear")
        h = torch.cat([first[None], self.linear(x, f"{net}x_embedder.linear")]) + self.w[f"{net}positional_embedding"]
        for index in range(self.dit["depth"]):
            block = f"{net}blocks.{index}."
            q, k, v = self.linear(bare_norm(h), f"{block}attn.qkv").chunk(3, dim=-1)
            h = h + self.linear(attention(q, k, v, heads, causal=False), f"{block}attn.proj")
            inner = self.linear(bare_norm(h), f"{block}mlp.fc1")
            h = h + self.linear(tanh_gelu(inner), f"{block}mlp.fc2")
        return self.linear(bare_norm(h), f"{net}final_layer.linear")[1:]

    def sample(self, z: Tensor, noise: Tensor, scale: float = 1.5) -> Tensor:
        """Ten DDIM steps from noise [T, 7]."""

        def f(u: float) -> float:
            return math.cos((u + 0.008) / 1.008 * math.pi / 2) ** 2

        bars = [1.0]  # before any step, then after steps 0 .. 99
        for t in range(100):
            bars.append(bars[-1] * (1 - min(1 - f((t + 1) / 100) / f(t / 100), 0.999)))
        x, nothing = noise.double(), self.w["action_model.net.z_embedder.uncondition"][0]
        for t in range(90, -1, -10):
            conditional, unconditional = self.denoiser(x, t, z), self.denoiser(x, t, nothing)
            eps = unconditional + scale * (conditional - unconditional)
            now, before = bars[t + 1], bars[t - 10 + 1] if t else 1.0
            x = math.sqrt(before) * (x - math.sqrt(1 - now) * eps) / math.sqrt(now) + math.sqrt(1 - before) * eps
        return x


def bare_norm(x: Tensor) -> Tensor:
    centred = x - x.mean(-1, keepdim=True)
    return centred / torch.sqrt((centred**2).mean(-1, keepdim=True) + 1e-6)


def tanh_gelu(x: Tensor) -> Tensor:
    return 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


class StoredKV:
    """What a cache would hold: keys and values of every layer, and which tokens are read from it."""

    def __init__(self) -> None:
        self.kv: dict[int, tuple[Tensor, Tensor]] = {}

    def reusing(self, is_reused: Tensor) -> Override:
        """Override that reads the tokens of bool[L, N] from the store and keeps what it returns."""

        def override(layer: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
            if is_reused[layer].any():
                old_k, old_v = self.kv[layer]
                mask = is_reused[layer][:, None]
                k, v = torch.where(mask, old_k, k), torch.where(mask, old_v, v)
            self.kv[layer] = (k, v)
            return k, v

        return override
