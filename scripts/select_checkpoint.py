"""Choose among the snapshots of a run that was trained without simulator, by closed-loop success.

    python scripts/select_checkpoint.py results/train/oft

Writes ``<folder>/best`` and ``<folder>/selection.json``. A second call evaluates only what is missing; with other
validation episodes it is refused, since their counts cannot be compared.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from pathlib import Path

if __package__ in (None, ""):
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from runners.files import write_text_atomic
from scripts.train_tiny import add_validation_options, make_evaluate
from vlacache.models.factory import ModelConfig, load_model
from vlacache.train.export import FACTS_FILE


def main() -> None:
    """Evaluate, choose, copy."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    add_validation_options(parser)
    given = parser.parse_args()
    snapshots = sorted(given.folder.glob("snapshots/*/model.safetensors"))
    if not snapshots:
        parser.error(f"{given.folder}: expected snapshots/<samples>/model.safetensors, found none")
    table = given.folder / "selection.json"
    settings = {name: getattr(given, name) for name in ("suites", "tasks", "placements", "validation_starts", "assets")}
    stored = json.loads(table.read_text()) if table.is_file() else {"settings": settings, "results": {}}
    if stored["settings"] != settings:
        parser.error(f"{table}: made with {stored['settings']}, asked for {settings}; ask for the same or delete it")
    results = stored["results"]
    evaluate = make_evaluate(given)
    for snapshot in (path.parent for path in snapshots):
        if snapshot.name not in results:
            name = json.loads((snapshot / "config.json").read_text())["name"]
            results[snapshot.name] = evaluate(load_model(ModelConfig(name, checkpoint=str(snapshot))))
            write_text_atomic(table, json.dumps(stored, indent=2) + "\n")
    best = max(results, key=lambda name: (results[name]["success"], name))
    target = given.folder / "best"
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(given.folder / "snapshots" / best, target)
    facts = json.loads((target / FACTS_FILE).read_text())
    (target / FACTS_FILE).write_text(json.dumps({**facts, "validation": results[best]}, indent=2) + "\n")
    print(f"best: {best} samples, {results[best]['success']:.1%}; copied to {target}")


if __name__ == "__main__":
    main()
