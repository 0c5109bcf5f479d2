"""The model: vision tokens, prompt assembly, decoder and action head, for one and for two and more views."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vlacache.core.layout import SpanKind, TokenLayout
from vlacache.models.cogact.head import DiffusionHead
from vlacache.models.config import VLAConfig
from vlacache.models.decoder import Decoder
from vlacache.models.heads import L1ChunkHead, TokenBinHead
from vlacache.models.vision import VisionEncoder


class ProprioProjector(nn.Module):
    """Normalised proprioception -> one token (OpenVLA-OFT)."""

    def __init__(self, proprio_dim: int, hidden_size: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(proprio_dim, hidden_size)
        self.fc2 = nn.Linear(hidden_size, hidden_size)

    def forward(self, proprio: Tensor) -> Tensor:
        """[..., S] -> [..., D]."""
        return self.fc2(F.gelu(self.fc1(proprio)))


class VLAModel(nn.Module):
    """A Prismatic-style VLA.

    Prompt: ``[BOS] [patches of each view] [proprio] [text] [action placeholders] [stop]``; proprio, placeholders and
    stop only where the config has them, proprio behind the text with ``proprio_last``. Placeholders are zero
    embeddings, the stop token is an ordinary one. With a diffusion head the last text id is the cognition token.
    """

    STOP_ID = 2

    def __init__(self, config: VLAConfig) -> None:
        super().__init__()
        self.config = config
        self._layouts: dict[int, TokenLayout] = {}
        width = config.decoder.hidden_size
        self.vision = VisionEncoder(config.towers, config.projector_hidden, width)
        self.embed = nn.Embedding(config.decoder.vocab_size, width)
        self.decoder = Decoder(config.decoder)
        self.proprio = None if config.proprio_dim is None else ProprioProjector(config.proprio_dim, width)
        self.head: L1ChunkHead | TokenBinHead | DiffusionHead
        if config.denoiser is not None:
            self.head = DiffusionHead(config.denoiser)
        elif config.head == "l1_chunk":
            self.head = L1ChunkHead(width, config.chunk_length, config.action_dim)
        else:
            self.head = TokenBinHead(width, config.decoder.vocab_size, config.num_action_bins, config.vocab_padding)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.embed.weight.device

    @property
    def dtype(self) -> torch.dtype:
        """Dtype of the weights."""
        return self.embed.weight.dtype

    def layout(self, num_text: int) -> TokenLayout:
        """Layout of a prompt with ``num_text`` text ids, BOS included; made once."""
        if num_text not in self._layouts:
            self._layouts[num_text] = self._build_layout(num_text)
        return self._layouts[num_text]

    def _build_layout(self, num_text: int) -> TokenLayout:
        c = self.config
        per_view = c.grid[0] * c.grid[1]
        parts: list[tuple[str, SpanKind, int]] = [("bos", "bos", 1)]
        parts += [(view, "vision", per_view) for view in c.views]
        cognition = int(c.head == "diffusion")
        state: tuple[str, SpanKind, int] = ("proprio", "proprio", int(c.proprio_dim is not None))
        text: tuple[str, SpanKind, int] = ("text", "text", num_text - 1 - cognition)
        parts += [text, state] if c.proprio_last else [state, text]
        parts += [("cognition", "cognition", cognition)]
        if c.head == "l1_chunk":
            parts += [("action", "action", c.num_action_tokens), ("stop", "stop", 1)]
        return TokenLayout.build(parts, c.grid)

    def head_rows(self, layout: TokenLayout) -> list[int]:
        """Positions whose hidden states the head reads.

        OFT: a window of T * dim that starts on the last prompt token and leaves out the last placeholder (the label
        shift of its training). Token bins and diffusion: the last position.
        """
        if self.config.head != "l1_chunk":
            return [layout.num_tokens - 1]
        last_prompt = layout.positions("text")[-1]
        return list(range(last_prompt, last_prompt + self.config.num_action_tokens))

    def assemble(self, vision_tokens: Tensor, text_ids: Tensor, proprio: Tensor | None) -> Tensor:
        """Prompt embeddings.

        Args:
            vision_tokens: [B, P, D]. text_ids: int64[B, T] with BOS first. proprio: normalised [B, S] or None.

        Returns:
            [B, N, D].
        """
        text = self.embed(text_ids)
        parts = [text[:, :1], vision_tokens, text[:, 1:]]
        if self.proprio is not None:
            if proprio is None:
                raise ValueError(f"{self.config.name}: expected proprio of size {self.config.proprio_dim}, got None")
            parts.insert(3 if self.config.proprio_last else 2, self.proprio(proprio.to(self.dtype))[:, None])
        if self.config.head == "l1_chunk":
            batch = text_ids.shape[0]
            parts.append(text.new_zeros(batch, self.config.num_action_tokens, text.shape[-1]))
            parts.append(self.embed(text_ids.new_full((batch, 1), self.STOP_ID)))
        return torch.cat(parts, dim=1)

    def forward(self, frames: Tensor, text_ids: Tensor, proprio: Tensor | None = None) -> Tensor:
        """Dense, batched, without cache: training, and the reference that the cached path is tested against.

        Args:
            frames: [B, V, 3, H, W] raw pixel values 0..255. text_ids: int64[B, T]. proprio: normalised [B, S].

        Returns:
            l1_chunk: normalised actions [B, T, dim]. token_bins: logits of the last position [B, vocab]. diffusion:
            cognition features [B, D], which ``head`` takes together with noise.
        """
        embeds = self.assemble(self.vision(frames.to(self.dtype)), text_ids, proprio)
        hidden = self.decoder(embeds, causal=self.config.causal)
        rows = self.head_rows(self.layout(text_ids.shape[1]))
        window = hidden[:, rows]
        if isinstance(self.head, DiffusionHead):
            return window[:, 0]
        return self.head(window) if self.config.head == "l1_chunk" else self.head(window[:, 0])

    def num_parameters(self) -> int:
        """Trainable parameters."""
        return sum(p.numel() for p in self.parameters())
