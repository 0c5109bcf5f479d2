"""``logger=wandb``: config, a row per episode, the per-call latency ledger and the summary, offline by default.

The records in the run directory stay the truth; what is logged here is read from them. Files go to
``<run_dir>/wandb/``, and ``wandb sync`` uploads them later.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, fields
from itertools import islice
from types import ModuleType
from typing import Any, Literal

from runners.identity import flatten
from runners.observers import EpisodeInfo, Observer, RunInfo, SuiteOutcome
from runners.records import CALL_COLUMNS, EpisodeRecord, StepRecord
from runners.report import build_summary, load_run
from runners.report.summary import assets_label
from runners.store import RunStore

EPISODE_COLUMNS: tuple[str, ...] = tuple(f.name for f in fields(EpisodeRecord) if f.name != "schema_version")
LEDGER_COLUMNS: tuple[str, ...] = ("arm", "cache", "task_id", "init_index", "step", "call_index", *CALL_COLUMNS)

#: W&B refuses tables above 200,000 rows; the step files hold every call.
MAX_LEDGER_ROWS = 100_000


class WandbLogger(Observer):
    """Logs one run to Weights & Biases.

    What goes wrong inside W&B once the run has begun is reported once and the run goes on (``ObserverGroup``).

    Args:
        mode: ``offline``, or ``online`` with an account. project: where runs are filed.

    Raises:
        ImportError: wandb is not installed.
    """

    def __init__(self, mode: Literal["offline", "online"] = "offline", project: str = "vlacache-bench") -> None:
        self._wandb = _import_wandb()
        self._mode = mode
        self._project = project
        self._run: Any = None
        self._info: RunInfo | None = None

    def on_run_start(self, run: RunInfo) -> None:
        """Open the W&B run; a continued run keeps its id."""
        self._info = run
        record = run.run
        run_id = record.run_id.replace("/", "-")  # W&B ids are one word; a sweep's runs share a group instead
        self._run = self._wandb.init(
            project=self._project,
            id=run_id,
            name=record.run_id,
            group=record.run_id.rpartition("/")[0] or None,
            dir=str(run.run_dir),
            mode=self._mode,
            resume="allow" if self._mode == "online" else None,
            config={**record.config, "record": _without_config(asdict(record))},
            # The sampling thread and the console capture would take time from the calls that are measured.
            settings=self._wandb.Settings(x_disable_stats=True, console="off", silent=True),
        )

    def on_episode_end(self, episode: EpisodeInfo, record: EpisodeRecord, steps: Sequence[StepRecord]) -> None:
        """Log the episode under the name of its arm."""
        calls = [s.call for s in steps if s.call is not None and not s.call.is_warmup]
        row: dict[str, float] = {
            "task_id": record.task_id,
            "init_index": record.init_index,
            "error": float(record.status == "error"),
            "num_steps": record.num_steps,
            "wall_s": record.wall_s,
        }
        if record.status != "error":  # an error is neither success nor failure, here as in the report
            row["success"] = float(record.status == "success")
        if calls:
            row["call_ms_mean"] = sum(c.total_ms for c in calls) / len(calls)
            row["reuse_ratio_mean"] = sum(c.reuse_ratio for c in calls) / len(calls)
        self._run.log({f"{record.arm}/{name}": value for name, value in row.items()})

    def on_run_end(self, outcome: SuiteOutcome) -> None:
        """Log the tables and the summary of everything in the run directory, and close the W&B run."""
        if self._run is None or self._info is None:
            return
        try:
            records = list(self._info.store.episodes.values())
            calls = list(islice(_ledger_rows(self._info.store), MAX_LEDGER_ROWS))
            table = self._wandb.Table
            self._run.log(
                {
                    "episodes": table(columns=list(EPISODE_COLUMNS), data=[_episode_row(r) for r in records]),
                    "latency_ledger": table(columns=list(LEDGER_COLUMNS), data=[list(c.values()) for c in calls]),
                    **self._histograms(calls),
                }
            )
            summary = build_summary(load_run(self._info.run_dir, traces=False))
            self._run.summary.update(_scalars(summary))
        finally:
            self._run.finish(exit_code=int(outcome.interrupted))

    def _histograms(self, calls: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Distribution of the whole call, per arm, without warm-up calls."""
        histograms = {}
        for arm in ("baseline", "policy"):
            values = [c["total_ms"] for c in calls if c["arm"] == arm and not c["is_warmup"]]
            if values:
                histograms[f"{arm}/total_ms"] = self._wandb.Histogram(values)
        return histograms


def _import_wandb() -> ModuleType:
    try:
        import wandb
    except ImportError as error:
        raise ImportError("logger=wandb: wandb is not installed; pip install 'vlacache-bench[wandb]'") from error
    return wandb


def _ledger_rows(store: RunStore) -> Iterator[dict[str, Any]]:
    """One row per policy call that was made in this run; copied baselines were timed on another day."""
    for record in store.episodes.values():
        if record.reused_from is not None:
            continue
        names = {name: getattr(record, name) for name in LEDGER_COLUMNS[:4]}
        for row in store.steps(record.key).select(list(LEDGER_COLUMNS[4:])).to_pylist():
            if row["total_ms"] is not None:
                yield {**names, **row}


def _without_config(record: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in record.items() if name != "config"}


def _episode_row(record: EpisodeRecord) -> list[Any]:
    values = record.to_dict()
    values["assets"] = assets_label(record.assets)
    return [values[name] for name in EPISODE_COLUMNS]


def _scalars(summary: Mapping[str, Any]) -> dict[str, Any]:
    """``{"latency_ms.policy.p50": 83.1, ...}``; absent values and lists are left out."""
    return {k: v for k, v in flatten(summary).items() if isinstance(v, (bool, int, float, str))}
