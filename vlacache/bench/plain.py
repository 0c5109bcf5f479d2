"""The two lowest rungs of the latency ladder: what the official script runs, with and without attention maps."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vlacache.bench.plain_decoder import GrowingCache, PlainDecoder
from vlacache.core.flops import decode_macs, prefill_macs
from vlacache.core.timing import StageTimer
from vlacache.models.cogact.diffusion import episode_noise
from vlacache.models.cogact.head import DiffusionHead
from vlacache.models.factory import LoadedModel
from vlacache.models.heads import L1ChunkHead, TokenBinHead, detokenize
from vlacache.models.postprocess import build_postprocess
from vlacache.models.preprocess import frames_from_observation
from vlacache.models.proprio import normalized_state, proprio_from_observation
from vlacache.models.tokenizer import prompt_text
from vlacache.types import ActionChunk, ActionSpec, InferenceStats, Observation


class PlainPolicy:
    """Baseline arm of the official VLA-Cache script on the same weights, dense.

    With ``attentions`` it does what that script does: attention maps of all layers are kept until the call ends, the
    device is synchronised at the start of every decoder pass and at the end of the prefill. Without, the same eager
    operations let go of the maps and do not synchronise. Both, as published: one tower pass per view and tower, all
    rows in all layers, logits of the whole prompt in float32, a cache that grows by concatenation, a host read per
    token (the stopping rule of ``generate``).

    It is faster than the published code where that code does work we have no weights for or that is not the model's:
    the towers' unused last block, OFT's and CogACT's unused logits, TensorFlow on the pictures, overlay drawing. So
    the ladder's first step is, if anything, too small.

    Attributes:
        name, weights, action_spec, cameras, num_open_loop_steps: see ``vlacache.types.Policy``.
        maps: attention of the last call's passes, empty without ``attentions``.
    """

    def __init__(self, loaded: LoadedModel, *, attentions: bool) -> None:
        self.loaded = loaded
        self.name = loaded.info.name
        self.weights = loaded.info.weights
        self.action_spec: ActionSpec = loaded.action_spec
        self.cameras = loaded.info.views
        self.num_open_loop_steps = loaded.num_open_loop_steps
        self.maps: list[list[Tensor]] = []
        self._attentions = attentions
        self._model = loaded.model
        self._config = loaded.model.config
        self._device = loaded.model.device
        self._decoder = PlainDecoder(loaded.model.decoder)
        self._timer = StageTimer(self._device)
        self._postprocess = build_postprocess(self._config)
        self._seed = 0
        self._is_first_call = True

    def reset(self, seed: int) -> None:
        """Forget the last episode."""
        self._seed = seed
        self._postprocess.reset()

    @torch.inference_mode()
    def infer(self, observation: Observation) -> ActionChunk:
        """One dense policy call."""
        timer = self._timer
        timer.start()
        with timer.stage("preprocess"):
            frames, ids, proprio = self._preprocess(observation)
        with timer.stage("vision"):
            views = [self._model.vision(view[None].to(self._model.dtype)) for view in frames]
        with timer.stage("prefill"):
            embeds = self._model.assemble(torch.cat(views)[None], ids[None], proprio)
            self.maps = []
            cache = GrowingCache()
            hidden = self._forward(embeds, cache)
        actions = self._act(hidden, cache, observation.step, ids.numel())
        with timer.stage("postprocess"):
            executed = self._postprocess.executed(actions, observation.instruction).astype(np.float32)
        stats = self._stats(timer.finish(), embeds.shape[1])
        self._is_first_call = False
        return ActionChunk(executed, stats)

    def _preprocess(self, observation: Observation) -> tuple[Tensor, Tensor, Tensor | None]:
        c = self._config
        frames = frames_from_observation(observation, c.views, c.towers[0].image_size, c.image_steps, self._device)
        ids = self.loaded.tokenizer.encode(prompt_text(c.prompt, observation.instruction))
        proprio = None
        if c.proprio_dim is not None:
            raw = proprio_from_observation(observation, c.proprio_dim).to(self._device)
            proprio = normalized_state(c, raw)[None]
        return frames, torch.tensor(ids, device=self._device), proprio

    def _forward(self, embeds: Tensor, cache: GrowingCache) -> Tensor:
        if not self._attentions:
            return self._decoder.forward(embeds, cache, causal=self._config.causal)
        self._synchronize()
        self.maps.append([])
        hidden = self._decoder.forward(embeds, cache, causal=self._config.causal, maps=self.maps[-1])
        if embeds.shape[1] > 1:
            self._synchronize()
        return hidden

    def _synchronize(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)

    def _act(self, hidden: Tensor, cache: GrowingCache, step: int, num_text: int) -> NDArray[np.floating]:
        head, config, stage = self._model.head, self._config, self._timer.stage
        if isinstance(head, TokenBinHead):
            with stage("decode"):
                token_ids = self._generate(head, hidden, cache)
            with stage("action_head"):
                return detokenize(token_ids, head.num_tokens, head.num_bins)
        with stage("action_head"):
            if isinstance(head, L1ChunkHead):
                rows = self._model.head_rows(self._model.layout(num_text))
                return head(hidden[:, rows[0] : rows[-1] + 1])[0].float().cpu().numpy()
            noise = episode_noise(self._seed, step, (config.chunk_length, config.action_dim))
            return head(hidden[:, -1], noise.to(self._device)).float().cpu().numpy()

    def _generate(self, head: TokenBinHead, hidden: Tensor, cache: GrowingCache) -> NDArray[np.integer]:
        """Greedy ids as ``generate`` finds them."""
        best = head(hidden).float()[:, -1].argmax(dim=-1)
        ids = [int(best)]  # generate asks after every token whether to stop: a host read
        for _ in range(1, self._config.num_action_tokens):
            hidden = self._forward(self._model.embed(best)[None], cache)
            best = head(hidden).float()[:, -1].argmax(dim=-1)
            ids.append(int(best))
        return np.array(ids)

    def _stats(self, times: dict[str, float], n: int) -> InferenceStats:
        shape = self._config.decoder.shape
        prefill = prefill_macs(shape, [n] * shape.num_layers, n, n)
        fields: dict[str, Any] = {f"{name}_ms": value for name, value in times.items()}
        return InferenceStats(
            **fields,
            clock=self._timer.clock,
            num_prompt_tokens=n,
            recomputed_tokens_mean=n,
            macs=prefill + self._other_macs(n),
            prefill_macs=prefill,
            is_warmup=self._is_first_call,
            fallback="policy_none",
            runtime="eager",
        )

    def _other_macs(self, n: int) -> int:
        head, config = self._model.head, self._config
        macs = self._model.vision.macs(len(config.views))
        if isinstance(head, L1ChunkHead | DiffusionHead):
            return macs + head.macs()
        shape, vocab = config.decoder.shape, config.decoder.vocab_size
        steps = range(1, config.num_action_tokens)
        return macs + n * shape.hidden_size * vocab + sum(decode_macs(shape, n + step, vocab) for step in steps)
