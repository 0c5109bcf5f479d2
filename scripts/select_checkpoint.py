"""Choose among the snapshots of a run that was trained without simulator, by closed-loop success.

    python scripts/select_checkpoint.py results/train/oft

Writes ``<folder>/best`` and ``<folder>/selection.json``. A second call evaluates only what is missing or has other
weights (by sha256); with other validation episodes it is refused, since their counts cannot be compared.
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
from scripts.train_tiny import add_validation_options, make_evaluate, validation_settings
from vlacache.models.factory import ModelConfig, load_model
from vlacache.train.export import FACTS_FILE

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
    table = given.folder / TABLE_FILE
    try:
        settings = validation_settings(given)
    except ValueError as error:
        parser.error(str(error))
    stored = json.loads(table.read_text()) if table.is_file() else {"settings": settings, "results": {}}
    if stored["settings"] != settings:
        parser.error(f"{table}: made with {stored['settings']}, asked for {settings}; ask for the same or delete it")
    try:
        print(select(given, stored, snapshots))
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped; the same command goes on from here", file=sys.stderr)
        return 130
    return 0


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
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(given.folder / "snapshots" / best, target)
    facts = json.loads((target / FACTS_FILE).read_text())
    (target / FACTS_FILE).write_text(json.dumps({**facts, "validation": results[best]}, indent=2) + "\n")
    return f"best: {best} samples, {results[best]['success']:.1%}; copied to {target}"


if __name__ == "__main__":
    sys.exit(main())
