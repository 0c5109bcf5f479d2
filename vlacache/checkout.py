"""Which program runs: the commit of the checkout, for every record of what it made."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path


def git_commit() -> str | None:
    """Commit of the checkout, ``+dirty`` when tracked files differ; None outside a checkout of this project."""
    root = Path(__file__).resolve().parent.parent
    if not (root / ".git").exists():
        return None
    try:
        commit = _git(root, "rev-parse", "HEAD")
        return f"{commit}+dirty" if _git(root, "status", "--porcelain", "--untracked-files=no") else commit
    except (OSError, subprocess.CalledProcessError):
        return None


def with_commit(commits: Sequence[str], commit: str | None) -> list[str]:
    """Commits that had a hand in something, oldest first, and now ``commit`` too, ``unknown`` where it is None."""
    now = "unknown" if commit is None else commit
    return [*commits] if commits and commits[-1] == now else [*commits, now]


def _git(root: Path, *words: str) -> str:
    return subprocess.run(["git", "-C", str(root), *words], check=True, capture_output=True, text=True).stdout.strip()
