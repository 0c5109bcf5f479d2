"""Instructions as token ids on the model's device, each made and checked once."""

from __future__ import annotations

import torch
from torch import Tensor

from vlacache.models.prismatic import VLAModel
from vlacache.models.tokenizer import TextTokenizer, prompt_text


class Prompts:
    """The prompts of one model."""

    def __init__(self, model: VLAModel, tokenizer: TextTokenizer) -> None:
        self._model = model
        self._tokenizer = tokenizer
        self._known: dict[str, Tensor] = {}

    def ids(self, instruction: str) -> Tensor:
        """int64[T], BOS first.

        Raises:
            ValueError: no words, ids outside the model's vocabulary, or a prompt and answer longer than it was trained
                for.
        """
        if not isinstance(instruction, str):
            raise ValueError(f"instruction: expected words, got {instruction!r}")
        if instruction not in self._known:
            ids = self._tokenizer.encode(prompt_text(self._model.config.prompt, instruction))
            self._refuse_foreign(ids)
            self._refuse_long(instruction, len(ids))
            self._known[instruction] = torch.tensor(ids, device=self._model.device)
        return self._known[instruction]

    def _refuse_foreign(self, ids: list[int]) -> None:
        num_ids = self._model.embed.num_embeddings
        if max(ids) >= num_ids:
            raise ValueError(
                f"tokenizer: expected ids below {num_ids} (the vocabulary of {self._model.config.name}), got "
                f"{max(ids)}; it belongs to another model"
            )

    def _refuse_long(self, instruction: str, num_ids: int) -> None:
        config = self._model.config
        answer = config.num_action_tokens if config.head == "token_bins" else 0  # OFT's placeholders are in the layout
        length = self._model.layout(num_ids).num_tokens + answer
        if config.max_tokens is not None and length > config.max_tokens:
            raise ValueError(
                f"instruction: expected a prompt and answer of at most {config.max_tokens} tokens ({config.name}), got "
                f"{length}, {num_ids} of them text ({instruction[:40]!r}...); shorten it"
            )
