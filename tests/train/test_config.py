"""Numbers of a training run from the command line."""

from __future__ import annotations

import pytest

from vlacache.train.config import TRAIN_DEFAULTS, TrainConfig


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["lr=1"], "expected name=value with a name of"),
        (["samples"], "expected name=value with a name of"),
        (["samples=many"], "samples: expected int, got 'many'"),
        (["samples=5", "samples=6"], "samples: expected it once"),
        (["model=tiny_openvla"], "the model is chosen by --model"),
        (["median_labels=0"], "median_labels: expected true or false, got '0'"),
        (["keep_shares=0.5:1"], "from progress 0"),
        (["keep_shares=0:0.5,nan:1"], "progress in"),
        (["keep_shares=half"], "keep_shares: expected progress:share"),
        (["batch_size=0"], "at least 1"),
        (["learning_rate=nan"], "learning_rate: expected a finite number"),
        (["learning_rate=0"], "learning_rate: expected a number above 0"),
        (["clip_norm=-1"], "clip_norm: expected a number above 0"),
        (["clip_norm=inf"], "clip_norm: expected a finite number"),
        (["aux_weight=-3"], "aux_weight: expected at least 0"),
        (["weight_decay=-0.1"], "weight_decay: expected at least 0"),
        (["shift_pixels=-1"], "shift_pixels: expected at least 0"),
        (["beta2=1"], "beta2: expected 0 <= value < 1"),
    ],
)
def test_bad_numbers_are_refused(words: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TrainConfig().override(words)


def test_numbers_from_the_command_line() -> None:
    config = TRAIN_DEFAULTS["tiny_oft"].override(["samples=5", "keep_shares=0:0.5,0.9:1", "precision=float32"])
    assert (config.samples, config.keep_shares, config.precision) == (5, ((0.0, 0.5), (0.9, 1.0)), "float32")


@pytest.mark.parametrize(("text", "value"), [("false", False), ("False", False), ("true", True), ("True", True)])
def test_booleans_mean_what_they_say(text: str, value: bool) -> None:
    for model in TRAIN_DEFAULTS.values():
        assert model.override([f"median_labels={text}"]).median_labels is value
