"""What a folder of demonstrations holds: read and checked before a collection goes on, written after every block."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runners.demos.dataset import EpisodeMeta, find_episodes, read_info, write_meta
from runners.files import remove_leftovers
from vlacache.checkout import with_commit

FPS = 20


@dataclass(slots=True)
class Ledger:
    """Finished demos, and those that were given up.

    Attributes:
        root: of the data set. settings: of the collection. commit: of the program in memory; None where unknown.
        episodes: by number. commits: that recorded them, oldest first. given_up: task id and number of each demo that
            this very program gave up, in this sitting or an earlier one.
    """

    root: Path
    settings: dict[str, Any]
    commit: str | None
    episodes: dict[int, EpisodeMeta]
    commits: list[str]
    given_up: list[tuple[int, int]]

    @classmethod
    def read(cls, root: Path, settings: dict[str, Any], commit: str | None) -> Ledger:
        """What is below ``root``, which the caller has locked; half-written files of a killed writer are removed.

        Raises:
            ValueError: demos of other settings or of another program.
        """
        info = read_info(root)
        if info is not None and "collection" not in info:
            raise ValueError(
                f"{root}: expected a folder of collect_demos.py, got one of another program; use a new folder"
            )
        for folder in root.glob("data/chunk-*"):
            remove_leftovers(folder)
        episodes = find_episodes(root)
        info = info or {}
        if episodes:  # settings alone bind nobody: the command that left them may have been a mistake
            _check_settings(root, info.get("collection", settings), settings)
        given_up = _given_up(root, info, commit) if info.get("collection") == settings else []
        return cls(root, settings, commit, episodes, list(info.get("commits", [])), given_up)

    def add(self, made: Iterable[EpisodeMeta], failed: Iterable[tuple[int, int]]) -> None:
        """Note what came of a block, on disk as well."""
        new = {meta.episode_index: meta for meta in made}
        self.episodes |= new
        if new:
            self.commits = with_commit(self.commits, self.commit)
        self.given_up = sorted({*self.given_up, *failed})
        self.write()

    def write(self) -> None:
        """Write ``meta/`` anew."""
        given_up = {"commit": self.commit, "demos": [list(demo) for demo in self.given_up]} if self.given_up else None
        write_meta(self.root, self.episodes, self.settings, FPS, self.commits, given_up)


def _check_settings(root: Path, there: dict[str, Any], settings: dict[str, Any]) -> None:
    differing = sorted(key for key in {*settings, *there} if there.get(key) != settings.get(key))
    if differing:
        told = "; ".join(f"{key}: {there.get(key)!r} there, {settings.get(key)!r} asked for" for key in differing)
        raise ValueError(f"{root.name} holds demos of other settings ({told}): use another folder")


def _given_up(root: Path, info: dict[str, Any], commit: str | None) -> list[tuple[int, int]]:
    """Demos that ``commit`` gave up; another program's expert may have been mended, as that of a changed checkout."""
    try:
        noted = info.get("given_up", {"commit": None, "demos": []})
        if commit is None or commit.endswith("+dirty") or noted["commit"] != commit:
            return []
        return [(int(task_id), int(number)) for task_id, number in noted["demos"]]
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"{root / 'meta' / 'info.json'}: given_up: expected a commit and pairs of numbers, got "
            f"{info['given_up']!r}; delete that entry"
        ) from error
