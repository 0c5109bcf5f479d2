"""A model and a cache policy behind the ``Policy`` protocol: observation in, chunk of actions out, cost measured."""

from __future__ import annotations

import resource
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vlacache.core.attention import Readout
from vlacache.core.decision import CacheDecision, plan_segments
from vlacache.core.flops import decode_macs, prefill_macs, readout_macs, rows_per_layer
from vlacache.core.layout import TokenLayout
from vlacache.core.policies.base import CachePolicy
from vlacache.core.session import CacheSession
from vlacache.core.timing import StageTimer
from vlacache.models.cogact.diffusion import episode_noise
from vlacache.models.cogact.head import DiffusionHead
from vlacache.models.cogact.postprocess import EpisodePostprocess
from vlacache.models.decoder import PrefillCall
from vlacache.models.factory import LoadedModel
from vlacache.models.heads import (
    L1ChunkHead,
    TokenBinHead,
    detokenize,
    gripper_to_robosuite,
    normalize,
    unnormalize,
)
from vlacache.models.preprocess import frames_from_observation, proprio_from_observation
from vlacache.models.tokenizer import prompt_text
from vlacache.types import ActionChunk, ActionSpec, CacheTrace, InferenceStats, Observation


class CachedPolicy:
    """One arm of a comparison. Several may share one ``LoadedModel``; each has its own session.

    Attributes:
        name, weights, action_spec, cameras, num_open_loop_steps: see ``vlacache.types.Policy``.
        session: the cache state of the running episode.
    """

    def __init__(self, loaded: LoadedModel, cache: CachePolicy) -> None:
        self.loaded = loaded
        self.cache = cache
        self.name = loaded.info.name
        self.weights = loaded.info.weights
        self.action_spec: ActionSpec = loaded.action_spec
        self.cameras = loaded.info.views
        self.num_open_loop_steps = loaded.num_open_loop_steps
        self._model = loaded.model
        self._device = loaded.model.device
        self._timer = StageTimer(self._device)
        self.session = CacheSession(
            cache, loaded.model.config.decoder.shape, dtype=loaded.model.dtype, device=self._device
        )
        self._is_first_call = True
        self._prompts: dict[str, Tensor] = {}
        self._head_rows_of: dict[TokenLayout, Tensor] = {}
        self._commands = EpisodePostprocess(self._model.config) if self._model.config.head == "diffusion" else None
        self._seed = 0

    @property
    def resolved_cache(self) -> dict[str, Any]:
        """The cache policy's numbers as they apply to this model (for the run record)."""
        layout = self._model.layout(len(self._text_ids("pick up the black bowl").tolist()))
        return self.cache.resolve(layout, self.loaded.info.num_layers)

    def reset(self, seed: int) -> None:
        """Forget the last episode."""
        self.session.reset(seed)
        self._seed = seed
        if self._commands is not None:
            self._commands.reset()

    @torch.inference_mode()
    def infer(self, observation: Observation) -> ActionChunk:
        """One policy call.

        Raises:
            ValueError: a picture, proprio or instruction that does not fit the model.
            RuntimeError: the model computed something that is not finite.
        """
        timer = self._timer
        timer.start()
        with timer.stage("preprocess"):
            frames, text_ids, proprio = self._preprocess(observation)
            layout = self._model.layout(text_ids.numel())
        with timer.stage("vision"):
            tokens = self._model.vision(frames.to(self._model.dtype))
        with timer.stage("decide"):
            decision, segments, head_rows, readout = self._decide(observation, frames, layout)
        with timer.stage("prefill"):
            embeds = self._model.assemble(tokens[None], text_ids[None], None if proprio is None else proprio[None])[0]
            call = PrefillCall(self.session.kv, self._model.config.causal, readout, self._aside)
            hidden = self._model.decoder.prefill(embeds, segments, head_rows, call)
        actions = self._act(hidden, layout.num_tokens, observation.step)
        with timer.stage("decide"):
            self.session.commit(decision, readout)
        with timer.stage("postprocess"):
            executed = self._executed(actions, observation.instruction)
        stats = self._stats(timer.finish(), layout, decision, readout, head_rows.numel())
        self._is_first_call = False
        return ActionChunk(executed, stats, self._trace(layout, decision))

    def _executed(self, actions: NDArray[np.floating], instruction: str) -> NDArray[np.float32]:
        """Normalised actions [T, dim] -> float32[T, dim] (one action where chunks are ensembled) in spec units."""
        config = self._model.config
        if not np.isfinite(actions).all():
            num_bad = np.count_nonzero(~np.isfinite(actions))
            raise RuntimeError(
                f"{self.name}: expected finite actions, got {num_bad} of {actions.size} entries that are not; check "
                "the weights, or use model.dtype=float32"
            )
        if self._commands is not None:
            return self._commands.command(actions, instruction)[None].astype(np.float32)
        executed = unnormalize(
            actions.reshape(-1, config.action_dim),
            config.action_low,
            config.action_high,
            config.action_mask,
            config.action_epsilon,
        )
        if config.gripper == "libero":
            executed[:, -1] = gripper_to_robosuite(executed[:, -1])
        return executed.astype(np.float32)

    def _aside(self) -> AbstractContextManager[None]:
        return self._timer.stage("decide")

    def _preprocess(self, observation: Observation) -> tuple[Tensor, Tensor, Tensor | None]:
        config = self._model.config
        size = config.towers[0].image_size
        frames = frames_from_observation(observation, config.views, size, config.image_steps, self._device)
        proprio = None
        if config.proprio_dim is not None:
            raw = proprio_from_observation(observation, config.proprio_dim).to(self._device)
            proprio = normalize(raw, config.proprio_low, config.proprio_high, config.proprio_mask)
        return frames, self._text_ids(observation.instruction), proprio

    def _text_ids(self, instruction: str) -> Tensor:
        if instruction not in self._prompts:
            ids = self.loaded.tokenizer.encode(prompt_text(self._model.config.prompt, instruction))
            self._prompts[instruction] = torch.tensor(ids, device=self._device)
        return self._prompts[instruction]

    def _decide(
        self, observation: Observation, frames: Tensor, layout: TokenLayout
    ) -> tuple[CacheDecision, list[Any], Tensor, Readout | None]:
        config = self._model.config
        head_rows = self._head_rows(layout)
        decision = self.session.decide(
            frames,
            layout,
            prompt=observation.instruction,
            cameras=(config.views, *(observation.images[v].shape for v in config.views)),
            head_rows=head_rows.numel(),
            extra_slots=config.action_dim if config.head == "token_bins" else 0,
        )
        readout = self.session.readout(layout, causal=config.causal)
        return decision, plan_segments(decision, layout, causal=config.causal), head_rows, readout

    def _head_rows(self, layout: TokenLayout) -> Tensor:
        if layout not in self._head_rows_of:
            self._head_rows_of[layout] = torch.tensor(self._model.head_rows(layout), device=self._device)
        return self._head_rows_of[layout]

    def _act(self, hidden: Tensor, position: int, step: int) -> NDArray[np.floating]:
        """Normalised actions [T * dim] or [T, dim] from the head's rows.

        Decodes token by token or denoises where the head is of that kind. ``step``: env step, fixes the noise.
        """
        head = self._model.head
        if isinstance(head, DiffusionHead):
            with self._timer.stage("action_head"):
                config = self._model.config
                noise = episode_noise(self._seed, step, (config.chunk_length, config.action_dim))
                return head(hidden, noise.to(self._device)).float().cpu().numpy()
        if isinstance(head, L1ChunkHead):
            with self._timer.stage("action_head"):
                return head(hidden).float().cpu().numpy()
        with self._timer.stage("decode"):
            token_ids = self._decode_greedy(head, hidden, position)
        with self._timer.stage("action_head"):
            return detokenize(token_ids, head.num_tokens, head.num_bins)

    def _decode_greedy(self, head: TokenBinHead, hidden: Tensor, position: int) -> NDArray[np.integer]:
        """Plain argmax over the vocabulary, one token per action dimension. Prompt slots stay untouched.

        Raises:
            RuntimeError: logits that are not finite (their argmax would still be a token).
        """
        best = [head(hidden).max(dim=-1)]
        for step in range(1, self._model.config.num_action_tokens):
            embed = self._model.embed(best[-1].indices)
            hidden = self._model.decoder.decode_step(embed, position + step - 1, self.session.kv)
            best.append(head(hidden).max(dim=-1))
        logits = torch.cat([b.values for b in best]).float().cpu()
        if not logits.isfinite().all():
            raise RuntimeError(
                f"{self.name}: expected finite logits, got {logits.tolist()}; check the weights, or use "
                "model.dtype=float32"
            )
        return torch.cat([b.indices for b in best]).cpu().numpy()

    def _stats(
        self, times: dict[str, float], layout: TokenLayout, decision: CacheDecision, readout: Readout | None, head: int
    ) -> InferenceStats:
        rows = rows_per_layer(decision, layout.num_tokens)
        prefill = prefill_macs(self._model.config.decoder.shape, rows, layout.num_tokens, head)
        return InferenceStats(
            **{f"{name}_ms": value for name, value in times.items()},
            clock=self._timer.clock,
            num_prompt_tokens=layout.num_tokens,
            recomputed_tokens_mean=sum(rows) / len(rows),
            reuse_ratio=decision.reuse_ratio,
            max_age=self.session.max_age,
            macs=prefill + self._other_macs(layout, rows, readout),
            prefill_macs=prefill,
            peak_memory_bytes=_peak_memory(self._device),
            is_warmup=self._is_first_call,
            fallback=decision.reason,
        )

    def _other_macs(self, layout: TokenLayout, rows: list[int], readout: Readout | None) -> int:
        """Towers, projector, side readout, decode and head."""
        model, shape = self._model, self._model.config.decoder.shape
        macs = model.vision.macs(len(layout.views))
        if readout is not None:
            request = readout.request
            sampled = [n if request.entropy_rows is None else min(n, request.entropy_rows) for n in rows]
            macs += sum(readout_macs(shape, sampled[layer], layout.num_tokens) for layer in request.entropy_layers)
            relevance = readout_macs(shape, request.relevance_rows.numel(), layout.num_tokens)
            macs += relevance * len(request.relevance_layers)
        if isinstance(model.head, L1ChunkHead | DiffusionHead):
            return macs + model.head.macs()
        vocab, steps = model.config.decoder.vocab_size, model.config.num_action_tokens
        macs += shape.hidden_size * vocab
        return macs + sum(decode_macs(shape, layout.num_tokens + step, vocab) for step in range(1, steps))

    def _trace(self, layout: TokenLayout, decision: CacheDecision) -> CacheTrace:
        return CacheTrace(
            layout.views,
            layout.grid,
            decision.reused_layers().cpu().numpy(),
            decision.static.cpu().numpy(),
            decision.relevant.cpu().numpy(),
            decision.num_layers,
        )


def _peak_memory(device: torch.device) -> int:
    """Peak bytes: allocated on the GPU, or the resident set of the process on a CPU."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
