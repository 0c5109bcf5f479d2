"""Action heads and their numbers."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from vlacache.models.heads import L1ChunkHead, bin_centres, detokenize, normalize, unnormalize
from vlacache.models.tokenizer import TinyTokenizer, prompt_text


def test_all_256_ids_against_the_published_rule() -> None:
    """V = 32000: 31999 is the lowest bin, 31745 and 31744 both the highest."""
    values = detokenize(np.arange(31744, 32000), 32000, 256)
    edges = np.linspace(-1, 1, 256)
    centres = (edges[:-1] + edges[1:]) / 2
    for token, value in zip(range(31744, 32000), values, strict=True):
        assert value == centres[min(32000 - token - 1, 254)]
    assert values[-1] == pytest.approx(-0.99608, abs=1e-5)
    assert values[0] == values[1] == pytest.approx(0.99608, abs=1e-5)
    assert len(bin_centres(256)) == 255


def test_a_text_id_is_clipped_to_an_end_bin() -> None:
    assert detokenize(np.array([17]), 32000, 256) == bin_centres(256)[254]


def test_unnormalize_and_normalize_are_inverse() -> None:
    low, high = (-0.3, 0.0, 2.0), (0.2, 1.0, 5.0)
    raw = np.array([[-0.3, 0.5, 5.0]], np.float32)
    scaled = normalize(torch.from_numpy(raw), low, high)
    assert scaled.tolist()[0] == pytest.approx([-1.0, 0.0, 1.0], abs=1e-6)
    assert unnormalize(scaled.numpy(), low, high) == pytest.approx(raw, abs=1e-6)


def test_normalize_clips() -> None:
    assert normalize(torch.tensor([9.0, -9.0]), (0.0, 0.0), (1.0, 1.0)).tolist() == [1.0, -1.0]


def test_chunk_head_reads_one_step_from_its_own_placeholders() -> None:
    head = L1ChunkHead(hidden_size=8, chunk_length=4, action_dim=7).eval()
    window = torch.randn(28, 8)
    changed = window.clone()
    changed[7:14] += 1.0  # the placeholders of step 1
    difference = (head(window) - head(changed)).abs().sum(dim=1)
    assert difference[1] > 0 and torch.equal(difference[[0, 2, 3]], torch.zeros(3))


def test_tokenizer_is_small_complete_and_deterministic() -> None:
    tokenizer = TinyTokenizer()
    text = prompt_text("In: What action should the robot take to {instruction}?\nOut:", "Pick up the ketchup ")
    assert "pick up the ketchup ?" in text, "lower case, nothing else: that is all that the published scripts do"
    ids = tokenizer.encode(text)
    assert ids[0] == 1 and ids == tokenizer.encode(text) and max(ids) < tokenizer.vocab_size == 512
    assert len(tokenizer.encode("äöü 漢字 never seen")) > 3  # byte level: nothing is unknown
