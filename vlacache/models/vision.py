"""Vision: one or two ViT towers on timm, features of all views, projected to the decoder's width."""

from __future__ import annotations

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from vlacache.core.attention import needs_products
from vlacache.core.flops import vit_macs
from vlacache.models.config import TowerConfig


class VisionTower(nn.Module):
    """A ViT whose feature is the output of ``feature_block`` without prefix tokens and without final norm."""

    def __init__(self, config: TowerConfig) -> None:
        super().__init__()
        self.config = config
        self.vit = VisionTransformer(
            img_size=config.image_size,
            patch_size=config.patch_size,
            embed_dim=config.width,
            depth=config.depth,
            num_heads=config.num_heads,
            mlp_ratio=(config.mlp_hidden + 0.5) / config.width,  # timm truncates the product
            class_token=config.class_token,
            reg_tokens=config.num_registers,
            no_embed_class=True,
            init_values=1e-5 if config.layer_scale else None,
            num_classes=0,
            global_pool="",
        )
        # Blocks after the feature block and the final norm never influence the output: do not hold them.
        self.vit.blocks = self.vit.blocks[: config.feature_block + 1]
        self.vit.norm = nn.Identity()

    def forward(self, pixels: Tensor) -> Tensor:
        """[V, 3, H, W] normalised pixels -> [V, P/V, width]."""
        x = self.vit.patch_embed(pixels)
        x = self.vit._pos_embed(x)
        is_fused = torch.is_grad_enabled() or not needs_products(x.device, x.dtype)
        for block in self.vit.blocks:
            block.attn.fused_attn = is_fused  # type: ignore[union-attr]  # timm's switch between SDPA and products
            x = block(x)
        return x[:, self.vit.num_prefix_tokens :]

    def macs(self) -> int:
        """MACs on one image."""
        c = self.config
        tokens = c.grid[0] * c.grid[1] + c.num_registers + int(c.class_token)
        return vit_macs(tokens, c.width, c.mlp_hidden, c.feature_block + 1, 3 * c.patch_size**2)


class Projector(nn.Module):
    """Three-layer MLP with exact GELU (Prismatic's fused projector)."""

    def __init__(self, in_features: int, hidden: int, out_features: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(in_features, hidden)
        self.fc2 = nn.Linear(hidden, out_features)
        self.fc3 = nn.Linear(out_features, out_features)

    def forward(self, features: Tensor) -> Tensor:
        """[..., in] -> [..., out]."""
        return self.fc3(F.gelu(self.fc2(F.gelu(self.fc1(features)))))

    def macs(self, tokens: int) -> int:
        """MACs on ``tokens`` patches."""
        return tokens * sum(layer.weight.numel() for layer in (self.fc1, self.fc2, self.fc3))


class VisionEncoder(nn.Module):
    """Towers and projector: raw pixels of all views in, vision tokens out."""

    def __init__(self, towers: tuple[TowerConfig, ...], projector_hidden: int, hidden_size: int) -> None:
        super().__init__()
        self.towers = nn.ModuleList(VisionTower(tower) for tower in towers)
        self.patches_per_view = towers[0].grid[0] * towers[0].grid[1]
        self.projector = Projector(sum(t.width for t in towers), projector_hidden, hidden_size)
        for index, tower in enumerate(towers):
            self.register_buffer(f"scale_{index}", _column(1.0 / (255.0 * s) for s in tower.std), persistent=False)
            self.register_buffer(
                f"shift_{index}", _column(m / s for m, s in zip(tower.mean, tower.std, strict=True)), persistent=False
            )

    def features(self, frames: Tensor) -> Tensor:
        """Tower features: frames [V, 3, H, W] raw pixel values 0..255 -> [V, P/V, sum of widths]."""
        features = [tower(self.normalized(frames, i)) for i, tower in enumerate(self.towers)]
        return features[0] if len(features) == 1 else torch.cat(features, dim=-1)

    def normalized(self, frames: Tensor, tower: int) -> Tensor:
        """Frames as one tower sees them: scaled, shifted, then cast to the dtype of the weights."""
        pixels = frames * getattr(self, f"scale_{tower}") - getattr(self, f"shift_{tower}")
        return pixels.to(self.projector.fc1.weight.dtype)

    def forward(self, frames: Tensor) -> Tensor:
        """Frames [B, V, 3, H, W] raw values -> vision tokens [B, P, D], views in order; B may be absent in both."""
        tokens = self.projector(self.features(frames.flatten(0, -4)))
        return tokens.reshape(*frames.shape[:-4], -1, tokens.shape[-1])

    def macs(self, views: int) -> int:
        """MACs of towers and projector on ``views`` images."""
        towers = sum(tower.macs() for tower in self.towers if isinstance(tower, VisionTower))
        return views * towers + self.projector.macs(views * self.patches_per_view)


def _column(values: Iterable[float]) -> Tensor:
    # The device is explicit: a model built on the meta device needs its constants all the same.
    return torch.tensor(list(values), dtype=torch.float32, device="cpu").view(1, 3, 1, 1)
