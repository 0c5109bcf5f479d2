"""OpenVLA and OFT written down once more from the fact sheet: plain loops over the file's own keys.

No timm, no fused matrices, no code of the library; float64, so that it is the more exact of the two.
"""

from __future__ import annotations

import json
import math
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor


class PlainOpenVLA:
    """Weights by published key, and the forward pass from pixels to tokens or chunk."""

    def __init__(self, folder: Path) -> None:
        self.w: dict[str, Tensor] = {}
        for shard in sorted(folder.glob("*.safetensors")):
            self.w |= {key: tensor.double() for key, tensor in load_file(shard).items()}
        for kind in ("action_head", "proprio_projector"):
            for file in folder.glob(f"{kind}--*_checkpoint.pt"):
                state = torch.load(file, weights_only=True)
                self.w |= {f"{kind}/{key}": tensor.double() for key, tensor in state.items()}
        self.config = json.loads((folder / "config.json").read_text())["text_config"]
        self.towers = json.loads((folder / "towers.json").read_text())
        self.processor = json.loads((folder / "preprocessor_config.json").read_text())["tvf_normalize_params"]

    def linear(self, x: Tensor, key: str) -> Tensor:
        y = x @ self.w[f"{key}.weight"].T
        return y + self.w[f"{key}.bias"] if f"{key}.bias" in self.w else y

    def layer_norm(self, x: Tensor, key: str, eps: float) -> Tensor:
        centred = x - x.mean(-1, keepdim=True)
        scaled = centred / torch.sqrt((centred**2).mean(-1, keepdim=True) + eps)
        return scaled * self.w[f"{key}.weight"] + self.w[f"{key}.bias"]

    def rms_norm(self, x: Tensor, key: str) -> Tensor:
        return x / torch.sqrt((x**2).mean(-1, keepdim=True) + 1e-6) * self.w[f"{key}.weight"]

    def pixels(self, picture: Tensor, tower: int) -> Tensor:
        """uint8[H, W, 3] -> normalised [3, H, W]."""
        constants = self.processor[tower]
        channels = [(picture[..., c].double() / 255 - constants["mean"][c]) / constants["std"][c] for c in range(3)]
        return torch.stack(channels)

    def tower(self, pixels: Tensor, name: str) -> Tensor:
        """[3, H, W] -> [patches, width]: the second-to-last block's output."""
        sizes, prefix = self.towers[name], f"vision_backbone.{name}."
        p, grid = sizes["patch_size"], pixels.shape[1] // sizes["patch_size"]
        kernel, bias = self.w[f"{prefix}patch_embed.proj.weight"], self.w[f"{prefix}patch_embed.proj.bias"]
        patches = [
            (kernel * pixels[None, :, r * p : (r + 1) * p, c * p : (c + 1) * p]).sum(dim=(1, 2, 3)) + bias
            for r in range(grid)
            for c in range(grid)
        ]
        x = torch.stack(patches) + self.w[f"{prefix}pos_embed"][0]
        tokens = [self.w[f"{prefix}{t}"][0] for t in ("cls_token", "reg_token") if f"{prefix}{t}" in self.w]
        x = torch.cat([*tokens, x])
        for index in range(sizes["depth"] - 1):
            x = self.vit_block(x, f"{prefix}blocks.{index}.", sizes["num_heads"])
        return x[len(x) - grid * grid :]

    def vit_block(self, x: Tensor, b: str, heads: int) -> Tensor:
        scale = [self.w.get(f"{b}ls{i}.scale_factor", torch.ones(1)) for i in (1, 2)]
        q, k, v = self.linear(self.layer_norm(x, f"{b}norm1", 1e-6), f"{b}attn.qkv").chunk(3, dim=-1)
        x = x + scale[0] * self.linear(attention(q, k, v, heads, causal=False), f"{b}attn.proj")
        h = self.linear(self.layer_norm(x, f"{b}norm2", 1e-6), f"{b}mlp.fc1")
        return x + scale[1] * self.linear(gelu(h), f"{b}mlp.fc2")

    def vision(self, pictures: list[Tensor]) -> Tensor:
        """Vision tokens of all views, one after the other."""
        views = []
        for picture in pictures:
            features = [self.tower(self.pixels(picture, i), name) for i, name in enumerate(self.towers)]
            x = torch.cat(features, dim=-1)
            for layer in ("fc1", "fc2"):
                x = gelu(self.linear(x, f"projector.{layer}"))
            views.append(self.linear(x, "projector.fc3"))
        return torch.cat(views)

    def decoder(self, x: Tensor, *, causal: bool) -> Tensor:
        """[N, d] -> final-norm hidden states [N, d]."""
        heads = self.config["num_attention_heads"]
        for index in range(self.config["num_hidden_layers"]):
            layer = f"language_model.model.layers.{index}."
            h = self.rms_norm(x, f"{layer}input_layernorm")
            q, k, v = (self.linear(h, f"{layer}self_attn.{p}_proj") for p in "qkv")
            q, k = rope(q, heads), rope(k, heads)
            x = x + self.linear(attention(q, k, v, heads, causal=causal), f"{layer}self_attn.o_proj")
            h = self.rms_norm(x, f"{layer}post_attention_layernorm")
            gate, up = (self.linear(h, f"{layer}mlp.{p}_proj") for p in ("gate", "up"))
            x = x + self.linear(gate / (1 + torch.exp(-gate)) * up, f"{layer}mlp.down_proj")
        return self.rms_norm(x, "language_model.model.norm")

    def embed(self, ids: list[int]) -> Tensor:
        return self.w["language_model.model.embed_tokens.weight"][ids]

    def openvla_logits(self, picture: Tensor, ids: list[int]) -> Tensor:
        """Logits after the last id; ids that follow the prompt are decoded tokens."""
        text = self.embed(ids)
        hidden = self.decoder(torch.cat([text[:1], self.vision([picture]), text[1:]]), causal=True)
        return self.linear(hidden[-1], "language_model.lm_head")

    def openvla_tokens(self, picture: Tensor, ids: list[int]) -> list[int]:
        """Seven greedy tokens, without a cache."""
        found: list[int] = []
        for _ in range(7):
            found.append(int(self.openvla_logits(picture, ids + found).argmax()))
        return found

    def oft_actions(self, pictures: list[Tensor], ids: list[int], proprio: Tensor) -> Tensor:
        """Normalised chunk [8, 7] from normalised proprio."""
        text = self.embed(ids)
        state = self.linear(gelu(self.linear(proprio, "proprio_projector/module.fc1")), "proprio_projector/module.fc2")
        placeholders = torch.zeros(56, text.shape[1], dtype=torch.float64)
        parts = [text[:1], self.vision(pictures), state[None], text[1:], placeholders, self.embed([2])]
        hidden = self.decoder(torch.cat(parts), causal=False)
        return self.action_head(hidden[-58:-2])

    def action_head(self, window: Tensor) -> Tensor:
        head = "action_head/module.model."
        x = window.reshape(8, -1)
        x = self.linear(self.layer_norm(x, f"{head}layer_norm1", 1e-5), f"{head}fc1").clamp_min(0)
        for index in range(2):
            block = f"{head}mlp_resnet_blocks.{index}.ffn."
            x = x + self.linear(self.layer_norm(x, f"{block}0", 1e-5), f"{block}1").clamp_min(0)
        return self.linear(self.layer_norm(x, f"{head}layer_norm2", 1e-5), f"{head}fc2")


def gelu(x: Tensor) -> Tensor:
    return x * 0.5 * (1 + torch.erf(x / math.sqrt(2)))


def split(x: Tensor, heads: int) -> Tensor:
    return x.reshape(x.shape[0], heads, -1).transpose(0, 1)


def attention(q: Tensor, k: Tensor, v: Tensor, heads: int, *, causal: bool) -> Tensor:
    """[N, d] each -> [N, d]."""
    q, k, v = (split(t, heads) for t in (q, k, v))
    scores = q @ k.transpose(1, 2) / math.sqrt(q.shape[-1])
    if causal:
        scores = scores + torch.full_like(scores[0], float("-inf")).triu(1)
    return (scores.softmax(-1) @ v).transpose(0, 1).reshape(q.shape[1], -1)


def rope(x: Tensor, heads: int, theta: float = 10000.0) -> Tensor:
    """[N, d]: in each head, entries i and i + D/2 turn together by position / theta^(2i/D)."""
    t = split(x, heads)
    half = t.shape[-1] // 2
    angle = torch.arange(len(x), dtype=torch.float64)[:, None] / theta ** (torch.arange(half).double() / half)
    a, b = t[..., :half], t[..., half:]
    turned = torch.cat([a * angle.cos() - b * angle.sin(), b * angle.cos() + a * angle.sin()], dim=-1)
    return turned.transpose(0, 1).reshape(x.shape)
