"""Reads demos from a folder of ``runners/demos`` (modelled on LeRobot's v2.1 layout) or from packed files."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vlacache.train.demos import AUX_PREFIX, IMAGE_PREFIX, Demos, aux_view, concatenate, join_pictures
from vlacache.train.packing import PACK_SUFFIX, read_pack, read_packs

if TYPE_CHECKING:
    import pyarrow as pa

EPISODE_FILE = "data/chunk-{chunk:03d}/episode_{episode:06d}.parquet"
EPISODES_PER_CHUNK = 1000
_TRAINED_ON = ("observation.state", "action")


def read_demos(paths: Sequence[Path], views: Sequence[str]) -> Demos:
    """Demos of LeRobot folders, packed files and folders of packed files, joined.

    Raises:
        FileNotFoundError: nothing of that kind at a path. ValueError: a damaged set, or a view that was not recorded.
    """
    parts = [part.select(views) for path in paths for part in _read(Path(path))]
    return concatenate(parts)


def _read(path: Path) -> list[Demos]:
    if path.is_file():
        return [read_pack(path)]
    if (path / "meta" / "info.json").is_file():
        return [read_lerobot(path)]
    packs = sorted(path.glob(f"*{PACK_SUFFIX}"))
    if not packs:
        raise FileNotFoundError(f"demos: expected meta/info.json or *{PACK_SUFFIX} in {path}; neither is there")
    return read_packs(packs)


def read_lerobot(folder: Path) -> Demos:
    """One LeRobot folder. Rows without pictures only serve as targets of the rows before them.

    Raises:
        FileNotFoundError, ValueError: a file is not there or damaged; its path is in the message.
    """
    info_file = folder / "meta" / "info.json"
    info = _json_object(_text(info_file), str(info_file), {})
    episodes = _json_lines(folder / "meta" / "episodes.jsonl", {"episode_index": int, "length": int})
    tasks = _json_lines(folder / "meta" / "tasks.jsonl", {"task_index": int, "task": str})
    tasks.sort(key=lambda t: int(t["task_index"]))
    indices = [int(t["task_index"]) for t in tasks]
    if len(set(indices)) < len(indices):
        raise ValueError(f"{folder.name}/meta/tasks.jsonl: expected every task_index once, got {indices}")
    if not episodes:
        raise ValueError(f"{folder.name}/meta/episodes.jsonl: expected at least one episode, got none")
    tables: list[pa.Table] = []
    for episode in episodes:
        number = int(episode["episode_index"])
        file = folder / EPISODE_FILE.format(chunk=number // EPISODES_PER_CHUNK, episode=number)
        table = _read_table(file, tables[0].column_names if tables else ())
        if table.num_rows != int(episode["length"]):
            raise ValueError(f"{file.name}: expected {episode['length']} rows (episodes.jsonl), got {table.num_rows}")
        tables.append(table)
    return _assemble(tables, {index: t["task"] for index, t in zip(indices, tasks, strict=True)}, info)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise FileNotFoundError(f"demos: expected {path.name} in {path.parent}; it is not there") from None
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: expected text, got: {error}") from None


def _json_lines(path: Path, keys: Mapping[str, type]) -> list[dict[str, Any]]:
    lines = enumerate(_text(path).splitlines(), start=1)
    return [_json_object(line, f"{path}, line {number}", keys) for number, line in lines if line.strip()]


def _json_object(text: str, where: str, keys: Mapping[str, type]) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError as error:
        raise ValueError(f"{where}: expected JSON, got: {error}") from None
    if not isinstance(value, dict):
        raise ValueError(f"{where}: expected an object, got {type(value).__name__}")
    for key, kind in keys.items():
        if not isinstance(value.get(key), kind):
            raise ValueError(f"{where}: expected {key!r} ({kind.__name__}), got {value.get(key)!r}")
    return value


def _read_table(file: Path, columns: Sequence[str]) -> pa.Table:
    """Rows of an episode, finite where they are trained on, with at least ``columns``."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not file.is_file():
        raise FileNotFoundError(f"demos: expected {file} (episodes.jsonl); it is not there")
    try:
        table = pq.read_table(file)
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"{file}: expected a parquet file, got: {str(error).splitlines()[0]}") from error
    missing = [name for name in (*_TRAINED_ON, "task_index", *columns) if name not in table.column_names]
    if missing:
        raise ValueError(f"{file}: expected columns {missing}, got {table.column_names}")
    for name in _TRAINED_ON:
        _check_finite(table, name, file)
    return table


def _check_finite(table: pa.Table, name: str, file: Path) -> None:
    try:
        is_finite = np.isfinite(_matrix(table, name)).all(axis=1)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{file}: expected equally many numbers of {name} in each row, got: {error}") from error
    if not is_finite.all():
        raise ValueError(f"{file}: expected finite numbers in {name}, got NaN or infinity in row {is_finite.argmin()}")


def _assemble(tables: list[pa.Table], tasks: dict[int, str], info: dict[str, Any]) -> Demos:
    """``tasks``: task index -> instruction, ascending; a folder of some tasks of a suite has gaps."""
    names = tables[0].column_names
    views = tuple(n.removeprefix(IMAGE_PREFIX) for n in names if n.startswith(IMAGE_PREFIX))
    aux_widths = {n: 3 if aux_view(n, views) is None else 2 for n in names if n.startswith(AUX_PREFIX)}
    pictures: list[bytes] = []
    rows: list[int] = []
    aux: list[list[float]] = []
    first = 0
    for table in tables:
        columns = [table[IMAGE_PREFIX + v].to_pylist() for v in views]
        extra = [table[name].to_pylist() for name in aux_widths]
        for row in range(table.num_rows):
            shots = [column[row]["bytes"] for column in columns if column[row] is not None]
            if len(shots) < len(views) or None in shots:
                continue
            pictures += shots
            rows.append(first + row)
            aux.append([v for w, c in zip(aux_widths.values(), extra, strict=True) for v in _numbers(c[row], w)])
        first += table.num_rows
    jpeg, offsets = join_pictures(pictures)
    state, action = (np.concatenate([_matrix(t, name) for t in tables]) for name in _TRAINED_ON)
    return Demos(
        views,
        tuple(tasks.values()),
        state,
        action,
        np.repeat(np.arange(len(tables)), [t.num_rows for t in tables]),
        _positions(np.concatenate([t["task_index"].to_numpy() for t in tables]), list(tasks)),
        np.array(rows, dtype=np.int64),
        jpeg,
        offsets,
        tuple(f"{name}.{i}" for name, width in aux_widths.items() for i in range(width)),
        np.array(aux, dtype=np.float32).reshape(len(rows), -1),
        info,
    )


def _positions(values: np.ndarray, known: list[int]) -> np.ndarray:
    """Place of each value in ``known`` (ascending), int64[N]."""
    unknown = sorted(set(values.tolist()) - set(known))
    if unknown:
        raise ValueError(f"demos: expected task_index among {known} (tasks.jsonl), got {unknown}")
    return np.searchsorted(known, values).astype(np.int64)


def _numbers(value: list[float] | None, width: int) -> list[float]:
    return [float("nan")] * width if value is None else value


def _matrix(table: pa.Table, name: str) -> np.ndarray:
    return np.stack(table[name].to_pylist()).astype(np.float32)
