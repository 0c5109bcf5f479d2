"""Read one run from its files into tidy pandas frames, or say exactly what is wrong with them.

No torch, no simulator, no Hydra: a report can be rebuilt years later from the records alone.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from runners.journal import EPISODES_FILE, RUN_FILE, read_episodes, read_run
from runners.records import CALL_COLUMNS, EpisodeRecord, RunRecord
from runners.steps import check_steps

#: Columns of ``steps`` that name the episode a step belongs to.
IDENTITY = ("slug", "arm", "cache", "task_id", "init_index", "env_seed", "status", "reused_from")
TRACE_COLUMNS = ("reused_layers", "static", "relevant")
STEP_COLUMNS = ("step", "call_index", "action", "proprio", "success", "sim_ms", "render_ms")
#: Of simulators that tell which pixels show an object; absent in files of earlier versions.
OBJECT_COLUMNS = ("object_patches", "object_static")
_EPISODE_COLUMNS = tuple(f.name for f in fields(EpisodeRecord))
_STATUSES = ("success", "failure", "error")
_ARMS = ("baseline", "policy")


@dataclass(frozen=True)
class RunFrames:
    """One run as tidy frames.

    Attributes:
        run: ``run.json`` (``RunRecord`` as a dict).
        episodes: one row per episode key, its last row in the file; ``EpisodeRecord`` columns and ``slug``.
        steps: one row per env step of every episode with a step file: identity columns, ``StepRecord`` columns and
            the ``InferenceStats`` columns, which are null unless ``policy_call`` is true.
        superseded: earlier rows of keys that were run again after an error or a kill; same columns as ``episodes``.
    """

    run: dict[str, Any]
    episodes: pd.DataFrame
    steps: pd.DataFrame
    superseded: pd.DataFrame


def load_run(path: str | Path, *, traces: bool = True) -> RunFrames:
    """Load ``results/<run_id>/``.

    Args:
        path: the run's folder.
        traces: also load the per-patch trace columns (bytes; the bulk of a long run).

    Raises:
        FileNotFoundError: a file of the run is missing.
        RuntimeError: a line of ``episodes.jsonl`` or a step file is corrupt; the message names it.
        ValueError: ``run.json`` is corrupt or of an unknown schema version, or rows are mixed that must not be in one
            table (asset provenance, suite, placement, reseed mode, cache policy of an arm).
    """
    root = Path(path)
    for name in (RUN_FILE, EPISODES_FILE):
        if not (root / name).is_file():
            raise FileNotFoundError(
                f"{root / name}: missing; expected a run folder, results/<run_id>/, in which run.py wrote an episode"
            )
    run = read_run(root)
    records = read_episodes(root)
    _check_values(root, records)
    _refuse_mixtures(root, run, records)
    rows = [{**record.to_dict(), "slug": record.key.slug} for record in records]
    table = pd.DataFrame(rows, columns=[*_EPISODE_COLUMNS, "slug"])
    is_last = ~table.duplicated("slug", keep="last")
    episodes = table[is_last].reset_index(drop=True)
    steps = _read_steps(root, episodes, traces)
    return RunFrames(asdict(run), episodes, steps, table[~is_last].reset_index(drop=True))


def _check_values(root: Path, records: Sequence[EpisodeRecord]) -> None:
    for number, record in enumerate(records, start=1):
        for name, allowed in (("status", _STATUSES), ("arm", _ARMS)):
            value = getattr(record, name)
            if value not in allowed:
                raise ValueError(
                    f"{root / EPISODES_FILE} row {number}: {name} expected one of {list(allowed)}, got {value!r}"
                )


def _refuse_mixtures(root: Path, run: RunRecord, records: Sequence[EpisodeRecord]) -> None:
    """One table holds one suite, one asset provenance, one placement, and one cache policy per arm."""
    _require_one(root, "asset provenance", [run.assets, *(r.assets for r in records)])
    _require_one(root, "suite", [run.suite, *(r.suite for r in records)])
    _require_one(root, "placement", [r.placement for r in records])
    _require_one(root, "reseed", [r.reseed for r in records])
    _require_one(root, "policy cache", [run.cache, *(r.cache for r in records if r.arm == "policy")])
    _require_one(root, "baseline cache", ["none", *(r.cache for r in records if r.arm == "baseline")])


def _require_one(root: Path, what: str, values: Iterable[object]) -> None:
    distinct = sorted({json.dumps(value, sort_keys=True) for value in values})
    if len(distinct) > 1:
        raise ValueError(
            f"{root}: expected one {what} in a run, got a mixed table of {', '.join(distinct)}; "
            "results of each need a run of their own"
        )


def _read_steps(root: Path, episodes: pd.DataFrame, traces: bool) -> pd.DataFrame:
    """All step files as one frame; an episode that finished in this run must have its steps."""
    columns = [*STEP_COLUMNS, *OBJECT_COLUMNS, *CALL_COLUMNS, *(TRACE_COLUMNS if traces else ())]
    tables = []
    for row in episodes.itertuples():
        path = root / "steps" / f"{row.slug}.parquet"
        optional = row.status == "error" or row.reused_from is not None
        if not path.exists() and optional:
            continue
        table = _read_step_file(path, columns)
        if not optional and table.num_rows != row.num_steps:
            raise RuntimeError(
                f"{path}: expected {row.num_steps} rows (num_steps of the episode), got {table.num_rows}; "
                "delete it and run again to redo the episode"
            )
        tables.append(table.append_column("slug", pa.array([row.slug] * table.num_rows, pa.string())))
    if not tables:
        return pd.DataFrame(columns=[*IDENTITY, *columns, "policy_call"])
    steps: pd.DataFrame = pa.concat_tables(tables, promote_options="permissive").to_pandas()
    identity = episodes.set_index("slug")[[name for name in IDENTITY if name != "slug"]]
    steps = steps.join(identity, on="slug")
    steps["policy_call"] = steps["total_ms"].notna()
    return steps.reindex(columns=[*IDENTITY, *columns, "policy_call"])


def _read_step_file(path: Path, columns: list[str]) -> pa.Table:
    if not path.exists():
        raise FileNotFoundError(f"{path}: missing, but episodes.jsonl says that the episode finished; run it again")
    check_steps(path)
    try:
        # These columns were added over time; one that an older file lacks is null there.
        present, added = pq.read_schema(path).names, {*CALL_COLUMNS, *OBJECT_COLUMNS}
        return pq.read_table(path, columns=[name for name in columns if name in present or name not in added])
    except (pa.ArrowInvalid, OSError) as error:
        raise RuntimeError(f"{path}: expected a step file, got {error}; delete it and run again to redo it") from error
