"""Prompt text to ids."""

from __future__ import annotations

from collections.abc import Callable, Sequence
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


#: Llama's id of a lone space. The training texts were "Out: " and an action, so every prompt ends with it.
SPACE_ID = 29871
#: Makes prompt ids end as a model's training prompts did.
PromptEnd = Callable[[list[int]], list[int]]


def end_with_space(ids: list[int]) -> list[int]:
    """Append ``SPACE_ID`` unless it is there already."""
    return ids if ids[-1] == SPACE_ID else [*ids, SPACE_ID]


class LlamaTokenizer:
    """The ``tokenizer.json`` of an OpenVLA-family checkpoint; ``end`` is how its prompts end."""

    def __init__(self, path: Path, end: PromptEnd = end_with_space) -> None:
        self._end = end
        try:
            self._tokenizer = Tokenizer.from_file(str(path))
        except Exception as error:  # the Rust binding raises bare Exception
            raise ValueError(f"tokenizer: expected a tokenizers JSON file, got {path.name}: {error}") from error

    def encode(self, text: str) -> list[int]:
        """Ids with BOS first."""
        return self._end([BOS_ID, *self._tokenizer.encode(text, add_special_tokens=False).ids])


class GivenIds:
    """Prompt ids that were handed in, whatever the text: for checkpoints without tokenizer."""

    def __init__(self, ids: Sequence[int], vocab_size: int, end: PromptEnd = end_with_space) -> None:
        if len(ids) < 2 or ids[0] != BOS_ID or not all(0 <= i < vocab_size for i in ids):
            raise ValueError(
                f"input_ids: expected BOS ({BOS_ID}) and at least one id in 0..{vocab_size - 1} after it, got {[*ids]}"
            )
        self._ids = end(list(ids))

    def encode(self, text: str) -> list[int]:
        """The ids."""
        return list(self._ids)


def prompt_text(template: str, instruction: str) -> str:
    """The prompt of an instruction: in lower case, otherwise as it is, as upstream.

    Raises:
        ValueError: an empty instruction.
    """
    if not instruction.strip():
        raise ValueError("instruction: expected words, got an empty string")
    return template.format(instruction=instruction.lower())
