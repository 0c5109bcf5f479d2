"""The append-only store of one run, ``results/<run_id>/``.

Order of writes for an episode: step file (temporary, fsync, rename), then one line in ``episodes.jsonl`` (fsync). So a
line implies its steps, and a kill loses at most the episode in flight. Lines are never changed: a later attempt at an
episode appends another line, and the last line of a key counts.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import pyarrow as pa

from runners.files import atomic_path, remove_leftovers, write_text_atomic
from runners.growth import SUMMARY_FILE, check_same_run, grow
from runners.identity import is_larger
from runners.journal import EPISODES_FILE, RUN_FILE, mend_torn_line, read_episodes, read_run
from runners.lock import RunLock
from runners.records import EpisodeKey, EpisodeRecord, RunRecord, StepRecord
from runners.steps import check_steps, read_steps, write_steps
from vlacache.folders import sync_path

logger = logging.getLogger(__name__)

CONFIG_FILE = "config.yaml"
STEPS_FOLDER = "steps"
LOCK_FILE = ".lock"


class RunStore:
    """One run directory, opened for writing by one process. Use as a context manager or call ``close``.

    Attributes:
        run_dir: the directory. run: the run record as stored.
        episodes: final row of every key, in the order in which the keys first appeared.
    """

    def __init__(self, run_dir: Path, run: RunRecord, config_yaml: str | None = None) -> None:
        """Create the run, or continue it, also with more episodes of each task than before.

        Args:
            run_dir: created when missing. run: what this process is about to run. config_yaml: resolved config as
                text, written when the run is created or made larger.

        Raises:
            RuntimeError: another process writes here, or a record is corrupt.
            ValueError: the directory holds a run with another configuration, or of another schema version.
        """
        self.run_dir = run_dir
        (run_dir / STEPS_FOLDER).mkdir(parents=True, exist_ok=True)
        self._lock = RunLock(run_dir / LOCK_FILE)
        try:
            self.run = self._open_run(run, config_yaml)
            self.episodes, self._attempts = self._open_episodes()
        except BaseException:
            self._lock.release(forget=False)
            raise
        self._file = os.open(run_dir / EPISODES_FILE, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        sync_path(run_dir)

    def __enter__(self) -> RunStore:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Free the lock. Episodes that were begun and not appended stay marked as cut off."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
            self._lock.release(forget=True)

    def begin(self, key: EpisodeKey) -> int:
        """Mark an episode as in flight and return its attempt number: 1, or one more than the last error or kill."""
        attempt = self._attempts.get(key.slug, 0) + 1
        self._attempts[key.slug] = attempt
        self._lock.mark(key.slug, attempt)
        return attempt

    def append(self, record: EpisodeRecord, steps: Sequence[StepRecord]) -> None:
        """Write the steps, then the row; both are on the disk when this returns."""
        write_steps(self.steps_path(record.key), record, steps)
        self._append_row(record)

    def append_copy(self, record: EpisodeRecord, steps_file: Path) -> None:
        """Take over an episode of another run: its step file as it is, and ``record`` with ``reused_from`` set."""
        check_steps(steps_file)
        content = steps_file.read_bytes()
        with atomic_path(self.steps_path(record.key)) as temporary:
            temporary.write_bytes(content)
        self._append_row(record)

    def is_finished(self, key: EpisodeKey) -> bool:
        """Whether the final row of ``key`` is a success or a failure; an error is tried again."""
        record = self.episodes.get(key)
        return record is not None and record.status != "error"

    def steps_path(self, key: EpisodeKey) -> Path:
        """Step file of an episode."""
        return self.run_dir / STEPS_FOLDER / f"{key.slug}.parquet"

    def steps(self, key: EpisodeKey) -> pa.Table:
        """Step rows of an episode. Raises ``RuntimeError`` when the file is missing or broken."""
        return read_steps(self.steps_path(key))

    def set_trace_layout(self, views: Sequence[str], grid: Sequence[int], num_layers: int) -> None:
        """Record how the trace columns are to be read; called with the first trace of the process.

        Raises:
            RuntimeError: the run was recorded with another layout.
        """
        given = (list(views), list(grid), num_layers)
        stored = (self.run.views, self.run.grid, self.run.num_layers)
        if given == stored:
            return
        if self.run.views:
            raise RuntimeError(
                f"trace layout (views, grid, layers): run.json says {stored}, the policy gives {given}; "
                "use a new run_id"
            )
        self.run = replace(self.run, views=given[0], grid=given[1], num_layers=given[2])
        self._write_run()

    def _append_row(self, record: EpisodeRecord) -> None:
        line = json.dumps(record.to_dict(), allow_nan=False) + "\n"
        data = line.encode()
        written = os.write(self._file, data)
        if written != len(data):
            raise RuntimeError(f"{EPISODES_FILE}: wrote {written} of {len(data)} bytes; is the disk full?")
        os.fsync(self._file)
        self.episodes[record.key] = record
        self._attempts[record.key.slug] = record.attempt
        self._lock.unmark(record.key.slug)

    def _open_run(self, run: RunRecord, config_yaml: str | None) -> RunRecord:
        path = self.run_dir / RUN_FILE
        if not path.exists():
            if (self.run_dir / EPISODES_FILE).exists():
                raise ValueError(
                    f"{self.run_dir}: {EPISODES_FILE} without {RUN_FILE}; restore it or use another run_id"
                )
            self.run = run
            self._write_run()
            if config_yaml is not None:
                write_text_atomic(self.run_dir / CONFIG_FILE, config_yaml)
            return run
        stored = read_run(self.run_dir)
        check_same_run(self.run_dir, stored, run)
        if stored.git_commit != run.git_commit:
            logger.warning("run %s began at commit %s, continues at %s", run.run_id, stored.git_commit, run.git_commit)
        if is_larger(stored, run):
            self.run = grow(stored, run)
            (self.run_dir / SUMMARY_FILE).unlink(missing_ok=True)  # of the smaller run, and it would mean: finished
            if config_yaml is not None:
                write_text_atomic(self.run_dir / CONFIG_FILE, config_yaml)
            self._write_run()
            return self.run
        return stored

    def _write_run(self) -> None:
        write_text_atomic(self.run_dir / RUN_FILE, json.dumps(asdict(self.run), indent=2, default=str) + "\n")

    def _open_episodes(self) -> tuple[dict[EpisodeKey, EpisodeRecord], dict[str, int]]:
        for path in remove_leftovers(self.run_dir / STEPS_FOLDER):
            logger.warning("removed the half-written %s of a killed process", path.name)
        mend_torn_line(self.run_dir / EPISODES_FILE)
        episodes: dict[EpisodeKey, EpisodeRecord] = {}
        attempts = dict(self._lock.in_flight)
        for record in read_episodes(self.run_dir):
            episodes[record.key] = record
            attempts[record.key.slug] = max(record.attempt, attempts.get(record.key.slug, 0))
        for key in list(episodes):
            path = self.steps_path(key)
            if path.exists():
                check_steps(path)
            else:
                logger.warning("%s is missing: this episode is rolled out anew", path.name)
                del episodes[key]
        return episodes, attempts
