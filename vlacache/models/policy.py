"""A model and a cache policy behind the ``Policy`` protocol: observation in, chunk of actions out, cost measured."""

from __future__ import annotations

import resource
import warnings
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vlacache.core.attention import Readout
from vlacache.core.context_shift import ContextShift, plan_shift
from vlacache.core.decision import CacheDecision, Segment, plan_segments
from vlacache.core.layout import TokenLayout
from vlacache.core.motion import MotionMeter
from vlacache.core.policies.base import CachePolicy
from vlacache.core.session import CacheSession
from vlacache.core.timing import StageTimer
from vlacache.models.cogact.diffusion import episode_noise
from vlacache.models.cogact.head import DiffusionHead
from vlacache.models.cost import CallWork, call_macs
from vlacache.models.decode import ActionDecoder, Answer
from vlacache.models.decoder import PrefillCall
from vlacache.models.factory import LoadedModel
from vlacache.models.heads import TokenBinHead, count_foreign, detokenize
from vlacache.models.postprocess import build_postprocess
from vlacache.models.preprocess import frames_from_observation
from vlacache.models.prompts import Prompts
from vlacache.models.proprio import normalized_state, proprio_from_observation
from vlacache.models.runtime import Runtime, build_runtime
from vlacache.types import ActionChunk, ActionSpec, CacheTrace, InferenceStats, Observation


class CachedPolicy:
    """One arm of a comparison. Several may share one ``LoadedModel``; each has its own session.

    Attributes:
        name, weights, action_spec, cameras, num_open_loop_steps: see ``vlacache.types.Policy``.
        session: the cache state of the running episode. runtime: how its calls are launched.
        decoder_class: what makes tokens of hidden states; the benchmark has others, whose drafts are made up.
    """

    decoder_class: ClassVar[type[ActionDecoder]] = ActionDecoder

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
        self._has_warned = False
        self._prompts = Prompts(loaded.model, loaded.tokenizer)
        self._head_rows_of: dict[tuple[TokenLayout, int], Tensor] = {}
        self.runtime: Runtime = build_runtime(loaded.runtime, loaded.model)
        self._decoder = self.decoder_class(
            loaded.model, self.runtime.decode_token, speculative=loaded.decode == "speculative"
        )
        self._postprocess = build_postprocess(self._model.config)
        self._motion = MotionMeter(self._model.config.action_low, self._model.config.action_high)
        self._seed = 0

    @property
    def token_ids(self) -> NDArray[np.int64] | None:
        """Tokens of the last call's action, int64[T]; None before the first call, and of a model without any."""
        return self._decoder.last_ids

    @property
    def resolved_cache(self) -> dict[str, Any]:
        """The cache policy's numbers as they apply to this model (for the run record)."""
        layout = self._model.layout(len(self._prompts.ids("pick up the black bowl").tolist()))
        return self.cache.resolve(layout, self.loaded.info.num_layers)

    def reset(self, seed: int) -> None:
        """Forget the last episode."""
        self.session.reset(seed)
        self._decoder.reset()
        self._seed = seed
        self._postprocess.reset()
        self._motion.reset()

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
        with timer.stage("decide"):
            self._ask(observation, frames, layout)
        with timer.stage("vision"):
            tokens = self.runtime.vision(frames)
        with timer.stage("decide"):
            plan = self._plan(layout)
        with timer.stage("prefill"):
            hidden = self._prefill(self._assemble(tokens, text_ids, proprio), plan)
        actions, answer = self._act(hidden, plan, observation.step)
        with timer.stage("postprocess"):
            executed = self._executed(actions, observation.instruction)
        with timer.stage("decide"):
            motion = self._motion.measure(executed[: self.num_open_loop_steps])
            self.session.commit(plan.decision, plan.readout, motion)
        stats = self._stats(timer.finish(), plan, answer)
        self._warn_of_foreign_tokens(stats)
        self.runtime.end_call()
        self._is_first_call = False
        return ActionChunk(executed, stats, self._trace(plan))

    def _executed(self, actions: NDArray[np.floating], instruction: str) -> NDArray[np.float32]:
        """Normalised actions [T, dim] -> float32[T, dim] (one action for a SIMPLER robot) in spec units."""
        if not np.isfinite(actions).all():
            num_bad = np.count_nonzero(~np.isfinite(actions))
            raise RuntimeError(
                f"{self.name}: expected finite actions, got {num_bad} of {actions.size} entries that are not; check "
                "the weights, or use model.dtype=float32"
            )
        return self._postprocess.executed(actions, instruction).astype(np.float32)

    def _aside(self) -> AbstractContextManager[None]:
        return self._timer.stage("decide")

    def _preprocess(self, observation: Observation) -> tuple[Tensor, Tensor, Tensor | None]:
        config = self._model.config
        size = config.towers[0].image_size
        frames = frames_from_observation(observation, config.views, size, config.image_steps, self._device)
        proprio = None
        if config.proprio_dim is not None:
            raw = proprio_from_observation(observation, config.proprio_dim)
            proprio = normalized_state(config, raw).to(self._device, non_blocking=True)
        return frames, self._prompts.ids(observation.instruction), proprio

    def _ask(self, observation: Observation, frames: Tensor, layout: TokenLayout) -> None:
        config = self._model.config
        num_tokens = config.num_action_tokens if config.head == "token_bins" else 0
        self.session.ask(
            frames,
            layout,
            prompt=observation.instruction,
            cameras=(config.views, *(observation.images[v].shape for v in config.views)),
            # Of the plain call: a draft must not move the break-even, or the two modes would reuse different things.
            head_rows=len(self._model.head_rows(layout)),
            extra_slots=num_tokens + self.runtime.extra_slots,
        )

    def _plan(self, layout: TokenLayout) -> _Plan:
        causal = self._model.config.causal
        draft = self._decoder.draft
        num_drafts = 0 if draft is None else draft.numel()
        decision = self.session.settle()
        padding = self.runtime.padding(self.session.kv)
        segments = plan_segments(decision, layout, causal=causal, num_drafts=num_drafts, padding=padding)
        readout = self.session.readout(layout, causal=causal)
        tables = self._model.decoder.rope(self.session.kv.capacity, self._model.embed.weight)
        shift = plan_shift(self.session.policy, decision, layout, tables, causal=causal)
        return _Plan(layout, decision, segments, self._head_rows(layout, num_drafts), readout, draft, shift)

    def _assemble(self, tokens: Tensor, text_ids: Tensor, proprio: Tensor | None) -> Tensor:
        return self._model.assemble(tokens[None], text_ids[None], None if proprio is None else proprio[None])[0]

    @torch.inference_mode()
    def prompt(self, observation: Observation) -> Tensor:
        """[N, d] embeddings of the prompt that ``infer`` would answer; nothing is remembered."""
        frames, text_ids, proprio = self._preprocess(observation)
        return self._assemble(self.runtime.vision(frames), text_ids, proprio)

    def _prefill(self, embeds: Tensor, plan: _Plan) -> Tensor:
        if plan.draft is not None:
            embeds = torch.cat([embeds, self._model.embed(plan.draft)])
        causal = self._model.config.causal
        call = PrefillCall(self.session.kv, causal, plan.readout, self._aside, plan.num_drafts, plan.shift)
        return self.runtime.prefill(embeds, plan.segments, plan.head_rows, call)

    def _head_rows(self, layout: TokenLayout, num_drafts: int) -> Tensor:
        key = layout, num_drafts
        if key not in self._head_rows_of:
            rows = [*self._model.head_rows(layout), *range(layout.num_tokens, layout.num_tokens + num_drafts)]
            self._head_rows_of[key] = torch.tensor(rows, device=self._device)
        return self._head_rows_of[key]

    def _act(self, hidden: Tensor, plan: _Plan, step: int) -> tuple[NDArray[np.floating], Answer | None]:
        """Normalised actions [T * dim] or [T, dim] from the head's rows, and the tokens of a model that has any.

        Decodes token by token or denoises where the head is of that kind. ``step``: env step, fixes the noise.
        """
        head = self._model.head
        if isinstance(head, TokenBinHead):
            with self._timer.stage("decode"):
                answer = self._decoder.decode(hidden, plan.layout.num_tokens, self.session.kv)
            with self._timer.stage("action_head"):
                return detokenize(answer.ids, head.num_tokens, head.num_bins), answer
        with self._timer.stage("action_head"):
            if isinstance(head, DiffusionHead):
                config = self._model.config
                noise = episode_noise(self._seed, step, (config.chunk_length, config.action_dim))
                chunk = self.runtime.denoise(hidden, noise.to(self._device, non_blocking=True))
            else:
                chunk = head(hidden)
            return chunk.float().cpu().numpy(), None

    def _warn_of_foreign_tokens(self, stats: InferenceStats) -> None:
        """Once; untrained weights say anything, so of them it is no news."""
        if stats.foreign_tokens and self.weights == "trained" and not self._has_warned:
            self._has_warned = True
            warnings.warn(
                f"{self.name}: {stats.foreign_tokens} of {self._model.config.num_action_tokens} generated tokens are "
                "no action tokens and were read as extreme actions, as in the published code; check the checkpoint and "
                "its prompt (foreign_tokens counts them in every call)",
                stacklevel=3,
            )

    def _stats(self, times: dict[str, float], plan: _Plan, answer: Answer | None) -> InferenceStats:
        num_steps, accepted, num_foreign, head = 0, None, 0, self._model.head
        if isinstance(head, TokenBinHead) and answer is not None:
            accepted = answer.accepted
            num_steps = self._model.config.num_action_tokens - 1 - (accepted or 0)
            num_foreign = count_foreign(answer.ids, head.num_tokens, head.num_bins)
        rows = plan.head_rows.numel()
        shifts = plan.shift is not None
        work = CallWork(plan.layout, plan.decision, plan.readout, plan.num_drafts, rows, num_steps, shifts)
        macs, prefill = call_macs(self._model, work)
        return InferenceStats(
            **{f"{name}_ms": value for name, value in times.items()},
            clock=self._timer.clock,
            num_prompt_tokens=plan.layout.num_tokens,
            recomputed_tokens_mean=sum(work.prompt_rows) / len(work.prompt_rows),
            reuse_ratio=plan.decision.reuse_ratio,
            max_age=self.session.max_age,
            macs=macs,
            prefill_macs=prefill,
            peak_memory_bytes=_peak_memory(self._device),
            is_warmup=self._is_first_call or not self.runtime.is_warm,
            fallback=plan.decision.reason,
            accepted_tokens=accepted,
            runtime=self.runtime.status,
            foreign_tokens=num_foreign,
        )

    def _trace(self, plan: _Plan) -> CacheTrace:
        layout, decision = plan.layout, plan.decision
        return CacheTrace(
            layout.views,
            layout.grid,
            decision.reused_layers().cpu().numpy(),
            decision.static.cpu().numpy(),
            decision.relevant.cpu().numpy(),
            decision.num_layers,
        )


@dataclass(frozen=True, slots=True)
class _Plan:
    """What one call is going to run. ``draft``: int64[d] ids after the prompt; ``shift``: of reused K/V; or None."""

    layout: TokenLayout
    decision: CacheDecision
    segments: list[Segment]
    head_rows: Tensor
    readout: Readout | None
    draft: Tensor | None
    shift: ContextShift | None

    @property
    def num_drafts(self) -> int:
        """Rows after the prompt."""
        return 0 if self.draft is None else self.draft.numel()


def _peak_memory(device: torch.device) -> int:
    """Peak bytes of the process: reserved on the GPU, or the resident set on a CPU.

    Reserved, not allocated: replayed graphs use memory of their pool without allocating it.
    """
    if device.type == "cuda":
        return int(torch.cuda.max_memory_reserved(device))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
