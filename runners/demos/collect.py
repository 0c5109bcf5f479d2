"""Collects demonstrations with several processes. What is on disk is not made again, and the seed decides all of it.

Demo ``n`` of a task is the first success among training episodes ``n * MAX_ATTEMPTS`` and the following ones, so
neither the number of workers nor a kill changes what is recorded. A demo without one is left out, the others are made;
the same commit of the program does not try it again, since it would fail again.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Generator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from runners.build import build_novice
from runners.closed_loop import VALIDATION_SEED
from runners.demos.dataset import VIEWS, EpisodeMeta, write_episode
from runners.demos.episode import FIXTURES, TAIL_STEPS, DemoRecorder, Recording, env_steps
from runners.demos.ledger import Ledger
from runners.demos.novice import Novice
from runners.demos.outcome import MAX_ATTEMPTS, Cost, cost_of, describe_failures
from runners.demos.pool import run_in_processes
from runners.envs.libero_tasks import LIBERO_SUITES
from runners.envs.wide.layout import SUITE as WIDE_SUITE
from runners.experts import build_expert
from runners.suite_names import NUM_TASKS
from vlacache.checkout import git_commit
from vlacache.lock import FolderLock

LOCK_FILE = ".lock"
#: Demos of one task that a worker makes in one go: building an env costs about as much as a demo.
BLOCK = 10


@dataclass(frozen=True, slots=True)
class Collection:
    """What to collect; all but ``demos_per_task`` must stay the same when a collection goes on.

    Attributes:
        tasks: task ids; demo ``n`` of the k-th is episode ``n * len(tasks) + k``, so every beginning is balanced.
        assets, render: as for ``runners.assets.resolve_assets``.
        novice: what leads into each demo, see ``runners.build.build_novice``; None for nothing.
    """

    suite: str
    tasks: tuple[int, ...]
    demos_per_task: int
    seed: int
    placement: str = "official"
    assets: str = "builtin"
    render: str = "fast"
    novice: str | None = None
    recording: Recording = field(default_factory=Recording)

    def __post_init__(self) -> None:
        if self.suite not in LIBERO_SUITES:
            raise ValueError(f"suite: expected one of {', '.join(LIBERO_SUITES)}, got {self.suite!r}")
        known = range(NUM_TASKS[self.suite])
        if not self.tasks or len(set(self.tasks)) < len(self.tasks) or not set(self.tasks) <= set(known):
            raise ValueError(
                f"tasks: expected some of 0 .. {len(known) - 1} ({self.suite}), each once, got {list(self.tasks)}"
            )
        if self.demos_per_task < 1 or self.seed < 0:
            raise ValueError(
                f"expected demos_per_task of at least 1 and seed of at least 0, got {self.demos_per_task}, {self.seed}"
            )
        if self.seed == VALIDATION_SEED:
            raise ValueError(
                f"seed: {self.seed} is kept for validation (train_tiny.py --validation-starts); use another"
            )
        if self.placement == "wide" and self.suite != WIDE_SUITE:
            raise ValueError(f"placement=wide: written for {WIDE_SUITE}, got {self.suite}; use placement=official")
        if self.placement == "wide" and FIXTURES in self.recording.jitter:
            raise ValueError("jitter fixtures: expected placement official, got wide, whose layouts hold the fixtures")

    @property
    def num_demos(self) -> int:
        """Of all tasks."""
        return len(self.tasks) * self.demos_per_task

    def episode_index(self, task_id: int, number: int) -> int:
        """Number of an episode in the data set."""
        return number * len(self.tasks) + self.tasks.index(task_id)


#: Episodes of a block, and task id and number of each demo that was given up.
Recorded = tuple[list[EpisodeMeta], list[tuple[int, int]]]


def collect(collection: Collection, root: Path, *, workers: int = 1, progress: Callable[[str], None] = print) -> Cost:
    """Make the demos that are missing below ``root``.

    Args:
        collection: what to make. root: folder of the data set. workers: processes; 1 records in this one.
        progress: told of every finished block in a line of text.

    Raises:
        ValueError: no worker, or ``root`` holds demos of other settings or of another program.
        FolderBusyError: another process collects into ``root``.
    """
    if workers < 1:
        raise ValueError(f"workers: expected at least 1, got {workers}")
    build_expert(collection.suite)  # raises where there is none
    settings = _settings(collection)
    root.mkdir(parents=True, exist_ok=True)
    lock = FolderLock(root / LOCK_FILE)
    try:
        # The commit of the program in memory: the checkout may change while it records.
        return _collect_missing(collection, Ledger.read(root, settings, git_commit()), workers, progress)
    finally:
        lock.release()


def _collect_missing(collection: Collection, ledger: Ledger, workers: int, progress: Callable[[str], None]) -> Cost:
    """Record what ``ledger`` lacks; demos that this program gave up already are told again, not tried again."""
    begun, root, before = time.perf_counter(), ledger.root, set(ledger.episodes)
    asked = {(task_id, n) for task_id in collection.tasks for n in range(collection.demos_per_task)}
    skipped = asked.intersection(ledger.given_up)
    blocks = _missing_blocks(collection, before | {collection.episode_index(*demo) for demo in skipped})
    ledger.write()
    cost = cost_of(root, [], 0.0, tuple(sorted(skipped)))
    with contextlib.closing(_run(collection, root, blocks, workers)) as recorded:
        for made, failed in recorded:
            if failed:
                progress(describe_failures(collection.suite, collection.seed, failed))
            ledger.add(made, failed)
            given_up = tuple(sorted(asked.intersection(ledger.given_up)))
            new = [meta for index, meta in ledger.episodes.items() if index not in before]
            cost = cost_of(root, new, time.perf_counter() - begun, given_up, len(given_up) - len(skipped))
            progress(f"{len(ledger.episodes)}/{collection.num_demos}; {cost.describe()}")
    return cost


def _run(
    collection: Collection, root: Path, blocks: list[tuple[int, list[int]]], workers: int
) -> Generator[Recorded, None, None]:
    """Record the blocks; yields what came of each."""
    if workers == 1:
        with contextlib.closing(_Worker(collection, root)) as worker:
            for task_id, numbers in blocks:
                yield worker.record(task_id, numbers)
        return
    yield from run_in_processes(workers, _start, (collection, root), _record, blocks)


class _Worker:
    """One process's env of the task at hand."""

    def __init__(self, collection: Collection, root: Path) -> None:
        from runners.assets import resolve_assets

        self._collection, self._root = collection, root
        self._assets = resolve_assets(collection.assets, suite=collection.suite, render=collection.render)
        self._novice = (
            None if collection.novice is None else Novice(build_novice(collection.novice, collection.suite)[0])
        )
        self._env: Any = None

    def record(self, task_id: int, numbers: list[int]) -> Recorded:
        """Record and write demos ``numbers`` of one task."""
        from runners.envs.libero import make_libero_env

        collection = self._collection
        self.close()
        self._env = make_libero_env(
            collection.suite,
            task_id,
            assets=self._assets,
            max_steps=env_steps(collection.recording),
            placement=collection.placement,
            render=collection.render,
            success_rule="any_step",
        )
        recorder = DemoRecorder(self._env, build_expert(collection.suite), collection.recording, self._novice)
        made = {number: self._record_one(recorder, task_id, number) for number in numbers}
        return [meta for meta in made.values() if meta], [(task_id, n) for n, meta in made.items() if meta is None]

    def _record_one(self, recorder: DemoRecorder, task_id: int, number: int) -> EpisodeMeta | None:
        """Record and write one demo; None where the expert fails ``MAX_ATTEMPTS`` times."""
        collection, spec = self._collection, self._env.spec
        for attempt in range(MAX_ATTEMPTS):
            index = number * MAX_ATTEMPTS + attempt
            result = recorder.record(index=index, seed=collection.seed)
            if result is None:
                continue
            rows, success_row = result
            pictures = rows.columns[f"observation.images.{VIEWS[0]}"]
            meta = EpisodeMeta(
                episode_index=collection.episode_index(task_id, number),
                length=len(rows),
                num_frames=sum(picture is not None for picture in pictures),
                success_row=success_row,
                tasks=[spec.instruction],
                task_index=task_id,
                suite=spec.suite,
                placement=spec.placement,
                assets=spec.assets.label,
                seed=collection.seed,
                training_index=index,
                attempts=attempt + 1,
            )
            write_episode(self._root, meta, rows)
            return meta
        return None

    def close(self) -> None:
        """Free the env."""
        if self._env is not None:
            self._env.close()
            self._env = None


_worker: _Worker | None = None


def _start(collection: Collection, root: Path) -> None:
    global _worker
    _worker = _Worker(collection, root)


def _record(task_id: int, numbers: list[int]) -> Recorded:
    assert _worker is not None  # the pool's initializer
    return _worker.record(task_id, numbers)


def _settings(collection: Collection) -> dict[str, Any]:
    """What has to stay the same, JSON-ready; the assets by their digest."""
    from runners.assets import resolve_assets

    assets = resolve_assets(collection.assets, suite=collection.suite, render=collection.render).provenance
    elsewhere = ("tasks", "demos_per_task", "assets", "novice")
    settings = {key: value for key, value in asdict(collection).items() if key not in elsewhere}
    settings["recording"]["jitter"] = list(collection.recording.jitter)
    if collection.novice is not None:
        settings["novice"] = build_novice(collection.novice, collection.suite)[1]
    return {**settings, "tasks": list(collection.tasks), "assets": assets.label, "tail_steps": TAIL_STEPS}


def _missing_blocks(collection: Collection, known: set[int]) -> list[tuple[int, list[int]]]:
    """Tasks and demo numbers that are not on disk, early numbers of all tasks first."""
    blocks = []
    for first in range(0, collection.demos_per_task, BLOCK):
        for task_id in collection.tasks:
            numbers = range(first, min(first + BLOCK, collection.demos_per_task))
            missing = [n for n in numbers if collection.episode_index(task_id, n) not in known]
            if missing:
                blocks.append((task_id, missing))
    return blocks
