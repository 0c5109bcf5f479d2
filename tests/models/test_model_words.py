"""Words of ``model=`` that do not go together."""

from __future__ import annotations

import pytest

from vlacache.models.factory import ModelConfig, load_model


def test_published_models_have_no_random_weights() -> None:
    with pytest.raises(ValueError, match=r"model.checkpoint: openvla needs its published weights"):
        load_model(ModelConfig("openvla"))
    with pytest.raises(ValueError, match="did you mean 'openvla_oft'"):
        load_model(ModelConfig("openvla_of", "x"))
    for key in ({"unnorm_key": "libero_spatial"}, {"input_ids": (1, 2)}):
        with pytest.raises(ValueError, match="only for published checkpoints"):
            load_model(ModelConfig("tiny_oft", **key))
