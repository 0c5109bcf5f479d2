"""A training run from its first update to its last, in as many sittings as it takes."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from vlacache.checkout import with_commit
from vlacache.folders import recover_folder
from vlacache.lock import FolderLock
from vlacache.models.config import VLAConfig
from vlacache.models.factory import LoadedModel, choose_dtype, untrained, wrap_model
from vlacache.models.request import DTYPES
from vlacache.models.tiny import TINY_MODELS
from vlacache.models.tokenizer import TinyTokenizer
from vlacache.train.batches import BatchMaker
from vlacache.train.checkpointing import TrainState, load_state, save_state
from vlacache.train.config import TrainConfig
from vlacache.train.demos import Demos
from vlacache.train.engine import Engine
from vlacache.train.export import export_checkpoint, stages_of, start_from
from vlacache.train.facts import differences, run_facts, validation_differences
from vlacache.train.frames import FrameStore
from vlacache.train.heads import heads_beside, load_heads, save_heads
from vlacache.train.interrupts import interrupts_at_the_end
from vlacache.train.log import JsonlLogger, MetricLogger
from vlacache.train.schedule import keep_share
from vlacache.train.targets import TrainNet, with_normalisation

LOCK_FILE = ".lock"
#: Closed-loop evaluation: a model in, numbers out; ``success`` (0..1) decides which weights are kept.
Evaluate = Callable[[LoadedModel], dict[str, Any]]


@dataclass(frozen=True, slots=True)
class RunOptions:
    """How to run, as opposed to what: none of it changes the weights.

    Attributes:
        device: torch device. num_threads: passes at once on a CPU; None for one a core.
        frame_bytes: memory for decoded pictures. stop_after: end this sitting after so many updates, or None.
        stop_at: end at this update of the run, however many sittings it takes, or None.
        commit: of the program, or None where it is not known.
    """

    device: str = "cpu"
    num_threads: int | None = None
    frame_bytes: int = 6 << 30
    stop_after: int | None = None
    stop_at: int | None = None
    commit: str | None = None

    def last_update(self, done: int, total: int) -> int:
        """Update at which a sitting ends that begins with ``done`` of ``total`` updates."""
        ends = [total]
        if self.stop_after is not None:
            ends.append(done + self.stop_after)
        if self.stop_at is not None:
            ends.append(max(done, self.stop_at))
        return min(ends)


class Trainer:
    """Trains, evaluates, keeps the best.

    Files in ``folder``: ``state.pt`` (to continue), ``log.jsonl``, ``last/`` (checkpoint of the last update),
    ``heads.safetensors`` (auxiliary heads, for a run that begins with ``last/``) and ``best/`` (checkpoint with the
    best closed-loop success) or, without simulator, ``snapshots/<samples>/`` where an evaluation was due.

    Args:
        config: numbers of the run. demos: with at least the model's views. folder: of the run.
        evaluate: see ``Evaluate``; None on a machine without simulator. validation: which episodes it rolls out,
            JSON-ready; a run that has a best goes on with the same ones. loggers: besides ``log.jsonl``.
        init_from: checkpoint whose trunk the run begins with, and its run's auxiliary heads if they lie beside it.
        options: see ``RunOptions``.

    Raises:
        ValueError: the folder holds a run with other numbers, demos or validation episodes.
        FolderBusyError: another process trains in the folder. It is locked until ``run`` or ``close`` is done.
    """

    def __init__(
        self,
        config: TrainConfig,
        demos: Demos,
        folder: Path,
        *,
        evaluate: Evaluate | None = None,
        validation: Mapping[str, Any] | None = None,
        loggers: Sequence[MetricLogger] = (),
        init_from: Path | None = None,
        options: RunOptions | None = None,
    ) -> None:
        self.config, self.folder = config, folder
        self._evaluate, self._validation = evaluate, validation
        #: Update whose state is on the disk; 0 for none.
        self.saved_step = 0
        self._window: list[tuple[float, dict[str, float]]] = []
        self._options = RunOptions() if options is None else options
        self._journal = JsonlLogger(folder / "log.jsonl")
        self._loggers = [self._journal, *loggers]
        folder.mkdir(parents=True, exist_ok=True)
        self._lock = FolderLock(folder / LOCK_FILE)
        try:
            for name in ("best", "last"):
                recover_folder(folder / name)
            self._prepare(demos, init_from)
        except BaseException:
            self._lock.release()
            raise

    def _prepare(self, demos: Demos, init_from: Path | None) -> None:
        """Weights, batches and, where the folder has one, the stored state."""
        config, folder = self.config, self.folder
        base = TINY_MODELS[config.model]
        demos = demos.select(base.views)
        model_config = with_normalisation(base, demos.state, demos.action)
        shared: dict[str, torch.Tensor] = {}
        if init_from is not None:
            model_config, shared = start_from(init_from, model_config, config.init_parts)
        self.model_config: VLAConfig = model_config
        self._stages = [] if init_from is None else stages_of(init_from)
        stored = load_state(folder)
        device = torch.device(self._options.device)
        self._dtype = _dtype(config, device, stored)
        heads = None if init_from is None or config.init_parts == "vision" else heads_beside(init_from)
        self._facts = run_facts(config, demos, init_from, heads, self._dtype)
        self._aux_names = demos.aux_names
        net = _first_net(config, model_config, shared, demos.aux_names)
        if heads is not None:
            load_heads(net, demos.aux_names, heads)
        cores = self._options.num_threads or os.cpu_count() or 1
        self.engine = Engine(net.to(device), config, self._dtype, cores)
        store = FrameStore(demos, base.towers[0].image_size, self._options.frame_bytes)
        self.batches = BatchMaker(demos, model_config, config, TinyTokenizer(), store)
        self.state = TrainState(0, {}, {}, {}, -1, None, -1, self._state_facts())
        if stored is not None:
            self._restore(stored)

    def run(self) -> TrainState:
        """Do what is left of the run. An interrupt comes through after the state of the last whole update is saved.

        Raises:
            RuntimeError: a loss that is not finite, or an evaluation that failed; ``saved_step`` is on the disk.
        """
        threads = torch.get_num_threads()
        if self.engine.on_cpu:
            torch.set_num_threads(1)  # the passes are parallel; two pools of threads would fight
        try:
            self._updates(threads)
            save_heads(self.engine.net, self._aux_names, self.folder)
            export_checkpoint(self.engine.averaged_model(), self.folder / "last", self._card_facts())
        except KeyboardInterrupt:
            self.save()
            raise
        finally:
            self.close()
            torch.set_num_threads(threads)
        return self.state

    def close(self) -> None:
        """End the threads and free the folder; ``run`` does it, whoever does not run calls it."""
        self.engine.close()
        self._lock.release()

    def _updates(self, threads: int) -> None:
        state = self.state
        self._journal.rewind(state.step, state.last_eval)
        stop = self._options.last_update(state.step, self.config.total_steps)
        self._evaluate_if_due(threads)
        for batch in self.batches.iterate(state.step, stop):
            with interrupts_at_the_end():
                self._log(self.engine.update(batch, state.step))
                state.step += 1
            if state.step % self.config.save_steps == 0 or state.step == stop:
                self.save()
            self._evaluate_if_due(threads)

    def save(self) -> None:
        """Write ``state.pt``."""
        state, engine = self.state, self.engine
        state.weights = {k: v.detach().cpu() for k, v in engine.net.state_dict().items()}
        state.ema = {k: v.cpu() for k, v in engine.ema.items()}
        state.moments = engine.moments()
        save_state(state, self.folder)
        self.saved_step = state.step

    def averaged(self) -> LoadedModel:
        """The averaged weights as a checkpoint would hold them (rounded to bfloat16), ready for inference."""
        model = self.engine.averaged_model().to(torch.bfloat16)
        return wrap_model(model, TinyTokenizer(), "trained", f"update {self.state.step}", self._options.device)

    def _evaluate_if_due(self, threads: int) -> None:
        state, config = self.state, self.config
        due = state.step > 0 and (state.step % config.eval_steps == 0 or state.step == config.total_steps)
        if not due or state.last_eval == state.step:
            return
        if self._evaluate is None:
            folder = self.folder / "snapshots" / f"{self._samples():08d}"
            folder.parent.mkdir(exist_ok=True)
            export_checkpoint(self.engine.averaged_model(), folder, self._card_facts())
        else:
            if self.saved_step != state.step:
                self.save()  # an evaluation takes minutes and may fail
            torch.set_num_threads(threads)
            self._select(self._evaluate)
            if self.engine.on_cpu:
                torch.set_num_threads(1)
        state.last_eval = state.step
        self.save()

    def _select(self, evaluate: Evaluate) -> None:
        """Evaluate the averaged weights and keep them when they are the best so far."""
        state = self.state
        started = time.perf_counter()
        result = evaluate(self.averaged())
        success = float(result["success"])
        if state.best is None or success >= state.best:  # of equals the later one: smaller steps, more averaging
            state.best, state.best_step = success, state.step
            facts = {**self._card_facts(), "validation": result}
            export_checkpoint(self.engine.averaged_model(), self.folder / "best", facts)
        self._send({"samples": self._samples(), "closed_loop": result, "eval_s": time.perf_counter() - started})

    def _log(self, values: dict[str, float]) -> None:
        """Mean over ``log_steps`` updates, over those that are left at the end of the run."""
        now = time.perf_counter()
        self._window.append((now, values))
        if (self.state.step + 1) % self.config.log_steps and self.state.step + 1 < self.config.total_steps:
            return
        rows = [row for _, row in self._window]
        means = {name: sum(row[name] for row in rows) / len(rows) for name in values}
        seconds = now - self._window[0][0]
        rate = self.config.batch_size * (len(rows) - 1) / seconds if len(rows) > 1 else None
        share = keep_share(self.config, self.state.step)
        samples = (self.state.step + 1) * self.config.batch_size
        self._send({"samples": samples, **means, "keep_share": share, "samples_per_s": rate}, self.state.step + 1)
        self._window.clear()

    def _send(self, values: dict[str, Any], step: int | None = None) -> None:
        for logger in self._loggers:
            logger.log(self.state.step if step is None else step, values)

    def _samples(self) -> int:
        return self.state.step * self.config.batch_size

    def _card_facts(self) -> dict[str, Any]:
        return {
            **self._facts,
            "stages": self._stages,
            "step": self.state.step,
            "samples": self._samples(),
            "total_steps": self.config.total_steps,
            "commits": self.state.facts["commits"],
        }

    def _state_facts(self, stored: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Facts of the state; ``stored`` are those of the sittings before."""
        stored = {"validation": None, "commits": []} if stored is None else stored
        validation = stored.get("validation") if self._validation is None else self._validation
        commits = with_commit(stored.get("commits", []), self._options.commit)
        return {**self._facts, "validation": validation, "commits": commits}

    def _restore(self, stored: TrainState) -> None:
        differing = differences(self.config, stored.facts, self._facts)
        differing += validation_differences(stored, self._validation)
        if differing:
            raise ValueError(
                f"{self.folder.name} holds a run with other settings (stored != asked): {'; '.join(differing)}. "
                "Use the same settings to continue it or another folder to start anew."
            )
        self.engine.restore(stored.weights, stored.ema, stored.moments)
        self.state = stored
        self.saved_step = stored.step
        stored.facts = self._state_facts(stored.facts)  # those of an older version know less


def _dtype(config: TrainConfig, device: torch.device, stored: TrainState | None) -> torch.dtype:
    """A continued run keeps the precision that it began with."""
    if config.precision != "auto":
        return DTYPES[config.precision]
    return choose_dtype(device) if stored is None else DTYPES[stored.facts["dtype"]]


def _first_net(
    config: TrainConfig, model_config: VLAConfig, shared: dict[str, torch.Tensor], aux_names: Sequence[str]
) -> TrainNet:
    """Seeded weights, those of ``shared`` in their place; the auxiliary heads have a seed of their own."""
    model = untrained(model_config, config.seed)
    model.load_state_dict(shared, strict=False)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed + 1)
        return TrainNet(model, aux_names, median=config.median_labels and model_config.head == "token_bins")
