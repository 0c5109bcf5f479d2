"""CogACT's denoiser: a plain (not AdaLN) transformer over one condition token and the noisy actions of a chunk.

Parameters are named as in the published files, so that ``action_model`` loads key by key.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

#: Width of the sinusoidal time features, and their longest period (DiT).
TIME_FEATURES = 256
MAX_PERIOD = 10_000.0


@dataclass(frozen=True, slots=True)
class DiTConfig:
    """Sizes of the denoiser.

    Attributes:
        hidden_size, depth, num_heads: of the blocks. mlp_ratio: MLP width / hidden_size.
        token_size: width of the condition (the VLM's hidden size).
        chunk_length, action_dim: T and the size of an action.
    """

    hidden_size: int
    depth: int
    num_heads: int
    token_size: int = 4096
    chunk_length: int = 16
    action_dim: int = 7
    mlp_ratio: float = 4.0

    @property
    def mlp_hidden(self) -> int:
        """Width of a block's MLP."""
        return int(self.hidden_size * self.mlp_ratio)


#: The published sizes: CogACT-Small, -Base and -Large.
DIT_SIZES = {
    "DiT-S": DiTConfig(hidden_size=384, depth=6, num_heads=4),
    "DiT-B": DiTConfig(hidden_size=768, depth=12, num_heads=12),
    "DiT-L": DiTConfig(hidden_size=1024, depth=24, num_heads=16),
}


def time_features(timesteps: Tensor) -> Tensor:
    """``[cos(t f), sin(t f)]`` with ``f_i = exp(-ln(10000) i / 128)``: [B] -> float32[B, 256]."""
    half = TIME_FEATURES // 2
    steps = torch.arange(half, dtype=torch.float32, device=timesteps.device)
    angles = timesteps.float()[:, None] * torch.exp(-math.log(MAX_PERIOD) * steps / half)
    return torch.cat([angles.cos(), angles.sin()], dim=-1)


class TimeEmbedder(nn.Module):
    """Timestep number -> vector."""

    def __init__(self, hidden_size: int) -> None:
        super().__init__()
        first = nn.Linear(TIME_FEATURES, hidden_size)
        self.mlp = nn.Sequential(first, nn.SiLU(), nn.Linear(hidden_size, hidden_size))

    def forward(self, timesteps: Tensor) -> Tensor:
        """[B] timestep numbers of the unspaced schedule -> [B, D]."""
        return self.mlp(time_features(timesteps).to(next(self.parameters()).dtype))


class LinearEmbedder(nn.Module):
    """One linear layer, named ``linear``."""

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__()
        self.linear = nn.Linear(in_features, out_features)

    def forward(self, x: Tensor) -> Tensor:
        """[..., in] -> [..., out]."""
        return self.linear(x)


class ConditionEmbedder(LinearEmbedder):
    """The condition's embedding, and the learned stand-in for "no condition"."""

    def __init__(self, token_size: int, hidden_size: int) -> None:
        super().__init__(token_size, hidden_size)
        self.uncondition = nn.Parameter(torch.zeros(1, token_size))


class DiTAttention(nn.Module):
    """Full self-attention with fused qkv."""

    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """[B, N, D] -> same."""
        q, k, v = self.qkv(x).unflatten(-1, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
        return self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(-2))


class DiTMLP(nn.Module):
    """Two layers with the tanh approximation of GELU."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        """[..., D] -> same."""
        return self.fc2(F.gelu(self.fc1(x), approximate="tanh"))


class DiTBlock(nn.Module):
    """Pre-norm attention and MLP; the norms have no parameters."""

    def __init__(self, config: DiTConfig) -> None:
        super().__init__()
        self.attn = DiTAttention(config.hidden_size, config.num_heads)
        self.mlp = DiTMLP(config.hidden_size, config.mlp_hidden)

    def forward(self, x: Tensor) -> Tensor:
        """[B, N, D] -> same."""
        x = x + self.attn(plain_norm(x))
        return x + self.mlp(plain_norm(x))


def plain_norm(x: Tensor) -> Tensor:
    """LayerNorm without parameters."""
    return F.layer_norm(x, x.shape[-1:], eps=1e-6)


class DiT(nn.Module):
    """Predicts the noise in a chunk of actions.

    The condition token does not depend on the noisy actions, so a sampler computes it once for all its steps
    (``condition``) and then calls ``denoise`` alone.
    """

    def __init__(self, config: DiTConfig) -> None:
        super().__init__()
        self.config = config
        d = config.hidden_size
        self.positional_embedding = nn.Parameter(torch.zeros(config.chunk_length + 1, d))
        self.x_embedder = LinearEmbedder(config.action_dim, d)
        self.t_embedder = TimeEmbedder(d)
        self.z_embedder = ConditionEmbedder(config.token_size, d)
        self.blocks = nn.ModuleList(DiTBlock(config) for _ in range(config.depth))
        self.final_layer = LinearEmbedder(d, config.action_dim)

    def condition(self, timesteps: Tensor, z: Tensor) -> Tensor:
        """Condition token: timesteps [B] (numbers of the unspaced schedule), z [B, token_size] -> [B, D]."""
        return self.t_embedder(timesteps) + self.z_embedder(z)

    def denoise(self, x: Tensor, condition: Tensor) -> Tensor:
        """Noisy actions [B, T, dim] and condition tokens [B, D] -> predicted noise [B, T, dim]."""
        tokens = torch.cat([condition[:, None], self.x_embedder(x)], dim=1) + self.positional_embedding
        for block in self.blocks:
            tokens = block(tokens)
        return self.final_layer(plain_norm(tokens))[:, 1:]

    def forward(self, x: Tensor, timesteps: Tensor, z: Tensor) -> Tensor:
        """Noisy actions [B, T, dim], timesteps [B], conditions [B, token_size] -> predicted noise [B, T, dim]."""
        return self.denoise(x, self.condition(timesteps, z))

    def macs(self) -> int:
        """MACs of one forward with a batch of one, condition included."""
        c, tokens = self.config, self.config.chunk_length + 1
        d = c.hidden_size
        block = tokens * (4 * d * d + 2 * d * c.mlp_hidden + 2 * tokens * d)
        embed = c.chunk_length * c.action_dim * d + (TIME_FEATURES + d) * d + c.token_size * d
        return c.depth * block + embed + tokens * d * c.action_dim
