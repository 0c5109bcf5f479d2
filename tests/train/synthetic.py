"""Demos without a simulator: a bright square in both pictures, and the action that moves towards it."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

TASKS = ("pick up the black bowl and place it on the plate", "open the drawer")
VIEWS = ("agentview", "wrist")


def picture(at: np.ndarray, size: int) -> np.ndarray:
    """uint8[size, size, 3] with a square centred on ``at`` (x, y in [0, 1])."""
    out = np.full((size, size, 3), 60, np.uint8)
    x, y = (at * size).astype(int)
    out[max(0, y - size // 10) : y + size // 10, max(0, x - size // 10) : x + size // 10] = (250, 200, 30)
    return out


def jpeg(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=95)
    return buffer.getvalue()


def write_lerobot(folder: Path, *, episodes: int = 4, length: int = 12, stride: int = 2, size: int = 64, seed: int = 0):
    """A dataset in the layout of ``scripts/collect_demos.py``; pictures on every ``stride``-th row."""
    rng = np.random.default_rng(seed)
    (folder / "meta").mkdir(parents=True)
    (folder / "data" / "chunk-000").mkdir(parents=True)
    info = {"fps": 20, "seed": seed, "placement": "synthetic", "features": {}}
    (folder / "meta" / "info.json").write_text(json.dumps(info))
    lines = [{"task_index": i, "task": text} for i, text in enumerate(TASKS)]
    (folder / "meta" / "tasks.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    rows = [
        {"episode_index": e, "length": length + e, "task_index": e % 2, "suite": "toy", "seed": e}
        for e in range(episodes)
    ]
    (folder / "meta" / "episodes.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for e in range(episodes):
        table = pa.table(_columns(rng, e, length + e, stride, size))
        pq.write_table(table, folder / "data" / "chunk-000" / f"episode_{e:06d}.parquet")
    return folder


def _columns(rng: np.random.Generator, episode: int, length: int, stride: int, size: int) -> dict[str, pa.Array]:
    at = rng.uniform(0.2, 0.8, 2)
    action = np.zeros((length, 7), np.float32)
    action[:, :2] = (at - 0.5) * 2 + rng.normal(0, 0.02, (length, 2))
    action[:, 6] = np.where(np.arange(length) < length // 2, -1, 1)
    state = rng.normal(0, 0.1, (length, 8)).astype(np.float32)
    shown = [row % stride == 0 for row in range(length)]
    image = {"bytes": jpeg(picture(at, size)), "path": None}
    images = pa.array([image if s else None for s in shown], pa.struct([("bytes", pa.binary()), ("path", pa.string())]))
    pixel = pa.array([at.astype(np.float32) if s else None for s in shown], pa.list_(pa.float32()))
    relative = pa.array([[0.1, -0.1, 0.05] if s and episode else None for s in shown], pa.list_(pa.float32()))
    columns = {
        "observation.state": pa.array(list(state), pa.list_(pa.float32())),
        "action": pa.array(list(action), pa.list_(pa.float32())),
        "timestamp": pa.array(np.arange(length, dtype=np.float32) / 20),
        "frame_index": pa.array(np.arange(length)),
        "episode_index": pa.array(np.full(length, episode)),
        "task_index": pa.array(np.full(length, episode % 2)),
        "aux.target_offset": relative,
    }
    columns |= {f"observation.images.{view}": images for view in VIEWS}
    return columns | {f"aux.{view}.target": pixel for view in VIEWS}
