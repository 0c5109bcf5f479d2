"""Train an embedded policy from demonstrations: the same command continues a run that was stopped.

    python scripts/train_tiny.py --demos demos/spatial --folder results/train/oft
    python scripts/train_tiny.py --model tiny_openvla --init-from results/train/oft/best --demos ... --folder ...
    python scripts/train_tiny.py --no-eval --device cuda --demos packs/ --folder out samples=2000000 batch_size=256

Words name=value change the numbers of ``vlacache.train.config.TrainConfig``. On a GPU machine without simulator use
``--no-eval``; ``scripts/select_checkpoint.py`` then chooses among ``<folder>/snapshots``.
"""

from __future__ import annotations

import argparse
import sys
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import torch

if __package__ in (None, ""):  # run from a checkout that is not installed, as on a lent machine
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from runners.argv import finite, integer, parse_with_words
from runners.interrupts import sigterm_as_interrupt
from runners.suite_names import NUM_TASKS
from vlacache.checkout import git_commit
from vlacache.heap import keep_freed_memory
from vlacache.lock import FolderBusyError
from vlacache.models.tiny import TINY_MODELS
from vlacache.train.config import TRAIN_DEFAULTS
from vlacache.train.loop import RunOptions, Trainer
from vlacache.train.reader import read_demos


def parser() -> argparse.ArgumentParser:
    """Options of the command."""
    out = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    out.add_argument("words", nargs="*", help="name=value: numbers of the run")
    out.add_argument("--model", choices=sorted(TRAIN_DEFAULTS), default="tiny_oft")
    out.add_argument("--demos", type=Path, nargs="+", required=True, help="LeRobot folders, packs or folders of packs")
    out.add_argument("--folder", type=Path, required=True, help="of the run")
    out.add_argument("--init-from", type=Path, help="checkpoint folder whose trunk the run begins with")
    out.add_argument("--device", default="cpu")
    out.add_argument("--threads", type=integer(1), help="passes at once on a CPU; default: one a core")
    out.add_argument("--frame-gib", type=finite(0), default=6.0, help="memory for decoded pictures")
    out.add_argument(
        "--stop-after",
        type=integer(1),
        help="end this sitting after so many updates; <folder>/last holds the averaged weights",
    )
    out.add_argument("--stop-at", type=integer(1), help="the same, at this update of the run")
    out.add_argument("--logger", choices=("none", "wandb"), default="none", help="besides <folder>/log.jsonl")
    out.add_argument("--no-eval", action="store_true", help="keep snapshots instead of evaluating in the simulator")
    add_validation_options(out)
    return out


def add_validation_options(out: argparse.ArgumentParser) -> None:
    """Which episodes a closed-loop evaluation rolls out."""
    suites = [suite for suite in NUM_TASKS if suite.startswith("libero_")]
    out.add_argument("--suites", nargs="+", choices=suites, default=["libero_spatial"])
    out.add_argument("--tasks", type=int, nargs="+", default=list(range(10)))
    out.add_argument(
        "--placements", nargs="+", choices=("official", "wide"), default=["official"], help="of the suites that have it"
    )
    out.add_argument(
        "--validation-starts",
        type=int,
        default=3,
        help="per task and placement, drawn as for demonstrations from a seed of their own: no state of any table",
    )
    out.add_argument("--assets", default="builtin")


def make_evaluate(given: argparse.Namespace) -> Any:
    """Closed-loop success over all suites and placements asked for."""
    from runners.closed_loop import VALIDATION_SEED, ClosedLoop, validation_assets, validation_env
    from vlacache.core.policies import build_cache_policy
    from vlacache.models.factory import LoadedModel
    from vlacache.models.policy import CachedPolicy

    def env_maker(suite: str, placement: str) -> Any:
        assets = validation_assets(suite, given.assets)
        return lambda task_id: validation_env(suite, task_id, placement, assets, given.validation_starts)

    placements = _check_validation(given)
    starts = range(given.validation_starts)
    loops = {
        suite: ClosedLoop(suite, {p: env_maker(suite, p) for p in chosen}, given.tasks, starts, VALIDATION_SEED)
        for suite, chosen in placements.items()
    }

    def evaluate(loaded: LoadedModel) -> dict[str, Any]:
        policy = CachedPolicy(loaded, build_cache_policy("none"))
        results = {suite: loop.evaluate(policy) for suite, loop in loops.items()}
        success = sum(result["success"] for result in results.values()) / len(results)
        print(f"closed loop: {success:.1%}  {results}", flush=True)
        return {"success": success, **results}

    return evaluate


def _check_validation(given: argparse.Namespace) -> dict[str, list[str]]:
    """Placements of each suite, those of the command line that it has; errors now, not at the first evaluation."""
    from runners.envs.wide.layout import SUITE as WIDE_SUITE

    for option in ("suites", "tasks", "placements"):
        values = getattr(given, option)
        if len(set(values)) < len(values):
            raise ValueError(f"--{option}: expected each once, got {' '.join(map(str, values))}")
    placements = {}
    for suite in given.suites:
        unknown = [task for task in given.tasks if task not in range(NUM_TASKS[suite])]
        if unknown:
            raise ValueError(f"--tasks: expected 0 .. {NUM_TASKS[suite] - 1} ({suite}), got {unknown}")
        placements[suite] = [p for p in given.placements if p == "official" or suite == WIDE_SUITE]
        if not placements[suite]:
            raise ValueError(f"--placements wide: written for {WIDE_SUITE}, got {suite}; add official")
    if given.validation_starts < 1:
        raise ValueError(f"--validation-starts: expected at least 1, got {given.validation_starts}")
    return placements


def validation_settings(given: argparse.Namespace) -> dict[str, Any]:
    """What decides the validation episodes, in an order of its own; the assets by digest, whatever they are called."""
    from runners.closed_loop import validation_assets

    placements = _check_validation(given)
    return {
        "placements": {suite: sorted(chosen) for suite, chosen in sorted(placements.items())},
        "tasks": sorted(given.tasks),
        "starts": given.validation_starts,
        "fixtures": "of another draw than the objects",  # until 2026-11-22 of the same draw: other episodes
        "assets": {suite: validation_assets(suite, given.assets).provenance.label for suite in sorted(placements)},
    }


class Printer:
    """Shows what is logged."""

    def log(self, step: int, values: dict[str, Any]) -> None:
        """One line."""
        shown = {k: f"{v:.4g}" for k, v in values.items() if isinstance(v, float)}
        print(
            f"update {step}: samples {values.get('samples')} " + " ".join(f"{k}={v}" for k, v in shown.items()),
            flush=True,
        )


def _check_device(device: str) -> None:
    try:
        there = torch.device(device).type != "cuda" or torch.cuda.is_available()
    except RuntimeError as error:
        raise ValueError(f"--device: expected cpu or cuda, got {device!r}") from error
    if not there:
        raise ValueError(f"--device {device}: no CUDA device is there; leave it out to train on the CPU")


def build(given: argparse.Namespace, opened: ExitStack) -> Trainer:
    """The run of the command line: demos read, state loaded, folder locked; ``opened`` closes its loggers."""
    _check_device(given.device)
    config = TRAIN_DEFAULTS[given.model].override(given.words)
    demos = read_demos(given.demos, TINY_MODELS[given.model].views)
    print(f"{demos.num_episodes} demos, {demos.num_frames} frames, {len(demos.instructions)} tasks", flush=True)
    loggers: list[Any] = [Printer()]
    if given.logger == "wandb":
        from runners.training_log import WandbMetrics

        given.folder.mkdir(parents=True, exist_ok=True)
        loggers.append(opened.enter_context(closing(WandbMetrics(given.folder, config.to_dict()))))
    evaluate, validation = (None, None) if given.no_eval else (make_evaluate(given), validation_settings(given))
    frame_bytes = int(given.frame_gib * 2**30)
    options = RunOptions(given.device, given.threads, frame_bytes, given.stop_after, given.stop_at, commit=git_commit())
    return Trainer(
        config, demos, given.folder, evaluate=evaluate, validation=validation, loggers=loggers,
        init_from=given.init_from, options=options,
    )  # fmt: skip


def _in_one_line(error: Exception) -> str:
    """The message; of one with a traceback in it what was done and what went wrong."""
    lines = str(error).split("\n")
    said = [line.strip() for line in lines if line.strip()] or [type(error).__name__]
    return said[0] if len(said) == 1 else f"{said[0]} {said[-1]}"


def _what_is_saved(trainer: Trainer) -> str:
    if not trainer.saved_step:
        return "no update is saved"
    return f"update {trainer.saved_step} is saved, the same command goes on from there"


def main() -> int:
    """Train, or continue: 0 done, 1 ended by an error, 2 bad input, 130 interrupted with everything saved."""
    given = parse_with_words(parser())
    keep_freed_memory(big_blocks=True)
    with ExitStack() as opened, sigterm_as_interrupt():
        try:
            trainer = build(given, opened)
        except (ValueError, FolderBusyError, OSError, ImportError) as error:
            print(f"error: {error}", file=sys.stderr)
            return 2
        except KeyboardInterrupt:
            print("stopped before the first update", file=sys.stderr)
            return 130
        try:
            state = trainer.run()
        except KeyboardInterrupt:
            print(
                f"stopped; update {trainer.state.step} is saved, the same command goes on from there", file=sys.stderr
            )
            return 130
        except (RuntimeError, ValueError, OSError) as error:
            print(f"error: {_in_one_line(error)}; {_what_is_saved(trainer)}", file=sys.stderr)
            return 1
    best = "" if state.best is None else f", best {state.best:.1%} at update {state.best_step}"
    print(f"update {state.step} of {trainer.config.total_steps}{best}; files in {given.folder}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
