"""What the cache did to each patch, drawn over the films of a run from its records."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from runners.film import Frame, read_film, read_info, write_film
from runners.records import EpisodeKey, EpisodeRecord, RunRecord
from runners.store import RunStore

REUSED, RELEVANT = (58, 160, 255), (255, 176, 32)
MAX_OPACITY, MIN_OPACITY, RELEVANT_OPACITY = 0.50, 0.14, 0.50

BACKGROUND, INK, MUTED = (18, 21, 26), (240, 242, 245), (150, 158, 168)
GOOD, BAD = (92, 201, 128), (240, 106, 96)
LINE = (52, 58, 66)
PLAYED, AHEAD = REUSED, (38, 66, 96)

# Layout in pixels. 304 is 19 pixels for each of 16 patches.
VIEW, GAP, MARGIN, PANEL_GAP = 304, 6, 20, 28
TITLE, HEADER, STATUS, STRIP, LEGEND_ROW = 46, 34, 30, 34, 27
VIEW_TOP = TITLE + HEADER

CARRIED_COLUMNS = ("total_ms", "reuse_ratio", "fallback", "reused_layers", "static", "relevant")


@dataclass(frozen=True, slots=True)
class Track:
    """One filmed episode and its step rows.

    Attributes:
        record: final row. frames: the film. cameras: from left to right. rows: step rows as dicts, with the call
            columns and the trace of the call that each step's action came from.
    """

    record: EpisodeRecord
    film: Path
    cameras: tuple[str, ...]
    fps: float
    rows: list[dict[str, Any]]


def draw_overlays(folder: Path, store: RunStore) -> list[Path]:
    """Draw ``<folder>/overlay-<policy slug>.mp4`` for every filmed policy episode that has none, or an older one.

    The film of its baseline stands beside it when there is one. The patch grid spans the whole picture.

    Returns:
        The files written.
    """
    written = []
    for key in store.episodes:
        target = folder / f"overlay-{key.slug}.mp4"
        policy = _load_track(folder, key, store) if key.arm == "policy" else None
        if policy is None:
            continue
        baseline = _load_track(folder, _baseline_of(key), store)
        tracks = [policy] if baseline is None else [baseline, policy]
        if not _is_current(target, [track.film for track in tracks]):
            draw_overlay(target, tracks, store.run)
            written.append(target)
    return written


def draw_overlay(target: Path, tracks: list[Track], run: RunRecord) -> None:
    """Draw one film: a panel for each track from left to right, legend below."""
    cameras = len(tracks[0].cameras)
    panel = cameras * VIEW + (cameras - 1) * GAP
    width = 2 * MARGIN + len(tracks) * panel + (len(tracks) - 1) * PANEL_GAP
    legend = _wrap_legend(width)
    height = VIEW_TOP + VIEW + STATUS + STRIP + len(legend) * LEGEND_ROW + 17
    height += height % 2
    canvas = Image.new("RGB", (width, height), BACKGROUND)
    _draw_title(canvas, tracks[-1].record, run)
    _draw_legend(canvas, legend)
    panels = [_Panel(track, run, MARGIN + i * (panel + PANEL_GAP)) for i, track in enumerate(tracks)]
    for item in panels:
        item.draw_header(canvas)
    write_film(target, _compose(canvas, panels), (width, height), tracks[0].fps)


def tint_view(picture: Frame, reused_share: NDArray[np.float64], relevant: NDArray[np.bool_]) -> Frame:
    """Tint the patches of one view: blue where K/V were reused, the stronger in the more layers; amber where the task
    looks and the patch was recomputed for that; no tint where it was recomputed because it changed.

    Args:
        picture: uint8[H, W, 3]. reused_share: float64[rows, columns] share of the layers. relevant: bool of that shape.
    """
    rows, columns = reused_share.shape
    height, width = picture.shape[:2]
    reused = reused_share > 0
    opacity = np.where(reused, MIN_OPACITY + (MAX_OPACITY - MIN_OPACITY) * reused_share, 0.0)
    opacity = np.where(relevant & ~reused, RELEVANT_OPACITY, opacity)
    color = np.where((relevant & ~reused)[..., None], RELEVANT, REUSED)
    y, x = np.arange(height) * rows // height, np.arange(width) * columns // width
    alpha = opacity[np.ix_(y, x)]
    # A lighter seam between patches keeps them countable where neighbours have one colour.
    seam = (np.diff(y, prepend=-1) > 0)[:, None] | (np.diff(x, prepend=-1) > 0)[None]
    alpha = np.where(seam, 0.45 * alpha, alpha)[..., None]
    tinted: Frame = np.rint(picture * (1 - alpha) + color[np.ix_(y, x)] * alpha).astype(np.uint8)
    return tinted


class _Panel:
    """One track on the canvas. Its last frame stays there when the other track is longer."""

    def __init__(self, track: Track, run: RunRecord, left: int) -> None:
        self.track = track
        self._run = run
        self._left = left
        self._frames = read_film(track.film)
        self._width = len(track.cameras) * (VIEW + GAP) - GAP

    def draw_header(self, canvas: Image.Image) -> None:
        """Arm and camera names, which do not change."""
        cache = self.track.record.cache
        title = "no cache (baseline)" if cache == "none" else f"{cache} cache"
        draw = ImageDraw.Draw(canvas)
        draw.text((self._left, TITLE + 10), title, INK, _font(16))
        for i, name in enumerate(self.track.cameras):
            right = self._left + i * (VIEW + GAP) + VIEW
            if i > 0 or draw.textlength(title, _font(16)) + draw.textlength(name, _font(13)) < VIEW - 20:
                draw.text((right, TITLE + 13), name, MUTED, _font(13), anchor="ra")

    def draw(self, canvas: Image.Image, step: int) -> bool:
        """Draw the state before action ``step`` (or the last one); False when the film is over."""
        frame = next(self._frames, None)
        if frame is not None:
            canvas.paste(self._tinted(frame, min(step, len(self.track.rows) - 1)), (self._left, VIEW_TOP))
            self._draw_status(canvas, min(step, len(self.track.rows)))
        return frame is not None

    def _tinted(self, frame: Frame, row: int) -> Image.Image:
        """The views of one frame, enlarged and tinted, side by side."""
        strip = Image.new("RGB", (self._width, VIEW), BACKGROUND)
        side = frame.shape[1] // len(self.track.cameras)
        for i, name in enumerate(self.track.cameras):
            view = Image.fromarray(np.ascontiguousarray(frame[:, i * side : (i + 1) * side]))
            picture = np.asarray(view.resize((VIEW, VIEW), Image.Resampling.LANCZOS))
            trace = self._trace(name, row)
            picture = picture if trace is None else tint_view(picture, *trace)
            strip.paste(Image.fromarray(picture), (i * (VIEW + GAP), 0))
        return strip

    def _trace(self, camera: str, row: int) -> tuple[NDArray[np.float64], NDArray[np.bool_]] | None:
        run, values = self._run, self.track.rows[row]
        if values["reused_layers"] is None or camera not in run.views:
            return None
        rows, columns = run.grid
        index = run.views.index(camera)
        part = slice(index * rows * columns, (index + 1) * rows * columns)
        reused = np.frombuffer(values["reused_layers"], np.uint8)[part].reshape(rows, columns)
        relevant = np.frombuffer(values["relevant"], np.uint8)[part].reshape(rows, columns)
        return reused / run.num_layers, relevant.astype(bool)

    def _draw_status(self, canvas: Image.Image, step: int) -> None:
        draw = ImageDraw.Draw(canvas)
        top, right = VIEW_TOP + VIEW, self._left + self._width
        draw.rectangle((self._left, top, right, top + STATUS + STRIP), BACKGROUND)
        rows, record = self.track.rows, self.track.record
        if step >= len(rows):
            said, ink = f"{record.status} after {len(rows)} steps", GOOD if record.status == "success" else BAD
        else:
            said, ink = f"step {step}    call {rows[step]['call_index']}", INK
        draw.text((self._left, top + 8), said, ink, _font(16))
        now = rows[min(step, len(rows) - 1)]
        parts = [f"{now['total_ms']:.3g} ms"] if now["total_ms"] else []
        if record.cache != "none":
            parts = [f"reused {100 * now['reuse_ratio']:.0f} %", *parts]
        if now["fallback"] not in (None, "policy_none"):
            parts = [f"dense: {now['fallback'].replace('_', ' ')}", *parts]
        # Beside what stands on the left: of a model with one camera there is room for few words.
        room = self._width - draw.textlength(said, _font(16)) - 24
        while len(parts) > 1 and draw.textlength("    ".join(parts), _font(16)) > room:
            parts.pop()
        if parts and draw.textlength(parts[0], _font(16)) <= room:
            draw.text((right, top + 8), "    ".join(parts), INK, _font(16), anchor="ra")
        self._draw_strip(draw, top + STATUS, step)

    def _draw_strip(self, draw: ImageDraw.ImageDraw, top: int, step: int) -> None:
        """Reuse of every call as a bar below the panel; what has been played is bright."""
        rows, height = self.track.rows, STRIP - 10
        base, left, width = top + height, self._left, self._width
        draw.line((left, base, left + width, base), LINE)
        if self.track.record.cache != "none":
            for i, row in enumerate(rows):
                x0, x1 = left + width * i / len(rows), left + width * (i + 1) / len(rows) - 1
                bar = height * row["reuse_ratio"]
                if bar >= 0.5:
                    draw.rectangle((x0, base - bar, max(x0, x1), base - 1), PLAYED if i <= step else AHEAD)
        x = left + width * min(step, len(rows)) / len(rows)
        draw.line((x, top, x, base), INK, width=2)


def _compose(canvas: Image.Image, panels: list[_Panel]) -> Iterator[Frame]:
    """Frames until the longest film is over."""
    for step in itertools.count():
        alive = [panel.draw(canvas, step) for panel in panels]
        if not any(alive):
            return
        yield np.asarray(canvas).copy()


def _draw_title(canvas: Image.Image, record: EpisodeRecord, run: RunRecord) -> None:
    """What the robot was told, and which episode this is."""
    draw = ImageDraw.Draw(canvas)
    width = canvas.width - 2 * MARGIN
    sizes = [size for size in (20, 17, 14, 12) if draw.textlength(record.instruction, _font(size)) <= width]
    font = _font(sizes[0] if sizes else 10)
    draw.text((MARGIN, 25), record.instruction, INK, font, anchor="lm")
    place = f"{run.suite} task {record.task_id}, initial state {record.init_index}"
    source = f"{run.model} ({run.weights}), {place}"
    free = width - draw.textlength(record.instruction, font) - 24
    text = source if draw.textlength(source, _font(14)) < free else place
    if draw.textlength(text, _font(14)) < free:
        draw.text((canvas.width - MARGIN, 25), text, MUTED, _font(14), anchor="rm")


def _legend_entries() -> list[tuple[Frame, str]]:
    """Swatch uint8[18, W, 3] and words of each entry."""
    grey = np.full((18, 18 * 4, 3), 128, np.uint8)
    outline = np.full((18, 18, 3), BACKGROUND, np.uint8)  # an empty frame: such a patch is left as the camera saw it
    outline[[0, -1]] = outline[:, [0, -1]] = MUTED
    bars = np.full((18, 20, 3), BACKGROUND, np.uint8)
    for column, height in enumerate((8, 14, 11)):
        bars[18 - height :, 7 * column : 7 * column + 6] = PLAYED
    return [
        (tint_view(grey, np.array([[0.25, 0.5, 0.75, 1.0]]), np.zeros((1, 4), bool)), "reused, in few to all layers"),
        (tint_view(grey[:, :18], np.zeros((1, 1)), np.ones((1, 1), bool)), "recomputed: the task looks here"),
        (outline, "no tint: recomputed, changed or not chosen"),
        (bars, "reuse of each call"),
    ]


def _wrap_legend(width: int) -> list[list[tuple[int, Frame, str]]]:
    """Rows of (left, swatch, words) that fit into ``width``."""
    rows: list[list[tuple[int, Frame, str]]] = [[]]
    left = MARGIN
    for swatch, text in _legend_entries():
        needed = swatch.shape[1] + 8 + round(_font(14).getlength(text))
        if rows[-1] and left + needed > width - MARGIN:
            rows.append([])
            left = MARGIN
        rows[-1].append((left, swatch, text))
        left += needed + 24
    return rows


def _draw_legend(canvas: Image.Image, legend: list[list[tuple[int, Frame, str]]]) -> None:
    draw = ImageDraw.Draw(canvas)
    top = VIEW_TOP + VIEW + STATUS + STRIP + 6
    draw.line((MARGIN, top - 4, canvas.width - MARGIN, top - 4), LINE)
    for number, row in enumerate(legend):
        y = top + 5 + number * LEGEND_ROW
        for left, swatch, text in row:
            canvas.paste(Image.fromarray(swatch), (left, y))
            draw.text((left + swatch.shape[1] + 8, y + 9), text, INK, _font(14), anchor="lm")


def _load_track(folder: Path, key: EpisodeKey, store: RunStore) -> Track | None:
    """The filmed episode, or None when it was not filmed or has no steps."""
    film = folder / f"{key.slug}.mp4"
    info = read_info(film)
    record = store.episodes.get(key)
    if info is None or record is None or record.num_steps == 0 or info.attempt != record.attempt:
        return None
    return Track(record, film, info.cameras, info.fps, _carry_calls(store.steps(key).to_pylist()))


def _carry_calls(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Give the steps of a chunk the call columns and the trace of the call that made it."""
    call: dict[str, Any] = {}
    carried = []
    for row in rows:
        if row["total_ms"] is not None:
            call = {k: v for k, v in row.items() if k in CARRIED_COLUMNS}
        carried.append({**row, **call})
    return carried


def _baseline_of(key: EpisodeKey) -> EpisodeKey:
    """The baseline's key of the same pair."""
    return replace(key, arm="baseline", cache="none")


def _is_current(target: Path, films: list[Path]) -> bool:
    """Whether ``target`` is there and younger than what it was drawn from."""
    return target.exists() and all(target.stat().st_mtime >= film.stat().st_mtime for film in films)


@lru_cache
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)
