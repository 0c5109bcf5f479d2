"""What the measuring scripts share: one line and exit code 2 for what the caller can mend, memory before loading."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from tests.bench.scripts import load_script
from vlacache.bench.command import one_line_errors
from vlacache.bench.ladder import DENSE, EAGER, SCRIPT, arm_names, build_arms, choose_names
from vlacache.bench.memory import ladder_memory
from vlacache.bench.random_weights import random_config, random_model
from vlacache.models.decoder import Decoder
from vlacache.models.factory import LoadedModel

SCRIPTS = ("bench_latency", "replay_fidelity", "record_cache_trace")
GIB = 2**30


def failed(script: ModuleType, capsys: pytest.CaptureFixture[str]) -> str:
    """The one line of a run that ends in exit code 2."""
    with pytest.raises(SystemExit) as caught:
        script.main()
    shown = capsys.readouterr().err
    assert caught.value.code == 2 and shown.startswith("error: ") and shown.count("\n") == 1, shown
    return shown


@pytest.mark.parametrize("name", SCRIPTS)
@pytest.mark.parametrize(
    "error", [RuntimeError("CUDA out of memory.\nTried to allocate"), ValueError("a"), PermissionError(13, "no", "x")]
)
def test_every_script_ends_in_one_line(
    repo_root: Path, name: str, error: Exception, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    script = load_script(repo_root, name)

    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(script, "build_model", fail)
    monkeypatch.setattr("sys.argv", [name])
    assert " ".join(str(error).split()) in failed(script, capsys)


def test_a_fault_of_ours_keeps_its_traceback() -> None:
    with pytest.raises(KeyError), one_line_errors():
        raise KeyError("x")


@pytest.mark.parametrize("name", SCRIPTS)
def test_files_that_are_no_episode(
    repo_root: Path, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    script = load_script(repo_root, name)
    np.save(tmp_path / "array.npy", np.zeros(3))
    (tmp_path / "empty.npz").write_bytes(b"")
    for file in ("array.npy", "empty.npz"):
        flag = "--episodes" if name == "replay_fidelity" else "--episode"
        monkeypatch.setattr("sys.argv", [name, "--device", "cpu", flag, str(tmp_path / file)])
        assert f"{file}: expected a recorded episode (.npz)" in failed(script, capsys)


def test_activations_that_are_not_finite(
    repo_root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What a model with broken weights does, through the whole script."""
    forward = Decoder.prefill
    monkeypatch.setattr(Decoder, "prefill", lambda *args: forward(*args) * float("nan"))
    words = ["--model", "openvla_oft", "--random-weights", "--scale", "tiny", "--calls", "2", "--arms", "dense"]
    monkeypatch.setattr("sys.argv", ["bench_latency", "--device", "cpu", "--dtype", "float32", *words])
    assert "expected finite actions" in failed(load_script(repo_root, "bench_latency"), capsys)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--random-weights", "--option", "decode=banana"], "model.decode: expected one of"),
        (["--random-weights", "--option", "num_open_loop_steps=9"], "expected 1..8"),
        (["--random-weights", "--unnorm-key", "a"], "expected no --unnorm-key beside it"),
        (["--random-weights", "--revision", "a"], "expected no --revision beside it"),
        (["--checkpoint", "x"], "--scale: expected --random-weights beside it"),
        (["--option", "num_open_loop_steps=0"], "--scale: expected --random-weights"),
        (["--random-weights", "--device", "foo"], "--device: expected cpu, cuda or cuda:<number>, got 'foo'"),
        (["--random-weights", "--device", "cuda:99"], "--device: got cuda:99, but torch sees"),
    ],
)
def test_model_options_that_do_not_fit(
    repo_root: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    message: str,
) -> None:
    monkeypatch.setattr(
        "sys.argv", ["bench_latency", "--model", "openvla_oft", "--scale", "tiny", "--device", "cpu", *words]
    )
    assert message in failed(load_script(repo_root, "bench_latency"), capsys)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("bench_latency", ["--calls", "-60"]),
        ("bench_latency", ["--warmup", "-1"]),
        ("bench_latency", ["--repeats", "0"]),
        ("replay_fidelity", ["--calls", "0"]),
        ("replay_speculation", ["--calls", "1"]),
    ],
)
def test_counts_are_whole_numbers(
    repo_root: Path, capsys: pytest.CaptureFixture[str], name: str, words: list[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        load_script(repo_root, name).build_parser().parse_args(words)
    assert caught.value.code == 2 and f"argument {words[0]}: expected a whole number of at" in capsys.readouterr().err


def test_too_little_memory_for_the_arms(
    repo_root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """15.4 GiB hold OFT's weights, not the 16 arms that take turns."""
    monkeypatch.setattr("vlacache.models.memory.free_memory", lambda device: 16 * GIB)
    monkeypatch.setattr("vlacache.bench.random_weights._fill", lambda *_: pytest.fail("it was built"))
    words = ["bench_latency", "--model", "openvla_oft", "--random-weights", "--device", "cpu", "--dtype", "bfloat16"]
    monkeypatch.setattr("sys.argv", words)
    shown = failed(load_script(repo_root, "bench_latency"), capsys)
    assert "expected 21.3 GiB of free memory" in shown and "for K/V of 16 arms" in shown
    assert "GiB for attention maps" in shown and "got 16.0 GiB" in shown


def test_memory_of_the_ladder_by_hand() -> None:
    """OFT: 512 patches, 56 placeholders, 80 others; K and V in 32 layers of 4096, maps of 32 x 32 heads."""
    config = random_config("openvla_oft", "7b")
    found = ladder_memory(3, has_maps=True)(config, torch.bfloat16)
    assert found == {"K/V of 3 arms": 3 * 2 * 32 * 4096 * 648 * 2, "attention maps": 32 * 32 * 648**2 * 2}
    assert list(ladder_memory(1, has_maps=False)(config, torch.float32)) == ["K/V of 1 arms"]


def test_arms_are_known_before_there_is_a_model(episode) -> None:
    loaded = random_model("openvla_oft", "tiny", device=torch.device("cpu"), dtype=torch.float32)
    variants = [("num_open_loop_steps", 1)]
    names = list(build_arms(loaded, None, episode.observations(8, loaded.info.views)[0], variants))
    assert names == [name for name in arm_names(variants) if name in names]
    assert set(arm_names(variants)) - set(names) <= {"fixed_MACs/1.5"}
    assert choose_names(names, [SCRIPT]) == [SCRIPT, DENSE, "dense, num_open_loop_steps=1"]
    assert choose_names(names, None) == names and EAGER in names


@pytest.mark.parametrize("name", ["bench_latency", "replay_fidelity", "replay_speculation"])
def test_a_file_that_cannot_be_written_is_refused_before_anything_is_measured(
    repo_root: Path, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    script = load_script(repo_root, name)
    monkeypatch.setattr(script, "build_model", lambda *args: pytest.fail("a model was built"))
    (tmp_path / "file").write_text("")
    for output in (tmp_path, tmp_path / "file" / "x.json"):
        monkeypatch.setattr("sys.argv", [name, "--output", str(output)])
        assert "expected a file to write" in failed(script, capsys)


@pytest.mark.parametrize("word", ["nan", "-1", "inf", "much"])
def test_a_tolerance_is_a_finite_number(
    repo_root: Path, word: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["replay_fidelity", "--tolerance", word])
    with pytest.raises(SystemExit):
        load_script(repo_root, "replay_fidelity").main()
    assert f"expected a finite number of at least 0, got '{word}'" in capsys.readouterr().err


def test_the_trace_of_another_episode_is_not_taken_by_itself(repo_root: Path, twins: dict[str, LoadedModel]) -> None:
    script = load_script(repo_root, "bench_latency")
    source = script.RecordedEpisode.load().source
    trace = script.choose_trace("auto", twins["openvla_oft"], source)
    assert trace is not None and trace.source.episode == source
    with pytest.raises(ValueError, match="expected one of the episode \\(another\\)"):
        script.choose_trace("auto", twins["openvla_oft"], "another")
    assert script.choose_trace(str(script.DEFAULT_TRACE), twins["openvla_oft"], "another") is not None
