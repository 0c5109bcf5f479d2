"""Make the byte-level BPE tokenizer of the tiny models from the LIBERO instructions: 512 ids, no unknown text.

python scripts/make_tiny_tokenizer.py        writes vlacache/models/data/tiny_tokenizer.json
"""

from __future__ import annotations

import importlib.util
import re
import runpy
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

VOCAB_SIZE = 512
PROMPT = "In: What action should the robot take to {instruction}?\nOut:"
TARGET = Path(__file__).parent.parent / "vlacache" / "models" / "data" / "tiny_tokenizer.json"


def instructions() -> list[str]:
    """Every LIBERO instruction, from the task names (an upper-case scene prefix is no part of it)."""
    spec = importlib.util.find_spec("libero")
    if spec is None or spec.submodule_search_locations is None:
        raise SystemExit("libero: not installed; run `make setup` first")
    # The file is run by itself: importing the package would ask a question on a fresh machine.
    task_map = Path(spec.submodule_search_locations[0]) / "libero" / "benchmark" / "libero_suite_task_map.py"
    tasks_of_suites = runpy.run_path(str(task_map))["libero_task_map"]
    names = sorted({task for tasks in tasks_of_suites.values() for task in tasks})
    return [re.sub(r"^[A-Z_]+\d+_", "", name).replace("_", " ") for name in names]


def main() -> None:
    """Train and save."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB_SIZE,
        special_tokens=["<pad>", "<s>", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([PROMPT.format(instruction=i) for i in instructions()], trainer)
    TARGET.parent.mkdir(exist_ok=True)
    tokenizer.save(str(TARGET))
    print(f"{TARGET.name}: {tokenizer.get_vocab_size()} ids")


if __name__ == "__main__":
    main()
