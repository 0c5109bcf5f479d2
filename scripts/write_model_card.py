"""Write the model card of a checkpoint from runs that were made with it.

    python scripts/write_model_card.py vlacache/models/checkpoints/tiny_oft \\
        --run results/oft_official results/oft_wide --control blind=results/blind_wide \\
        --control replay=results/replay_wide --failure "Task 5: the bowl tips."

Without ``--failure`` those of the card that is there stay, as long as it is about the same weights.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

if __package__ in (None, ""):
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from runners.report.model_card import CARD_FILE, TRAINING_FILE, evaluation_of_run, write_model_card
from runners.script import run_script


def main() -> int:
    """Collect the facts, write card.json and README.md."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="checkpoint")
    parser.add_argument("--run", type=Path, nargs="*", default=[], help="runs of the checkpoint without cache")
    parser.add_argument("--control", action="append", default=[], metavar="NAME=RUN")
    parser.add_argument("--failure", action="append", default=[], help="a known failure, in one sentence")
    given = parser.parse_args()
    for word in given.control:
        if not all(word.partition("=")):
            parser.error(f"--control {word}: expected NAME=RUN, such as blind=results/blind_wide")
    return run_script(lambda: _write(given), stopped="stopped; no card was written")


def _write(given: argparse.Namespace) -> int:
    controls = [word.partition("=") for word in given.control]
    facts = {
        "evaluations": [evaluation_of_run(path) for path in given.run],
        "controls": [{"name": name, **evaluation_of_run(Path(path))} for name, _, path in controls],
        "known_failures": given.failure or known_failures(given.folder),
    }
    write_model_card(given.folder, facts)
    print(f"{given.folder / 'README.md'}")
    return 0


def known_failures(folder: Path) -> list[str]:
    """Of the card in ``folder``; none where it is about other weights or not there."""
    card, training = folder / CARD_FILE, json.loads((folder / TRAINING_FILE).read_text(encoding="utf-8"))
    told = json.loads(card.read_text(encoding="utf-8")) if card.is_file() else {}
    return list(told.get("known_failures", ())) if told.get("sha256") == training["sha256"] else []


if __name__ == "__main__":
    sys.exit(main())
