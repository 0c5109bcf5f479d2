"""Demonstrations on disk: a folder modelled on LeRobot's v2.1 layout, pictures as JPEG inside the parquet files.

``lerobot`` itself does not load it: most rows have no pictures, ``index`` counts within the episode (a running one
would depend on episodes that another process records), and there is no ``episodes_stats.jsonl``.

``meta/info.json``, ``meta/tasks.jsonl``, ``meta/episodes.jsonl`` and one ``data/chunk-000/episode_000000.parquet`` for
each episode, a row for each env step. A parquet file carries its own line of ``episodes.jsonl``, so the ``meta`` files
can be made from the data files at any time.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from PIL import Image

from runners.files import atomic_path, write_text_atomic

LAYOUT = "modelled on LeRobot v2.1"
CHUNK_SIZE = 1000
DATA_PATH = "data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet"
VIEWS = ("agentview", "wrist")
POINTS = ("gripper", "target", "goal")
OFFSETS = ("target", "goal")
EPISODE_KEY = b"vlacache.episode"

_PICTURE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
SCHEMA = pa.schema(
    [
        ("observation.state", pa.list_(pa.float32(), 8)),
        ("action", pa.list_(pa.float32(), 7)),
        ("executed_action", pa.list_(pa.float32(), 7)),
        *((f"observation.images.{view}", _PICTURE) for view in VIEWS),
        *((f"aux.{view}.{point}", pa.list_(pa.float32(), 2)) for view in VIEWS for point in POINTS),
        *((f"aux.{point}_offset", pa.list_(pa.float32(), 3)) for point in OFFSETS),
        ("success", pa.bool_()),
        ("timestamp", pa.float32()),
        ("frame_index", pa.int64()),
        ("episode_index", pa.int64()),
        ("index", pa.int64()),
        ("task_index", pa.int64()),
    ]
)


@dataclass(frozen=True, slots=True)
class EpisodeMeta:
    """One line of ``meta/episodes.jsonl``.

    Attributes:
        length: rows. num_frames: rows with pictures. success_row: the first row whose executed action led to success.
        tasks: the instruction. training_index, seed: of ``LiberoEnv.reset_training``. attempts: tries until success.
    """

    episode_index: int
    length: int
    num_frames: int
    success_row: int
    tasks: list[str]
    task_index: int
    suite: str
    placement: str
    assets: str
    seed: int
    training_index: int
    attempts: int


@dataclass(slots=True)
class DemoRows:
    """Columns of one episode while it is recorded; names as in ``SCHEMA``."""

    columns: dict[str, list[Any]] = field(default_factory=dict)

    def append(self, row: Mapping[str, Any]) -> None:
        """Add one step; every step has the same names."""
        for name, value in row.items():
            self.columns.setdefault(name, []).append(value)

    def __len__(self) -> int:
        return len(self.columns.get("frame_index", ()))


def encode_picture(picture: NDArray[np.uint8]) -> dict[str, Any]:
    """uint8[H, W, 3] as LeRobot's image struct, JPEG of quality 95."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, format="JPEG", quality=95)
    return {"bytes": buffer.getvalue(), "path": None}


def decode_picture(cell: Mapping[str, Any]) -> NDArray[np.uint8]:
    """The picture uint8[H, W, 3] of an image struct."""
    return np.asarray(Image.open(io.BytesIO(cell["bytes"])).convert("RGB"))


def episode_path(root: Path, episode_index: int) -> Path:
    """Where the data of an episode is."""
    return root / DATA_PATH.format(episode_chunk=episode_index // CHUNK_SIZE, episode_index=episode_index)


def write_episode(root: Path, meta: EpisodeMeta, rows: DemoRows) -> None:
    """Write one episode; after a kill it is there whole or not at all."""
    path = episode_path(root, meta.episode_index)
    path.parent.mkdir(parents=True, exist_ok=True)
    schema = SCHEMA.with_metadata({EPISODE_KEY: json.dumps(asdict(meta)).encode()})
    columns = {
        **rows.columns,
        "episode_index": [meta.episode_index] * meta.length,
        "index": list(range(meta.length)),  # LeRobot's running number; here within the episode
        "task_index": [meta.task_index] * meta.length,
    }
    table = pa.Table.from_pydict(columns, schema=schema)
    with atomic_path(path) as temporary:
        pq.write_table(table, temporary, compression="zstd")


def read_meta(path: Path) -> EpisodeMeta:
    """The episode's line, from the footer of its data file.

    Raises:
        ValueError: no such file of this layout.
    """
    try:
        return EpisodeMeta(**json.loads((pq.read_schema(path).metadata or {})[EPISODE_KEY]))
    except (pa.ArrowException, KeyError, TypeError, ValueError) as error:
        got = str(error).splitlines()[0]
        raise ValueError(f"{path}: expected an episode of collect_demos.py, got: {got}; use a new folder") from error


def read_episode(root: Path, episode_index: int, columns: Iterable[str] | None = None) -> pa.Table:
    """Rows of one episode.

    Raises:
        FileNotFoundError: it is not in the data set.
    """
    return pq.read_table(
        episode_path(root, episode_index), columns=None if columns is None else list(columns), partitioning=None
    )


def find_episodes(root: Path) -> dict[int, EpisodeMeta]:
    """Every finished episode below ``root`` by its number."""
    metas = (read_meta(path) for path in sorted(root.glob("data/chunk-*/episode_*.parquet")))
    return {meta.episode_index: meta for meta in metas}


def write_meta(
    root: Path,
    episodes: Mapping[int, EpisodeMeta],
    settings: Mapping[str, Any],
    fps: float,
    commits: Sequence[str] = (),
    given_up: Mapping[str, Any] | None = None,
) -> None:
    """Write ``meta/`` anew: what is there, ``settings``, how it was made, and by which ``commits`` of this project.

    ``given_up``: task id and number of ``demos`` for which no start succeeded, and the ``commit`` that tried.
    """
    ordered = [episodes[index] for index in sorted(episodes)]
    tasks = {meta.task_index: meta.tasks[0] for meta in ordered}
    info = {
        "layout": LAYOUT,
        "robot_type": "panda",
        "fps": fps,
        "total_episodes": len(ordered),
        "total_frames": sum(meta.length for meta in ordered),
        "total_pictures": len(VIEWS) * sum(meta.num_frames for meta in ordered),
        "total_tasks": len(tasks),
        "total_chunks": 1 + max((meta.episode_index for meta in ordered), default=0) // CHUNK_SIZE,
        "chunks_size": CHUNK_SIZE,
        "splits": {"train": f"0:{len(ordered)}"},
        "data_path": DATA_PATH,
        "video_path": None,
        "features": _features(),
        "collection": dict(settings),
        "commits": list(commits),
        **({} if given_up is None else {"given_up": dict(given_up)}),
    }
    folder = root / "meta"
    folder.mkdir(parents=True, exist_ok=True)
    write_text_atomic(folder / "info.json", json.dumps(info, indent=2) + "\n")
    write_text_atomic(folder / "tasks.jsonl", _lines({"task_index": i, "task": tasks[i]} for i in sorted(tasks)))
    write_text_atomic(folder / "episodes.jsonl", _lines(asdict(meta) for meta in ordered))


def read_info(root: Path) -> dict[str, Any] | None:
    """``meta/info.json``; None where there is none yet.

    Raises:
        ValueError: a damaged file.
    """
    path = root / "meta" / "info.json"
    if not path.is_file():
        return None
    try:
        info: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: expected JSON, got: {error}; use a new folder") from error
    return info


def _lines(rows: Iterable[Mapping[str, Any]]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def _features() -> dict[str, Any]:
    features: dict[str, Any] = {}
    for column in SCHEMA:
        if column.type == _PICTURE:
            names = ["height", "width", "channel"]
            features[column.name] = {"dtype": "image", "shape": [256, 256, 3], "names": names}
        elif pa.types.is_fixed_size_list(column.type):
            features[column.name] = {"dtype": "float32", "shape": [column.type.list_size], "names": None}
        else:
            features[column.name] = {"dtype": str(column.type).replace("float", "float32"), "shape": [1], "names": None}
    return features
