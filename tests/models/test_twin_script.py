"""``scripts/make_tiny_checkpoint.py`` as a command."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

from vlacache.models.factory import ModelConfig, load_model


def test_the_script_writes_a_twin(tmp_path: Path, repo_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "twin"
    arguments = ["make_tiny_checkpoint.py", "--model", "openvla_oft", "--output", str(target), "--seed", "3"]
    monkeypatch.setattr("sys.argv", arguments)
    runpy.run_path(str(repo_root / "scripts" / "make_tiny_checkpoint.py"), run_name="__main__")
    loaded = load_model(ModelConfig("openvla_oft", str(target), unnorm_key="libero_spatial", dtype="float32"))
    assert loaded.info.views == ("agentview", "wrist") and loaded.num_open_loop_steps == 8
