"""One line for each episode with what its policy calls reused and took: small enough for a repository."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from runners.report import ledger
from runners.report.load import RunFrames, load_run

#: Beside the episodes of a published arm.
CALLS_FILE = "calls.csv"
KEY = ("arm", "task_id", "init_index", "env_seed")
#: Means over the timed calls, in ms. ``total_ms`` is what a speed-up compares, the others say where it went.
TIMES = ("total_ms", "vision_ms", "decide_ms", "prefill_ms")


def tabulate_calls(frames: RunFrames) -> pd.DataFrame:
    """Calls of each episode that has some of its own; one copied from another run is in that run's table.

    Returns:
        ``KEY``; ``calls``, their mean ``reuse_ratio`` and ``macs`` and the share that ran dense, ``dense_share``;
        ``timed_calls``, all but warm-up, and their mean ``TIMES``. In the order of the episodes.
    """
    calls = ledger.policy_calls(frames.steps)
    calls = calls[calls["reused_from"].isna()].assign(dense=calls["fallback"].notna())
    by_episode = calls.groupby("slug")
    every = by_episode[["reuse_ratio", "macs", "dense"]].mean().rename(columns={"dense": "dense_share"})
    every.insert(0, "calls", by_episode.size())
    timed = ledger.timed_calls(calls).groupby("slug")[list(TIMES)]
    table = every.join(timed.size().rename("timed_calls")).join(timed.mean())
    table["timed_calls"] = table["timed_calls"].fillna(0).astype(int)
    return frames.episodes.set_index("slug")[list(KEY)].join(table, how="inner").reset_index(drop=True)


def write_calls(run: Path, path: Path) -> None:
    """Write ``tabulate_calls`` of a run folder."""
    tabulate_calls(load_run(run, traces=False)).to_csv(path, index=False, float_format="%.6g")
