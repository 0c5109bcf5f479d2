"""Reading ``run.json`` and ``episodes.jsonl``, and putting right what a kill left behind."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from runners.records import SCHEMA_VERSION, EpisodeRecord, RunRecord
from vlacache.folders import sync_path

logger = logging.getLogger(__name__)

RUN_FILE = "run.json"
EPISODES_FILE = "episodes.jsonl"


def read_run(run_dir: Path) -> RunRecord:
    """The stored ``RunRecord``.

    Raises:
        ValueError: missing, not JSON, other fields or another schema version; says what to do.
    """
    path = run_dir / RUN_FILE
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, json.JSONDecodeError) as error:
        raise ValueError(f"{path}: expected a run record, got {error}; use another run_id or remove the run") from error
    _check_schema(data, path.name)
    return RunRecord(**_known_fields(RunRecord, data, path.name))


def read_episodes(run_dir: Path) -> list[EpisodeRecord]:
    """All rows in file order, earlier attempts included; the last row of a key is the final one.

    Raises:
        RuntimeError: a line is corrupt; names the line and says what to do.
    """
    path = run_dir / EPISODES_FILE
    if not path.exists():
        return []
    records = []
    for number, line in enumerate(path.read_bytes().splitlines(), start=1):
        place = f"{path} line {number}"
        try:
            data = json.loads(line)
            _check_schema(data, place)
            records.append(EpisodeRecord(**_known_fields(EpisodeRecord, data, place)))
        except (ValueError, TypeError) as error:
            raise RuntimeError(
                f"{place}: expected an episode record, got {line[:60]!r} ({error}). Nothing was changed. "
                "Restore the line from a copy, or delete it to have that episode rolled out again."
            ) from error
    return records


def mend_torn_line(path: Path) -> Path | None:
    """Put right what a kill inside the last write left behind; return the file that holds the torn piece, if any.

    A last line without its line feed is completed when it is a whole object, else moved to ``<file>.torn-<n>`` and
    cut off, so that the whole lines before it stay as they are.
    """
    if not path.exists():
        return None
    content = path.read_bytes()
    end = content.rfind(b"\n") + 1
    tail = content[end:]
    if not tail:
        return None
    if _is_object(tail):
        with path.open("ab") as file:
            _write_through(file, b"\n")
        logger.warning("%s: completed the last line, whose line feed was missing", path.name)
        return None
    number = 1
    while (aside := path.with_name(f"{path.name}.torn-{number}")).exists():
        number += 1
    with aside.open("xb") as file:
        _write_through(file, tail)
    with path.open("r+b") as file:
        file.truncate(end)
        os.fsync(file.fileno())
    sync_path(path.parent)
    logger.warning(
        "%s: the last line was torn by a kill; its %d bytes are kept in %s", path.name, len(tail), aside.name
    )
    return aside


def _is_object(line: bytes) -> bool:
    """A whole line of JSONL: no part of one parses as an object."""
    try:
        return isinstance(json.loads(line), dict)
    except ValueError:
        return False


def _write_through(file: Any, data: bytes) -> None:
    file.write(data)
    file.flush()
    os.fsync(file.fileno())


def _check_schema(data: Any, place: str) -> None:
    version = data.get("schema_version") if isinstance(data, Mapping) else None
    if version != SCHEMA_VERSION:
        raise ValueError(f"{place}: expected schema_version {SCHEMA_VERSION}, got {version}")


def _known_fields(record_type: type, data: Mapping[str, Any], place: str) -> dict[str, Any]:
    names = {f.name for f in fields(record_type)}
    unknown = sorted(data.keys() - names)
    if unknown:
        raise ValueError(f"{place}: unknown fields {unknown}; written by a newer version of this project?")
    return dict(data)
