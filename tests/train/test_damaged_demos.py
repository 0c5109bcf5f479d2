"""A damaged set of demonstrations is refused with its file and line."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.train.synthetic import VIEWS
from vlacache.train.reader import read_demos


def drop_info(folder: Path) -> None:
    (folder / "meta" / "info.json").unlink()


def drop_tasks(folder: Path) -> None:
    (folder / "meta" / "tasks.jsonl").unlink()


def wrong_length(folder: Path) -> None:
    path = folder / "meta" / "episodes.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    lines[0]["length"] += 1
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def first_episode(folder: Path) -> Path:
    return folder / "data" / "chunk-000" / "episode_000000.parquet"


def drop_action(folder: Path) -> None:
    file = first_episode(folder)
    pq.write_table(pq.read_table(file).drop_columns(["action"]), file)


def drop_view_of_a_later_episode(folder: Path) -> None:
    file = first_episode(folder).with_name("episode_000001.parquet")
    pq.write_table(pq.read_table(file).drop_columns(["observation.images.wrist"]), file)


def nan_in(name: str) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        table = pq.read_table(first_episode(folder))
        values = np.stack(table[name].to_pylist())
        values[3, 1] = np.nan
        column = pa.array(list(values), table.schema.field(name).type)
        pq.write_table(table.set_column(table.column_names.index(name), name, column), first_episode(folder))

    return damage


def ragged_action(folder: Path) -> None:
    table = pq.read_table(first_episode(folder))
    values = table["action"].to_pylist()
    values[2] = values[2][:-1]
    column = pa.array(values, table.schema.field("action").type)
    pq.write_table(table.set_column(table.column_names.index("action"), "action", column), first_episode(folder))


def cut_short(folder: Path) -> None:
    content = first_episode(folder).read_bytes()
    first_episode(folder).write_bytes(content[: len(content) // 2])


def drop_episode(folder: Path) -> None:
    first_episode(folder).unlink()


def write(name: str, text: str) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        (folder / "meta" / name).write_text(text)

    return damage


@pytest.mark.parametrize(
    ("damage", "error", "message"),
    [
        (drop_action, ValueError, r"copy/data/.*episode_000000.parquet: expected columns \['action'\]"),
        (drop_view_of_a_later_episode, ValueError, r"000001.parquet: expected columns \['observation.images.wrist'\]"),
        (nan_in("action"), ValueError, r"000000.parquet: expected finite numbers in action, .* in row 3$"),
        (nan_in("observation.state"), ValueError, r"000000.parquet: expected finite numbers in observation.state"),
        (ragged_action, ValueError, r"000000.parquet: expected equally many numbers of action"),
        (cut_short, ValueError, r"000000.parquet: expected a parquet file, got: "),
        (drop_episode, FileNotFoundError, r"expected .*000000.parquet \(episodes.jsonl\); it is not there"),
        (write("info.json", "{"), ValueError, r"copy/meta/info.json: expected JSON, got: "),
        (write("info.json", "[]"), ValueError, r"info.json: expected an object, got list"),
        (write("episodes.jsonl", '{"length": 3}'), ValueError, r"line 1: expected 'episode_index' \(int\), got None"),
        (write("episodes.jsonl", "\n{"), ValueError, r"copy/meta/episodes.jsonl, line 2: expected JSON"),
        (write("tasks.jsonl", '{"task_index": 0}'), ValueError, r"tasks.jsonl, line 1: expected 'task' \(str\)"),
        (drop_info, FileNotFoundError, "expected meta/info.json"),
        (drop_tasks, FileNotFoundError, "expected tasks.jsonl"),
        (wrong_length, ValueError, "expected 13 rows"),
    ],
)
def test_a_damaged_set_is_refused(folder: Path, tmp_path: Path, damage, error, message: str) -> None:
    shutil.copytree(folder, tmp_path / "copy")
    damage(tmp_path / "copy")
    with pytest.raises(error, match=message) as caught:
        read_demos([tmp_path / "copy"], VIEWS)
    assert "\n" not in str(caught.value)
