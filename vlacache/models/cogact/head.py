"""The action head: cognition feature and noise in, normalised chunk out."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vlacache.models.cogact.diffusion import DDIMSchedule, ddim_sample, guide
from vlacache.models.cogact.dit import DiT, DiTConfig

#: What the published SIMPLER policy samples with.
NUM_DDIM_STEPS = 10
GUIDANCE_SCALE = 1.5


class DiffusionHead(nn.Module):
    """Samples a chunk of actions with DDIM.

    Args:
        config: of the denoiser. num_steps: DDIM steps. guidance: scale of classifier-free guidance; <= 1 is none (one
            network row a step instead of two).

    Raises:
        ValueError: a number of steps that DDIM's strides cannot give.
    """

    def __init__(self, config: DiTConfig, *, num_steps: int = NUM_DDIM_STEPS, guidance: float = GUIDANCE_SCALE) -> None:
        super().__init__()
        self.net = DiT(config)
        self.schedule = DDIMSchedule.build(num_steps)
        self.guidance = guidance
        # On the CPU even while a model is laid out on the meta device: no file fills it.
        timesteps = torch.tensor(self.schedule.timesteps, device="cpu")
        self.register_buffer("timesteps", timesteps, persistent=False)

    @property
    def is_guided(self) -> bool:
        """Every step also asks for the unconditional noise."""
        return self.guidance > 1.0

    def forward(self, cognition: Tensor, noise: Tensor) -> Tensor:
        """Cognition feature [1, token_size] and noise [T, dim] -> normalised actions [T, dim], not clipped."""
        net = self.net
        dtype = net.positional_embedding.dtype
        z = cognition.to(dtype)
        if self.is_guided:
            z = torch.cat([z, net.z_embedder.uncondition])
        # [steps, rows, D]: the condition tokens of the whole sampling in two small products.
        conditions = net.t_embedder(self.timesteps)[:, None] + net.z_embedder(z)

        def predict(x: Tensor, index: int) -> Tensor:
            eps = net.denoise(x.expand(z.shape[0], -1, -1), conditions[index])
            return guide(eps[:1], eps[1:], self.guidance) if self.is_guided else eps

        return ddim_sample(predict, noise[None].to(dtype), self.schedule)[0]

    def macs(self) -> int:
        """MACs of one chunk."""
        return len(self.schedule.timesteps) * (2 if self.is_guided else 1) * self.net.macs()
