"""Finished baseline episodes of another run, for sweeps: outcomes may be shared, latencies never."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from runners.identity import baseline_identity, differences, without
from runners.journal import read_episodes, read_run
from runners.plan import PairPlan
from runners.records import EpisodeKey, EpisodeRecord, RunRecord
from runners.store import STEPS_FOLDER, RunStore

logger = logging.getLogger(__name__)

MIN_RETIMED_PAIRS = 2


def check_same_baseline(run_dir: Path, run: RunRecord, ignore: tuple[str, ...] = ()) -> RunRecord:
    """The record of ``run_dir`` when its baseline is the one of ``run``, else ``ValueError``.

    Args:
        run_dir: the other run's folder. run: this run. ignore: identity keys that are not known yet.
    """
    source = read_run(run_dir)
    differing = differences(without(baseline_identity(source), ignore), without(baseline_identity(run), ignore))
    if differing:
        raise ValueError(
            f"runner.shared_baseline={run_dir}: its baseline is not the one of this run (theirs != ours):\n  "
            + "\n  ".join(differing)
            + "\nLeave runner.shared_baseline unset to roll out the baseline here."
        )
    return source


class SharedBaseline:
    """The baseline episodes of ``run_dir``, checked to be what this run would have rolled out itself.

    Raises:
        ValueError: the other run has no records, ran another baseline, or ran on another machine; names what differs.
    """

    def __init__(self, run_dir: Path, run: RunRecord) -> None:
        source = check_same_baseline(run_dir, run)
        if "machine" not in run.versions:
            raise ValueError("runner.shared_baseline: the run record names no machine (RunRecord.versions['machine'])")
        self._run_dir = run_dir
        self._run_id = source.run_id
        rows = {r.key: r for r in read_episodes(run_dir) if r.arm == "baseline"}
        self._finished = {key: row for key, row in rows.items() if row.status != "error"}

    def __contains__(self, key: EpisodeKey) -> bool:
        return key in self._finished

    def copy(self, key: EpisodeKey, store: RunStore) -> EpisodeRecord:
        """Append the finished episode to ``store``, ``reused_from`` set to the run that rolled it out."""
        source = self._finished[key]
        record = replace(source, run_id=store.run.run_id, reused_from=source.reused_from or source.run_id, attempt=1)
        store.append_copy(record, self._run_dir / STEPS_FOLDER / f"{key.slug}.parquet")
        return record

    def mark_difference(self, record: EpisodeRecord) -> EpisodeRecord:
        """``record``, with ``differs_from`` set when the other run's episode of the same key ended otherwise."""
        source = self._finished.get(record.key)
        if source is None or record.status == "error":
            return record
        ours, theirs = (record.status, record.num_steps), (source.status, source.num_steps)
        if ours == theirs:
            return record
        logger.warning(
            "%s: %s after %d steps here, %s after %d steps in run %s: the baseline is not deterministic, "
            "so its copied episodes carry that noise",
            record.key.slug,
            *ours,
            *theirs,
            self._run_id,
        )
        return replace(record, differs_from=self._run_id)


def select_retimed(plan: Sequence[PairPlan], retime_pairs: int) -> frozenset[PairPlan]:
    """Pairs whose baseline is rolled out here even when it could be copied, so that latencies come from this run.

    The first ``retime_pairs`` pairs of every task, and further ones in order of the plan until there are
    ``MIN_RETIMED_PAIRS``.
    """
    retimed = [pair for pair in plan if pair.position < retime_pairs]
    others = sorted((pair for pair in plan if pair.position >= retime_pairs), key=lambda pair: pair.position)
    while len(retimed) < MIN_RETIMED_PAIRS and others:
        retimed.append(others.pop(0))
    return frozenset(retimed)
