"""Progress of a run: a live bar on a terminal, plain lines elsewhere. Both on stderr; tables go to stdout."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn
from rich.text import Text

from runners.observers import EpisodeInfo, Observer, RunInfo, SuiteOutcome
from runners.records import Arm, EpisodeKey, EpisodeRecord, Status, StepRecord

LINE_INTERVAL_S = 10.0
REFRESH_INTERVAL_S = 0.5


class ProgressObserver(Observer):
    """Episodes done, success of both arms, reuse of the policy arm, time left.

    Args:
        console: where to print; stderr by default. A live bar needs a terminal.
    """

    def __init__(self, console: Console | None = None) -> None:
        self._console = Console(stderr=True) if console is None else console
        self._bar: Progress | None = None
        self._bar_task = TaskID(0)
        self._status: dict[EpisodeKey, Status] = {}  # a second attempt replaces the first
        self._arms: tuple[Arm, ...] = ()
        self._total = self._num_live = 0
        self._reuse_sum, self._num_calls = 0.0, 0
        self._begun = self._last_line = self._last_refresh = 0.0
        self._now = ""

    def on_run_start(self, run: RunInfo) -> None:
        """Count what earlier processes finished."""
        self._arms = run.arms
        self._total = len(run.keys)
        self._status = {key: run.store.episodes[key].status for key in run.keys if run.store.is_finished(key)}
        self._begun = time.monotonic()
        self._last_line = self._begun
        if self._done:
            self._console.print(
                Text(f"run {run.run.run_id}: continuing, {self._done} of {self._total} episodes are done")
            )
        if self._console.is_terminal:
            self._bar = Progress(
                TextColumn("{task.fields[now]}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[summary]}"),
                console=self._console,
                auto_refresh=False,  # a refreshing thread would take time from the calls that are measured
            )
            self._bar_task = self._bar.add_task("", total=self._total, completed=self._done, now="", summary="")
            self._bar.start()

    def on_episode_start(self, episode: EpisodeInfo) -> None:
        """Say which episode runs."""
        key = episode.key
        self._now = f"task {key.task_id} init {key.init_index} {key.arm} ({key.cache})"
        if self._bar is not None:
            self._bar.update(self._bar_task, now=self._now)
            self._bar.refresh()

    def on_episode_end(self, episode: EpisodeInfo, record: EpisodeRecord, steps: Sequence[StepRecord]) -> None:
        """Advance; an error is shown at once."""
        self._num_live += 1
        if record.arm == "policy":
            ratios = [s.call.reuse_ratio for s in steps if s.call is not None]
            self._reuse_sum, self._num_calls = self._reuse_sum + sum(ratios), self._num_calls + len(ratios)
        self.on_record(record)

    def on_record(self, record: EpisodeRecord) -> None:
        """Advance; an error is shown at once."""
        if record.status == "error":
            reason = (record.error or "").strip().splitlines()[-1]
            self._console.print(Text(f"error in {record.key.slug}: {reason}", style="red"))
        self._status[record.key] = record.status
        self._show()

    def on_step(self, episode: EpisodeInfo, step: StepRecord) -> None:
        """Move the step counter of a live bar, between the timed calls."""
        now = time.monotonic()
        if self._bar is not None and now - self._last_refresh >= REFRESH_INTERVAL_S:
            self._last_refresh = now
            self._bar.update(self._bar_task, now=f"{self._now}, step {step.step + 1}/{episode.spec.max_steps}")
            self._bar.refresh()

    def on_run_end(self, outcome: SuiteOutcome) -> None:
        """Leave the last state on the screen."""
        if self._bar is not None:
            self._bar.stop()
        state = "stopped" if outcome.interrupted else "done"
        self._console.print(Text(f"{state}: {self._done} of {self._total} episodes, {self.summary()}"))
        if outcome.num_missing:
            self._console.print(Text(f"{outcome.num_missing} episodes are missing: run the same command to continue"))

    def summary(self) -> str:
        """``baseline 12/15, policy 11/15, reuse 0.54, 2 errors, 3 min left``."""
        count = Counter((key.arm, status) for key, status in self._status.items())
        parts = [f"{arm} {(won := count[arm, 'success'])}/{won + count[arm, 'failure']}" for arm in self._arms]
        if self._num_calls:
            parts.append(f"reuse {self._reuse_sum / self._num_calls:.2f}")
        num_errors = sum(count[arm, "error"] for arm in self._arms)
        if num_errors:
            parts.append("1 error" if num_errors == 1 else f"{num_errors} errors")
        if self._num_live and self._done < self._total:
            seconds = (time.monotonic() - self._begun) / self._num_live * (self._total - self._done)
            parts.append(f"{format_duration(seconds)} left")
        return ", ".join(parts)

    @property
    def _done(self) -> int:
        return len(self._status)

    def _show(self) -> None:
        if self._bar is not None:
            self._bar.update(self._bar_task, completed=self._done, summary=self.summary())
            self._bar.refresh()
            return
        now = time.monotonic()
        if now - self._last_line >= LINE_INTERVAL_S:
            self._last_line = now
            self._console.print(Text(f"{self._done}/{self._total} episodes, {self.summary()}"), soft_wrap=True)


def format_duration(seconds: float) -> str:
    """``45 s``, ``12 min``, ``3 h 20 min``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"
