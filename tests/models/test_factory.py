"""Checkpoints: round trip, and a clear error for everything that can be wrong with one."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.models.twins import small
from vlacache.models import factory
from vlacache.models.config import VLAConfig
from vlacache.models.factory import ModelConfig, load_checkpoint, load_model, save_checkpoint, untrained
from vlacache.models.tiny import TINY_OFT


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_checkpoint(untrained(small(TINY_OFT), 3), tmp_path / "ckpt", dtype=torch.float32)
    return tmp_path / "ckpt"


def test_round_trip_is_bit_equal(folder: Path) -> None:
    ours, theirs = untrained(small(TINY_OFT), 3).state_dict(), load_checkpoint(folder, "tiny_oft").state_dict()
    assert ours.keys() == theirs.keys() and all(torch.equal(ours[k], theirs[k]) for k in ours)


def test_a_loaded_model_computes_what_the_saved_one_did(folder: Path) -> None:
    saved, read = untrained(small(TINY_OFT), 3).eval(), load_checkpoint(folder, "tiny_oft").eval()
    frames = torch.randint(0, 255, (1, 2, 3, 56, 56)).float()
    ids, proprio = torch.tensor([[1, 5, 6]]), torch.zeros(1, 8)
    with torch.inference_mode():
        # Not bit-equal: memory mapped weights are aligned differently and take another GEMM kernel.
        assert torch.allclose(saved(frames, ids, proprio), read(frames, ids, proprio), atol=1e-5)


def test_checkpoint_is_named_by_content_not_by_path(folder: Path) -> None:
    info = load_model(ModelConfig("tiny_oft", checkpoint=str(folder), dtype="float32")).info
    assert info.weights == "trained" and info.checkpoint.startswith("ckpt@") and str(folder) not in info.checkpoint


def test_untrained_weights_depend_on_the_seed_alone() -> None:
    torch.manual_seed(1)
    a = untrained(small(TINY_OFT), 0)
    torch.manual_seed(2)
    before = torch.random.get_rng_state()
    b, c = untrained(small(TINY_OFT), 0), untrained(small(TINY_OFT), 1)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.equal(a.embed.weight, b.embed.weight) and not torch.equal(a.embed.weight, c.embed.weight)


def test_config_round_trip(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(TINY_OFT.to_json())
    assert VLAConfig.from_json(tmp_path / "config.json") == TINY_OFT


def corrupt_truncate(folder: Path) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def corrupt_missing_key(folder: Path) -> None:
    state = load_file(folder / "model.safetensors")
    state.pop("embed.weight")
    save_file(state, folder / "model.safetensors")


def corrupt_extra_key(folder: Path) -> None:
    state = load_file(folder / "model.safetensors")
    save_file({**state, "surplus": torch.zeros(1)}, folder / "model.safetensors")


def corrupt_shape(folder: Path) -> None:
    state = load_file(folder / "model.safetensors")
    save_file({**state, "embed.weight": torch.zeros(3, 3)}, folder / "model.safetensors")


def corrupt_config(folder: Path) -> None:
    (folder / "config.json").write_text('{"name": ')


@pytest.mark.parametrize(
    ("corrupt", "message"),
    [
        (corrupt_truncate, "truncated or corrupt"),
        (corrupt_missing_key, r"missing \['embed.weight'\]"),
        (corrupt_extra_key, r"unknown \['surplus'\]"),
        (corrupt_shape, r"wrong shape \['embed.weight'\]"),
        (corrupt_config, "expected a model config"),
    ],
)
def test_a_damaged_checkpoint_is_refused(folder: Path, corrupt, message: str) -> None:
    corrupt(folder)
    with pytest.raises(ValueError, match=message):
        load_checkpoint(folder, "tiny_oft")


def test_missing_and_foreign_checkpoints(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"expected config.json"):
        load_checkpoint(tmp_path / "nowhere", "tiny_oft")
    with pytest.raises(ValueError, match="use model=tiny_oft"):
        load_checkpoint(folder, "tiny_openvla")


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (ModelConfig("tiny_of"), "did you mean 'tiny_oft'"),
        (ModelConfig("tiny_oft", dtype="fp16"), "model.dtype"),
        (ModelConfig("tiny_oft", decode="greedy"), "model.decode"),
        (ModelConfig("tiny_oft", revision="main"), "model.revision"),
        (ModelConfig("tiny_oft", num_open_loop_steps=9, dtype="float32"), r"expected 1\.\.8"),
    ],
)
def test_bad_model_config_is_refused(config: ModelConfig, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load_model(config)


@pytest.mark.parametrize(
    ("flags", "dtype"),
    [({"avx512_bf16": True}, torch.bfloat16), ({"amx_bf16": True}, torch.bfloat16), ({"avx2": True}, torch.float32)],
)
def test_auto_dtype_follows_the_processors_flags(monkeypatch, flags: dict[str, bool], dtype: torch.dtype) -> None:
    """By flags, not by the clock: a run that is continued on a busy machine must not change its dtype."""
    monkeypatch.setattr(factory.platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: flags, raising=False)
    monkeypatch.setattr(factory, "_gemm_seconds", lambda dtype: pytest.fail("the clock was asked"))
    assert factory.choose_dtype(torch.device("cpu")) is dtype


def test_auto_dtype_probes_where_there_are_no_flags(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(factory.platform, "machine", lambda: "riscv64")
    times = {torch.float32: 2.0, torch.bfloat16: 1.0}
    monkeypatch.setattr(factory, "_gemm_seconds", lambda dtype: times[dtype])
    assert factory.choose_dtype(torch.device("cpu")) is torch.bfloat16
    times[torch.bfloat16] = 9.0
    assert factory.choose_dtype(torch.device("cpu")) is torch.float32
