"""Cache policies side by side on validation starts: what their numbers are chosen by, so that no table is looked at.

Rows of a JSONL file, one per episode, under a header that says of what; a second call adds what is missing.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from runners.closed_loop import VALIDATION_SEED
from runners.envs.base import Env
from runners.journal import mend_torn_line
from runners.observers import EpisodeInfo
from runners.records import EpisodeKey
from runners.report.markdown import table
from runners.report.stats import PairCounts, paired_difference, paired_difference_interval
from runners.report.words import join_words, percent, points_range, signed_points
from runners.rollout import check_compatible, rollout_episode
from vlacache.types import Policy

#: The arm that every other one is compared with.
BASELINE = "none"


@dataclass(frozen=True, slots=True)
class ChoiceRow:
    """One episode: policy ``cache`` from validation start ``start`` of a task.

    Attributes:
        cache: ``name`` or ``name:key=value,key=value``. success: by the suite's rule.
        reuse: mean over its calls of the layers that patches skipped, 0..1.
    """

    cache: str
    placement: str
    task: int
    start: int
    success: bool
    reuse: float

    @property
    def episode(self) -> tuple[str, int, int]:
        """Placement, task and start: what a pair has in common."""
        return self.placement, self.task, self.start


class ChoiceFile:
    """Rows on disk, each written as soon as its episode has ended.

    Args:
        path: JSONL, made if it is not there. settings: what all rows have in common.

    Raises:
        ValueError: the file is of other settings, or damaged.
    """

    def __init__(self, path: Path, settings: Mapping[str, Any]) -> None:
        self.path = path
        header = json.dumps(dict(settings), sort_keys=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        mend_torn_line(path)  # the episode of a line that a kill cut is played again
        if not path.exists() or path.stat().st_size == 0:
            path.write_text(header + "\n", encoding="utf-8")
        lines = path.read_text(encoding="utf-8").splitlines()
        if lines[0] != header:
            raise ValueError(
                f"{path}: expected rows of {header}, got {lines[0]}; give another --output, nothing was changed"
            )
        try:
            self.rows = [ChoiceRow(**json.loads(line)) for line in lines[1:]]
        except (ValueError, TypeError) as error:
            raise ValueError(f"{path}: expected one episode a line, got {error}; move the file away") from error

    def append(self, row: ChoiceRow) -> None:
        """Write one row."""
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(row)) + "\n")
        self.rows.append(row)


def play(
    suite: str,
    placement: str,
    make_env: Callable[[int], Env],
    policies: Mapping[str, Policy],
    tasks: Sequence[int],
    starts: Sequence[int],
    played: ChoiceFile,
) -> Iterator[ChoiceRow]:
    """Play what ``played`` lacks, all policies of a start one after the other, and write it there.

    Args:
        make_env: task -> env of ``TrainingStarts``. policies: by cache word; reset at every start.

    Raises:
        RuntimeError: an episode ended in an error; its traceback is in the message.
    """
    done = {(row.cache, *row.episode) for row in played.rows}
    for task in tasks:
        left = [(s, word) for s in starts for word in policies if (word, placement, task, s) not in done]
        if not left:
            continue
        env = make_env(task)
        try:
            for start, word in left:
                row = _play_one(suite, placement, env, word, policies[word], task, start)
                played.append(row)
                yield row
        finally:
            env.close()


def _play_one(suite: str, placement: str, env: Env, word: str, policy: Policy, task: int, start: int) -> ChoiceRow:
    check_compatible(env, policy)
    arm = "baseline" if word == BASELINE else "policy"
    key = EpisodeKey(arm, word, suite, task, start, VALIDATION_SEED, placement)
    result = rollout_episode(env, policy, EpisodeInfo("choice", key, env.spec))
    if result.record.status == "error":
        raise RuntimeError(f"{word}: task {task}, start {start} failed:\n{result.record.error}")
    reuse = fmean(step.call.reuse_ratio for step in result.steps if step.call is not None)
    return ChoiceRow(word, placement, task, start, result.record.status == "success", reuse)


def choice_table(rows: Sequence[ChoiceRow]) -> str:
    """Markdown, a line a policy: reuse, success, and what it lost and won against no cache on the same starts."""
    solved = {(row.cache, row.episode): row.success for row in rows}
    words = dict.fromkeys([BASELINE, *(row.cache for row in rows)])
    lines = []
    for word in words:
        mine = [row for row in rows if row.cache == word]
        if mine:
            lines.append(_line(word, mine, {r.episode: solved.get((BASELINE, r.episode)) for r in mine}))
    header = ["cache", "reuse", "success", "lost", "won", "difference (points)"]
    return table(header, lines)


def _line(word: str, rows: Sequence[ChoiceRow], dense: Mapping[tuple[str, int, int], bool | None]) -> list[str]:
    share = f"{sum(row.success for row in rows)}/{len(rows)}"
    cells = [f"`{word}`", percent(fmean(row.reuse for row in rows)), share]
    pairs = [(row.success, bool(dense[row.episode])) for row in rows if dense[row.episode] is not None]
    if word == BASELINE or not pairs:
        return [*cells, "", "", ""]
    lost, won = (pairs.count(outcome) for outcome in ((False, True), (True, False)))
    counts = PairCounts(pairs.count((True, True)), won, lost, pairs.count((False, False)))
    limits = points_range(paired_difference_interval(counts))
    return [*cells, str(lost), str(won), join_words(signed_points(paired_difference(counts)), limits)]
