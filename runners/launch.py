"""One run from its typed config to its report: plan, build, roll out, write."""

from __future__ import annotations

import fcntl
import shlex
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path

import yaml

from runners.build import (
    Arms,
    accelerator_name,
    build_arms,
    build_observers,
    check_model,
    check_robot,
    resolve_device,
    seed_everything,
)
from runners.config import RunConfig
from runners.estimate import describe_plan
from runners.growth import SUMMARY_FILE
from runners.identity import collect_versions, config_hash, run_identity
from runners.journal import read_run
from runners.overrides import ComposedRun
from runners.plan import PairPlan, check_filmed, plan_episodes
from runners.preflight import check_before_loading, check_continued, describe_os_error
from runners.records import RunRecord
from runners.sharing import check_same_baseline
from runners.simulators import Simulator, build_simulator
from runners.store import RunStore
from runners.suite import RunnerSettings, run_suite
from runners.trained_on import warn_other_suite
from vlacache.checkout import git_commit

RESULTS = Path("results")

OK, FAILED, BAD_INPUT, INTERRUPTED = 0, 1, 2, 130


def launch(run: ComposedRun, words: Sequence[str]) -> int:
    """Do what the command asks for; returns the exit code and prints the reason for it.

    Args:
        run: checked config. words: the ``key=value`` words of the command, to say how to continue.
    """
    try:
        run_dir = _launch(run, words)
        if run_dir is not None:
            _report(run_dir)
    except (ValueError, FileNotFoundError) as error:
        return _fail(str(error), BAD_INPUT)
    except RuntimeError as error:
        return _fail(str(error), FAILED)
    except BrokenPipeError:
        raise  # the reader of our output has left: no fault of the run
    except OSError as error:
        return _fail(describe_os_error(error), FAILED)
    except _InterruptedRun:
        return INTERRUPTED
    return OK


class _InterruptedRun(Exception):
    """Ctrl-C or SIGTERM, already said to the user."""


def _launch(run: ComposedRun, words: Sequence[str]) -> Path | None:
    """Roll out what is missing; the run's folder, or None for a dry run."""
    config = run.config
    check_robot(config)
    seed_everything(config.seed)
    simulator = build_simulator(config)
    plan = make_plan(config, simulator)
    check_filmed(config.runner.video, plan)
    simulator.check_plan(plan)
    known = make_record(run, simulator, _accelerator(config))
    if config.runner.dry_run:
        check_continued(RESULTS / (config.run_id or ""), known)
        check_model(config)
        print(describe_plan(config, plan, RESULTS, device=known.device))
        return None
    shared = None if config.runner.shared_baseline is None else RESULTS / config.runner.shared_baseline
    check_before_loading(RESULTS / (config.run_id or ""), shared, known)
    arms = build_arms(config)
    record = with_model(known, arms)
    if shared is not None:
        check_same_baseline(shared, record)
    run_id = config.run_id or find_unfinished(RESULTS, record) or new_run_id(config)
    record = replace(record, run_id=run_id)
    run_dir = RESULTS / run_id
    command = continue_command(words, run_id)
    num_episodes = len(plan) * (1 if arms.policy is None else 2)
    try:
        with RunStore(run_dir, record, yaml.safe_dump(run.resolved, sort_keys=False)) as store:
            print(f"run {run_id}: {num_episodes} episodes of {config.suite.name}, records in {run_dir}/", flush=True)
            print(f"Ctrl-C stops it, this continues it: {command}", flush=True)
            warning = warn_other_suite(config.suite.name, config.model.name, record.trained_on)
            if warning is not None:
                print(warning, flush=True)
            _roll_out(config, plan, simulator, arms, store, shared)
    except KeyboardInterrupt:
        _say_interrupted(run_dir, command)
        raise _InterruptedRun from None
    return run_dir


def _roll_out(
    config: RunConfig,
    plan: tuple[PairPlan, ...],
    simulator: Simulator,
    arms: Arms,
    store: RunStore,
    shared_baseline: Path | None,
) -> None:
    settings = RunnerSettings(
        cache=config.cache.name,
        reseed=config.suite.reseed,
        max_errors=config.runner.max_errors,
        shared_baseline=shared_baseline,
        retime_pairs=config.runner.retime_pairs,
    )
    run_suite(
        plan,
        make_env=simulator.make_env,
        baseline=arms.baseline,
        policy=arms.policy,
        store=store,
        observers=build_observers(config),
        settings=settings,
    )


def _accelerator(config: RunConfig) -> str | None:
    """Name of the GPU that the model will run on; None on a CPU."""
    return None if config.model.name == "expert" else accelerator_name(resolve_device(config.device))


def make_plan(config: RunConfig, simulator: Simulator) -> tuple[PairPlan, ...]:
    """The pairs of the run. Raises ``ValueError`` for an initial state that the suite does not have."""
    suite = config.suite
    return plan_episodes(
        suite.name,
        suite.tasks,
        suite.episodes_per_task,
        suite.init_indices,
        config.seed,
        suite.placement,
        simulator.num_init_states,
        simulator.order,
        suite.first_state,
    )


def make_record(run: ComposedRun, simulator: Simulator, accelerator: str | None) -> RunRecord:
    """What says, years later, what the run was, so far as it is known before the model is loaded; no run id yet."""
    config = run.config
    return RunRecord(
        run_id="",
        suite=config.suite.name,
        model=config.model.name,
        weights="",
        cache=config.cache.name,
        assets=asdict(simulator.assets),
        device=accelerator or "cpu",
        config=run.resolved,
        config_hash=config_hash(run.resolved),
        git_commit=git_commit(),
        versions={**collect_versions(accelerator), **simulator.versions},
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def with_model(record: RunRecord, arms: Arms) -> RunRecord:
    """``record`` with what the loaded model says about itself."""
    return replace(
        record,
        weights=arms.baseline.weights,
        checkpoint=arms.checkpoint,
        dtype=arms.dtype,
        views=list(arms.views),
        grid=list(arms.grid),
        num_layers=arms.num_layers,
        resolved_cache=arms.resolved_cache,
        trained_on=list(arms.trained_on),
    )


def new_run_id(config: RunConfig) -> str:
    """``libero_spatial-tiny_oft-adaptive-20261121-094500`` (UTC)."""
    now = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    return f"{config.suite.name}-{config.model.name}-{config.cache.name}-{now}"


def find_unfinished(results: Path, wanted: RunRecord) -> str | None:
    """The youngest run that was cut off and can be continued: the same but for its id, without a summary, not locked.

    So the same command continues a killed run, and starts a new one after a finished run, an edit or an upgrade.
    """
    candidates = []
    for run_dir in sorted(path.parent for path in results.glob("*/run.json")):
        try:
            stored = read_run(run_dir)
        except ValueError:
            continue  # of another version or broken: `run_id=` says why when it is wanted
        same = stored.config_hash == wanted.config_hash and run_identity(stored) == run_identity(wanted)
        if same and not (run_dir / SUMMARY_FILE).exists() and _is_free(run_dir):
            candidates.append((stored.created_at, run_dir.name))
    return max(candidates)[1] if candidates else None


def _is_free(run_dir: Path) -> bool:
    lock = run_dir / ".lock"
    if not lock.exists():
        return True
    with lock.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


def continue_command(words: Sequence[str], run_id: str) -> str:
    """The command line that continues this run, whatever else is run in between."""
    kept = [shlex.quote(word) for word in words if not word.startswith("run_id=")]
    return " ".join(["python run.py", *kept, f"run_id={run_id}"])


def _report(run_dir: Path) -> None:
    from runners.report import print_report, write_report

    write_report(run_dir, controls=RESULTS)
    print_report(run_dir)
    print(f" report {run_dir}/report.md\n figures {run_dir}/summary.json\n plots {run_dir}/plots/")


def _say_interrupted(run_dir: Path, command: str) -> None:
    episodes = run_dir / "episodes.jsonl"
    num_saved = len(episodes.read_bytes().splitlines()) if episodes.exists() else 0
    print(f"\nstopped: {num_saved} episodes are saved in {run_dir}/, the one in flight is lost", file=sys.stderr)
    print(f"continue with: {command}", file=sys.stderr)


def _fail(message: str, code: int) -> int:
    print(f"error: {message}", file=sys.stderr)
    return code
