"""The step file of one episode: Parquet with one row per env step, written atomically."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, get_type_hints

import pyarrow as pa
import pyarrow.parquet as pq

from runners.files import atomic_path
from runners.records import CALL_COLUMNS, SCHEMA_VERSION, EpisodeRecord, StepRecord
from vlacache.types import InferenceStats

_ARROW_TYPES: dict[Any, pa.DataType] = {
    float: pa.float64(),
    int: pa.int64(),
    int | None: pa.int64(),
    bool: pa.bool_(),
}
_TRACE_COLUMNS = ("reused_layers", "static", "relevant")


def _call_fields() -> list[pa.Field]:
    """One nullable column per field of ``InferenceStats``; text for whatever is not a number."""
    hints = get_type_hints(InferenceStats)
    return [pa.field(f.name, _ARROW_TYPES.get(hints[f.name], pa.string())) for f in fields(InferenceStats)]


#: Call and trace columns are null on steps that executed a queued action of a chunk.
STEP_SCHEMA: pa.Schema = pa.schema(
    [
        pa.field("step", pa.int64(), nullable=False),
        pa.field("call_index", pa.int64(), nullable=False),
        pa.field("action", pa.list_(pa.float64()), nullable=False),
        pa.field("proprio", pa.list_(pa.float64())),
        pa.field("success", pa.bool_(), nullable=False),
        pa.field("sim_ms", pa.float64(), nullable=False),
        pa.field("render_ms", pa.float64(), nullable=False),
        *_call_fields(),
        *(pa.field(name, pa.binary()) for name in _TRACE_COLUMNS),
        pa.field("object_patches", pa.int64()),
        pa.field("object_static", pa.int64()),
    ]
)


def steps_table(steps: Sequence[StepRecord]) -> pa.Table:
    """Rows of one episode as an Arrow table with ``STEP_SCHEMA``."""
    columns: dict[str, list[Any]] = {}
    for name in STEP_SCHEMA.names:
        if name in CALL_COLUMNS:
            columns[name] = [None if s.call is None else getattr(s.call, name) for s in steps]
        else:
            columns[name] = [getattr(s, name) for s in steps]
    return pa.table(columns, schema=STEP_SCHEMA)


def write_steps(path: Path, record: EpisodeRecord, steps: Sequence[StepRecord]) -> None:
    """Write the step file of ``record``; a kill leaves either the old file or the new one, never half of one."""
    metadata = {
        "schema_version": str(SCHEMA_VERSION),
        "run_id": record.run_id,
        "episode": record.key.slug,
        "attempt": str(record.attempt),
    }
    table = steps_table(steps).replace_schema_metadata(metadata)
    with atomic_path(path) as temporary:
        pq.write_table(table, temporary, compression="zstd")


def read_steps(path: Path) -> pa.Table:
    """Rows of one episode.

    Raises:
        RuntimeError: the file is missing, half-written or not a step file; names it and says what to do.
    """
    check_steps(path)
    return pq.read_table(path)


def check_steps(path: Path) -> None:
    """Raise ``RuntimeError`` unless ``path`` is a complete step file of the schema we know. Reads the footer only."""
    advice = f"delete {path.name} and run the same command again: only this episode is rolled out anew"
    try:
        schema = pq.read_schema(path)
    except (OSError, pa.ArrowInvalid) as error:
        raise RuntimeError(f"{path}: expected a complete Parquet file, got {error}; {advice}") from error
    version = (schema.metadata or {}).get(b"schema_version", b"none").decode()
    if version != str(SCHEMA_VERSION):
        raise RuntimeError(f"{path}: expected step schema {SCHEMA_VERSION}, got {version}; {advice}")
