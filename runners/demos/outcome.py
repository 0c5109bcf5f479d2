"""What a collection made, what it took, and which demos it had to leave out; in words for the terminal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from runners.demos.dataset import VIEWS, EpisodeMeta, episode_path

#: Training episodes that are tried for a demo before it is given up.
MAX_ATTEMPTS = 20


@dataclass(frozen=True, slots=True)
class Cost:
    """What a collection took. ``seconds`` wall time of all workers together.

    ``given_up``: task id and number of each demo for which the expert failed ``MAX_ATTEMPTS`` times, in an earlier
    sitting too.
    """

    num_demos: int
    num_attempts: int
    num_pictures: int
    num_bytes: int
    seconds: float
    given_up: tuple[tuple[int, int], ...] = ()

    def describe(self) -> str:
        """One line for the terminal."""
        demos = max(self.num_demos, 1)
        return (
            f"{self.num_demos} demos from {self.num_attempts} tries in {self.seconds:.0f} s: "
            f"{self.seconds / demos:.2f} s a demo, {self.num_pictures / max(self.seconds, 1e-9):.1f} pictures/s, "
            f"{self.num_bytes / demos / 1e3:.0f} kB a demo"
        )


def cost_of(
    root: Path,
    episodes: Sequence[EpisodeMeta],
    seconds: float,
    given_up: tuple[tuple[int, int], ...] = (),
    num_failed: int = 0,
) -> Cost:
    """Cost of ``episodes``, which lie below ``root``, and of ``num_failed`` demos without a success."""
    return Cost(
        num_demos=len(episodes),
        num_attempts=sum(meta.attempts for meta in episodes) + MAX_ATTEMPTS * num_failed,
        num_pictures=len(VIEWS) * sum(meta.num_frames for meta in episodes),
        num_bytes=sum(episode_path(root, meta.episode_index).stat().st_size for meta in episodes),
        seconds=seconds,
        given_up=given_up,
    )


def describe_failures(suite: str, seed: int, given_up: Iterable[tuple[int, int]]) -> str:
    """One line for the terminal: which demos of which tasks are missing, at least one."""
    numbers: dict[int, list[str]] = {}
    for task_id, number in given_up:
        numbers.setdefault(task_id, []).append(str(number))
    told = "; ".join(f"task {task_id}: demo {', '.join(of_task)}" for task_id, of_task in numbers.items())
    return (
        f"{suite}, seed {seed}: the expert failed {MAX_ATTEMPTS} training episodes in a row for {told}; "
        "less noise may help"
    )
