"""Choose among the snapshots of a run that was trained without simulator, by closed-loop success.

    python scripts/select_checkpoint.py results/train/oft

Writes ``<folder>/best`` and ``<folder>/selection.json``. A second call evaluates only what is missing or has other
weights (by sha256); with other validation episodes it is refused, since their counts cannot be compared. A folder that
is trained in is refused as well.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

if __package__ in (None, ""):
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from runners.files import write_text_atomic
from runners.interrupts import sigterm_as_interrupt
from scripts.train_tiny import add_validation_options, make_evaluate, validation_settings
from vlacache.folders import recover_folder, replace_folder, temporary_folder
from vlacache.lock import FolderBusyError, FolderLock
from vlacache.models.factory import ModelConfig, load_model
from vlacache.train.export import FACTS_FILE
from vlacache.train.loop import LOCK_FILE

TABLE_FILE = "selection.json"


def main() -> int:
    """Evaluate, choose, copy: 0 done, 2 bad input, 130 interrupted."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    add_validation_options(parser)
    given = parser.parse_args()
    snapshots = sorted(given.folder.glob("snapshots/*/model.safetensors"))
    if not snapshots:
        parser.error(f"{given.folder}: expected snapshots/<samples>/model.safetensors, found none")
    try:
        with sigterm_as_interrupt():
            print(_select_locked(given, snapshots))
    except (ValueError, FolderBusyError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped; the same command goes on from here", file=sys.stderr)
        return 130
    return 0


def _select_locked(given: argparse.Namespace, snapshots: Sequence[Path]) -> str:
    settings = validation_settings(given)
    lock = FolderLock(given.folder / LOCK_FILE, "copy its snapshots to another folder")
    try:
        recover_folder(given.folder / "best")
        return select(given, read_table(given.folder / TABLE_FILE, settings), snapshots)
    finally:
        lock.release()


def read_table(path: Path, settings: dict[str, Any]) -> dict[str, Any]:
    """What was evaluated before: ``settings``, ``results`` and ``weights`` by snapshot; empty where no file is.

    Raises:
        ValueError: a damaged file, or one that was made with other settings.
    """
    if not path.is_file():
        return {"settings": settings, "results": {}}
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        there, rows, weights = stored["settings"], stored["results"].values(), stored.get("weights", {}).values()
        whole = all(isinstance(row["success"], int | float) for row in rows)
        if not whole or not all(isinstance(digest, str) for digest in weights):
            raise ValueError("a success that is no number, or weights without a digest")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        got = f"no {error}" if isinstance(error, KeyError) else str(error)
        raise ValueError(
            f"{path}: expected settings and results of select_checkpoint.py, got: {got}; delete it to evaluate anew"
        ) from error
    if there != settings:
        raise ValueError(f"{path}: made with {there}, asked for {settings}; ask for the same or delete it")
    return dict(stored)


def select(given: argparse.Namespace, stored: dict[str, Any], snapshots: Sequence[Path]) -> str:
    """Evaluate what ``stored`` lacks and copy the best to ``best/``; returns what was chosen, in words."""
    digests = {path.parent.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in snapshots}
    measured = stored.get("weights", {})  # a file of an older version has none: everything is evaluated again
    stored["weights"] = {name: digest for name, digest in digests.items() if measured.get(name) == digest}
    results = stored["results"] = {name: row for name, row in stored["results"].items() if name in stored["weights"]}
    evaluate = make_evaluate(given)
    for snapshot in (path.parent for path in snapshots):
        if snapshot.name not in results:
            name = json.loads((snapshot / "config.json").read_text())["name"]
            results[snapshot.name] = evaluate(load_model(ModelConfig(name, checkpoint=str(snapshot))))
            stored["weights"][snapshot.name] = digests[snapshot.name]
            write_text_atomic(given.folder / TABLE_FILE, json.dumps(stored, indent=2) + "\n")
    best = max(results, key=lambda name: (results[name]["success"], name))
    target = given.folder / "best"
    temporary = temporary_folder(target)
    shutil.copytree(given.folder / "snapshots" / best, temporary)
    facts = json.loads((temporary / FACTS_FILE).read_text())
    (temporary / FACTS_FILE).write_text(json.dumps({**facts, "validation": results[best]}, indent=2) + "\n")
    replace_folder(temporary, target)
    return f"best: {best} samples, {results[best]['success']:.1%}; copied to {target}"


if __name__ == "__main__":
    sys.exit(main())
