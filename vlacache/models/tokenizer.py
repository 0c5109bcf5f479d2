"""Prompt text to ids."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from tokenizers import Tokenizer

#: Special ids shared with Llama: padding/unknown, begin of sequence, end of sequence.
BOS_ID = 1
TINY_TOKENIZER = Path(__file__).parent / "data" / "tiny_tokenizer.json"


class TextTokenizer(Protocol):
    """What a model needs from its tokenizer."""

    def encode(self, text: str) -> list[int]:
        """Ids with BOS first."""
        ...


class TinyTokenizer:
    """A small byte-level BPE made by ``scripts/make_tiny_tokenizer.py``."""

    def __init__(self, path: Path = TINY_TOKENIZER) -> None:
        try:
            self._tokenizer = Tokenizer.from_file(str(path))
        except Exception as error:  # the Rust binding raises bare Exception
            raise ValueError(f"tokenizer: expected a tokenizers JSON file, got {path.name}: {error}") from error

    @property
    def vocab_size(self) -> int:
        """Number of text ids."""
        return self._tokenizer.get_vocab_size()

    def encode(self, text: str) -> list[int]:
        """Ids with BOS first."""
        return [BOS_ID, *self._tokenizer.encode(text).ids]


def prompt_text(template: str, instruction: str) -> str:
    """The prompt of an instruction.

    Raises:
        ValueError: an empty instruction.
    """
    if not instruction.strip():
        raise ValueError("instruction: expected words, got an empty string")
    return template.format(instruction=instruction.lower().strip())
