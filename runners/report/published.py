"""Published arms: the compact part of a run that is kept in the repository, and what publishing anew would lose."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from runners.journal import EPISODES_FILE, RUN_FILE, read_episodes, read_run
from runners.records import RunRecord
from runners.report.call_table import CALLS_FILE, write_calls

#: Of a run: what it was and how each episode ended. Of the step files, the bulk, one line an episode (``call_table``).
KEPT_FILES = (RUN_FILE, EPISODES_FILE)


@dataclass(frozen=True, slots=True)
class Loss:
    """A published run that would go, or shrink. ``folder``: where it is published. ``why``: in words."""

    folder: Path
    why: str


def count_pairs(run: Path) -> int:
    """Pairs that ended without an error in all their arms; a run without cache has one arm."""
    finished: dict[str, set[tuple[int, int, int]]] = {"baseline": set(), "policy": set()}
    for key, record in {record.key: record for record in read_episodes(run)}.items():
        if record.status != "error":
            finished[key.arm].add((key.task_id, key.init_index, key.env_seed))
    is_alone = read_run(run).cache == "none" and not finished["policy"]
    return len(finished["baseline"] if is_alone else finished["baseline"] & finished["policy"])


def published_runs(table: Path) -> dict[str, Path]:
    """Folders of the runs published below ``table``, by name."""
    return {path.parent.name: path.parent for path in sorted(table.glob(f"*/{RUN_FILE}"))}


def keep_run(run: Path, target: Path) -> None:
    """Copy the compact part of a run, and write what its policy calls reused and took."""
    target.mkdir(parents=True, exist_ok=True)
    write_calls(run, target / CALLS_FILE)
    for name in KEPT_FILES:
        shutil.copyfile(run / name, target / name)


def remove_run(folder: Path) -> None:
    """Remove what ``keep_run`` put there; a person's own files, and a folder that holds some, stay."""
    for name in (*KEPT_FILES, CALLS_FILE):
        (folder / name).unlink(missing_ok=True)
    if not any(folder.iterdir()):
        folder.rmdir()


def losses(table: Path, runs: Mapping[str, Path], baseline: RunRecord | None = None) -> list[Loss]:
    """Runs published below ``table`` that ``runs`` (name -> folder) does not have, or has with fewer pairs.

    ``baseline``: of the new table; what an arm that would go was made with differently is told.
    """
    found = []
    for name, folder in published_runs(table).items():
        there, now = count_pairs(folder), count_pairs(runs[name]) if name in runs else 0
        if name not in runs:
            found.append(Loss(folder, f"{there} pairs published, none here{_told_origin(folder, baseline)}"))
        elif now < there:
            found.append(Loss(folder, f"{there} pairs published, {now} here"))
    return found


def agree_on(found: Iterable[Loss], *, prune: bool) -> None:
    """Tell what goes, if that was asked for.

    Raises:
        ValueError: something would go, and ``prune`` is False.
    """
    found = list(found)
    if found and not prune:
        listing = "; ".join(f"{loss.folder} ({loss.why})" for loss in found)
        raise ValueError(
            f"publishing would lose {listing}: run these arms to that size, take another prefix, "
            "or give --prune to let them go"
        )
    for loss in found:
        print(f"--prune: {loss.folder} goes or shrinks: {loss.why}")


def origin_differences(run: RunRecord, baseline: RunRecord) -> list[str]:
    """Weights and code that ``run`` was made with and the baseline was not; what is not recorded does not differ."""
    pairs = {
        "weights": (run.checkpoint, baseline.checkpoint),
        "code": (run.versions.get("code"), baseline.versions.get("code")),
    }
    known = {name: pair for name, pair in pairs.items() if all(pair)}
    return [f"{name} {ours}, not {theirs}" for name, (ours, theirs) in known.items() if ours != theirs]


def check_one_code(runs: Mapping[str, Path], baseline: str) -> None:
    """Raise ``ValueError`` where arms were made with other weights or code than the baseline among them."""
    if baseline not in runs:
        return
    reference = read_run(runs[baseline])
    told = {name: origin_differences(read_run(run), reference) for name, run in runs.items()}
    mixed = "; ".join(f"{name}: {', '.join(differing)}" for name, differing in told.items() if differing)
    if mixed:
        raise ValueError(
            f"{runs[baseline].parent}: expected arms of the baseline's weights and code, got {mixed}. "
            "Move these runs away and give the same command again, which makes them anew."
        )


def _told_origin(folder: Path, baseline: RunRecord | None) -> str:
    differing = [] if baseline is None else origin_differences(read_run(folder), baseline)
    return f", made with {', '.join(differing)}" if differing else ""
