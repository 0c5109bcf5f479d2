"""The whole benchmark on twins: arms, rows, floors, JSON, table and command line."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from tests.bench.measured import measured
from tests.bench.scripts import load_script
from vlacache.bench import roofline
from vlacache.bench.benchmark import Benchmark, run_benchmark
from vlacache.bench.command import parse_variants
from vlacache.bench.compare import measure, summarize, timed_call
from vlacache.bench.episode import RecordedEpisode
from vlacache.bench.ladder import (
    DENSE,
    EAGER,
    MAC_RATIO,
    MAC_RATIO_ARM,
    SCRIPT,
    arm_names,
    build_arms,
    build_rung,
    ratio_for_macs,
)
from vlacache.bench.random_weights import PROMPT_IDS, random_model
from vlacache.bench.roofline import DeviceRates
from vlacache.bench.table import ladder_table
from vlacache.models.factory import LoadedModel, ModelConfig, load_model
from vlacache.models.twin import write_openvla_twin
from vlacache.types import STAGES, ActionChunk, InferenceStats, Observation

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def small_probes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rates are needed here, not right ones: ``test_roofline`` measures with the real sizes."""
    monkeypatch.setitem(roofline.COPY_BYTES, "cpu", 1 << 20)
    monkeypatch.setitem(roofline.GEMM_SIDE, "cpu", 128)


def test_rung_compares_warm_calls_frame_by_frame(twins: dict[str, LoadedModel]) -> None:
    arms = {
        DENSE: measured([50.0, 10.0, 20.0], ["policy_none"] * 3),
        "adaptive": measured([70.0, 5.0, 10.0], ["cold", None, None], macs=50),
        SCRIPT: measured([90.0, 30.0, 60.0], ["policy_none"] * 3, macs=400),
    }
    model, rates = twins["openvla_oft"].model, DeviceRates(1e15, {"float32": 1e4})
    rung = build_rung("adaptive", arms, model, rates)
    assert (rung.total_ms, rung.wall_ms, rung.against_dense) == (7.5, 8.5, 2.0)
    assert rung.distance == pytest.approx(7.5 / rung.floor_ms["total"])
    script = build_rung(SCRIPT, arms, model, rates)
    assert script.against_dense == pytest.approx(1 / 3)
    assert script.floor_ms == build_rung(DENSE, arms, model, rates).floor_ms, "eager rungs have the dense floor"
    assert script.macs == 400 and rung.floor_gain > 1


def test_calls_that_met_a_new_shape_are_in_no_figure(twins: dict[str, LoadedModel]) -> None:
    """A graph's first use runs eagerly inside the timed call: left out, in both arms' frame, and counted below."""
    slow = measured([50.0, 900.0, 10.0, 10.0], ["cold", None, None, None])
    first_use = replace(slow.calls[0][1].stats, is_warmup=True, runtime="graphs")
    slow.calls[0][1] = replace(slow.calls[0][1], stats=first_use)
    last = slow.calls[0][-1]
    slow.calls[0][-1] = replace(last, stats=replace(last.stats, runtime="graphs, 3 refused"))
    arms = {DENSE: measured([50.0, 20.0, 20.0, 20.0], ["policy_none"] * 4), "adaptive": slow}
    rungs = {name: build_rung(name, arms, twins["openvla"].model, DeviceRates(1e15, {"float32": 1e4})) for name in arms}
    row = summarize("adaptive", slow, arms[DENSE])
    assert (rungs["adaptive"].total_ms, rungs["adaptive"].against_dense, row.end_to_end) == (10.0, 2.0, 2.0)
    assert row.p90_ms < 100 and row.episode == pytest.approx((50 + 20 + 20) / (50 + 10 + 10))
    assert (rungs["adaptive"].warmup_calls, rungs[DENSE].warmup_calls) == (1, 0)
    table = ladder_table(rungs.values())
    assert "left out, met a shape for the first time: adaptive 1 calls" in table
    assert "launched as graphs, 3 refused: adaptive" in table and "launched as unknown: dense" in table
    slow.calls[0][2:] = [slow.calls[0][1]] * 2
    with pytest.raises(ValueError, match="expected calls after the warm-up, got none"):
        slow.used_cache()


@pytest.mark.parametrize("name", sorted(PROMPT_IDS))
def test_random_twins_from_arms_to_table(name: str, episode: RecordedEpisode) -> None:
    loaded = random_model(name, "tiny", device=CPU, dtype=torch.float32)
    observations = episode.observations(loaded.num_open_loop_steps, loaded.info.views)[:3]
    only = [SCRIPT, EAGER, "adaptive at 0", "static", "fixed_ratio=0.4"]
    result = run_benchmark(loaded, observations, episode=episode.source, trace=None, repeats=1, only=only, warmup=0)
    assert [rung.arm for rung in result.rungs] == [SCRIPT, EAGER, DENSE, "adaptive at 0", "static", "fixed_ratio=0.4"]
    for rung in result.rungs:
        # The clock of the stages starts after and ends before the one on the wall.
        assert 0 < rung.total_ms <= rung.wall_ms and set(rung.stage_ms) == set(STAGES)
        assert rung.distance == pytest.approx(rung.total_ms / rung.floor_ms["total"])
    rungs = {rung.arm: rung for rung in result.rungs}
    assert rungs["fixed_ratio=0.4"].macs < rungs[DENSE].macs < rungs["adaptive at 0"].macs
    assert rungs[SCRIPT].macs == rungs[EAGER].macs > rungs[DENSE].macs
    assert "means nothing" in result.show() and "eager+attentions" in result.show()


def test_unknown_arm_and_too_few_calls(twins: dict[str, LoadedModel], episode: RecordedEpisode) -> None:
    loaded = twins["openvla_oft"]
    observations = episode.observations(8, loaded.info.views)[:2]
    with pytest.raises(ValueError, match=r"--arms: expected some of .* got \['adaptve'\]"):
        run_benchmark(loaded, observations, episode="", trace=None, repeats=1, only=["adaptve"])
    with pytest.raises(ValueError, match="at least 2 policy calls, got 1"):
        run_benchmark(loaded, observations[:1], episode="", trace=None, repeats=1)


def test_the_mac_ratio_arm_has_that_ratio(episode: RecordedEpisode) -> None:
    loaded = load_model(ModelConfig("tiny_oft", dtype="float32"))
    observations = episode.observations(8, loaded.info.views)[:2]
    arms = build_arms(loaded, None, observations[0])
    macs = {}
    for name in (DENSE, MAC_RATIO_ARM):
        arms[name].reset(0)
        macs[name] = [arms[name].infer(observation).stats.macs for observation in observations][1]
    assert macs[DENSE] / macs[MAC_RATIO_ARM] == pytest.approx(MAC_RATIO, rel=0.01)
    assert ratio_for_macs(loaded, observations[0], 50.0) is None


def test_every_arm_is_timed_on_a_synchronised_wall(monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[str] = []

    class Fake:
        def infer(self, observation: Observation) -> ActionChunk:
            events.append("infer")
            return ActionChunk(np.zeros((1, 7), np.float32), InferenceStats())

    monkeypatch.setattr("vlacache.bench.compare.synchronize", lambda device: events.append("sync"))
    monkeypatch.setattr("vlacache.bench.compare.time.perf_counter", lambda: events.append("clock") or 0.0)
    timed_call(Fake(), None, CPU)  # type: ignore[arg-type]
    assert events == ["sync", "clock", "infer", "sync", "clock"]


def test_warm_up_is_left_out_and_arms_take_turns() -> None:
    """Every arm sees every frame once per repetition, in changing order, and is reset before each repetition."""
    seen: list[tuple[str, int]] = []

    class Fake:
        def __init__(self, name: str) -> None:
            self.name = name

        def reset(self, seed: int) -> None:
            seen.append((self.name, -1))

        def infer(self, observation: int) -> ActionChunk:
            seen.append((self.name, observation))
            repetition = sum(1 for name, frame in seen if name == self.name and frame == -1)
            return ActionChunk(np.zeros((1, 7), np.float32), InferenceStats(total_ms=float(repetition)))

    arms = {name: Fake(name) for name in "abc"}
    result = measure(arms, [0, 1], episodes=3, warmup=2)  # type: ignore[arg-type, list-item]
    assert result["a"].column("total_ms").tolist() == [[3.0, 3.0], [4.0, 4.0], [5.0, 5.0]]
    calls = [name for name, frame in seen if frame >= 0]
    turns = ["".join(calls[i : i + 3]) for i in range(0, len(calls), 3)]
    assert all(sorted(turn) == ["a", "b", "c"] for turn in turns) and len(set(turns)) > 1
    assert [seen[9 * i : 9 * i + 3] for i in range(5)] == [[("a", -1), ("b", -1), ("c", -1)]] * 5


def test_results_are_named_by_model_and_device(repo_root: Path, twins: dict[str, LoadedModel]) -> None:
    script = load_script(repo_root, "bench_latency")
    info = replace(twins["openvla"].info, weights="trained")
    random = replace(info, checkpoint="random, 7b", weights="untrained")
    plain = ["--warmup", "1", "--repeats", "9", "--device", "cpu", "--random-weights", "--output", "x.json"]
    names = {
        "openvla": (info, plain), "openvla_random_7b": (random, plain),
        "openvla_untrained": (replace(info, weights="untrained"), plain),
        "openvla_compare_decode_speculative": (info, ["--compare", "decode=speculative"]),
        "openvla_arms_dense_adaptive": (info, ["--arms", "dense,adaptive"]),
        "openvla_calls_20": (info, ["--calls", "20"]), "openvla_dtype_float32": (info, ["--dtype", "float32"]),
        "openvla_episode_a_trace_none": (info, ["--episode", "/b/a.npz", "--trace", "none"]),
    }  # fmt: skip
    for expected, (model, words) in names.items():
        args = script.build_parser().parse_args(words)
        path = script.default_output(SimpleNamespace(model=model, machine={"device": "NVIDIA H100"}), args)
        assert path == repo_root / "results" / "bench" / f"{expected}_nvidia_h100.json"
    args = script.build_parser().parse_args(["--arms", ",".join(arm_names())])
    assert len(script.default_output(SimpleNamespace(model=info, machine={"device": "x"}), args).name) < 100


def test_speculation_is_named_by_weights_and_gpu(repo_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The plain command on a CPU keeps the name of the file that is in the repository."""
    script = load_script(repo_root, "replay_speculation")
    monkeypatch.setattr(script, "check_device", torch.device)
    monkeypatch.setattr(script, "machine", lambda device: {"device": "NVIDIA H100"})
    trained = SimpleNamespace(name="tiny_openvla", weights="trained", checkpoint="tiny_openvla@0")
    untrained = SimpleNamespace(name="tiny_openvla", weights="untrained", checkpoint="seed 0")
    for info, words, expected in (
        (trained, ["--episodes", "results/episodes"], "speculation_tiny_openvla"),
        (untrained, ["--calls", "5"], "speculation_tiny_openvla_untrained_calls_5"),
        (trained, ["--device", "cuda"], "speculation_tiny_openvla_nvidia_h100"),
    ):
        args = script.build_parser().parse_args(["--device", "cpu", *words])
        assert script.default_output(SimpleNamespace(model=info), args).name == f"{expected}.json"
    assert (repo_root / "results" / "bench" / "speculation_tiny_openvla.json").is_file()


def test_variants_run_beside_the_dense_rung(twins: dict[str, LoadedModel], episode: RecordedEpisode) -> None:
    loaded = twins["openvla_oft"]
    observations = episode.observations(8, loaded.info.views)[:2]
    variants = parse_variants(["num_open_loop_steps=1", "num_open_loop_steps=2"], "openvla_oft", "cpu")
    result = run_benchmark(
        loaded, observations, episode="", trace=None, repeats=1, only=[], variants=variants, warmup=0
    )
    assert [rung.arm for rung in result.rungs] == [
        DENSE, "dense, num_open_loop_steps=1", "dense, num_open_loop_steps=2",
    ]  # fmt: skip
    assert result.rungs[1].accepted_tokens is None and "num_open_loop_steps=1 by stage" in result.show()
    with pytest.raises(ValueError, match=r"num_open_loop_steps: expected 1\.\.8 .* got 9"):
        run_benchmark(
            loaded, observations, episode="", trace=None, repeats=1, variants=[("num_open_loop_steps", 9)], warmup=0
        )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["device=cuda"], "--compare: expected some of"),
        (["decode=speculativ"], "model.decode: expected one of"),
        (["decode=speculative"], "openvla_oft has none"),
        (["runtime=graphs"], "needs a CUDA device"),
        (["runtime=eager", "runtime=eager"], "each key=value once"),
        (["num_open_loop_steps=abc"], "expected a whole number of at least 1, got 'abc'"),
        (["num_open_loop_steps=0"], "expected a whole number of at least 1, got 0"),
    ],
)
def test_variants_that_do_not_exist_are_refused(words: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_variants(words, "openvla_oft", "cpu")


def test_command_line_on_an_uninstalled_checkout(repo_root: Path, tmp_path: Path) -> None:
    """Without Hydra, a simulator or the installed package; the JSON has what the table shows."""
    output = tmp_path / "out.json"
    command = [
        sys.executable, str(repo_root / "scripts" / "bench_latency.py"), "--model", "openvla_oft", "--random-weights",
        "--scale", "tiny", "--device", "cpu", "--dtype", "float32", "--arms", "eager+attentions,adaptive", "--calls",
        "2", "--repeats", "1", "--warmup", "0", "--output", str(output),
    ]  # fmt: skip
    blocked = "import sys, runpy\nfor name in ('hydra', 'mujoco', 'robosuite', 'omegaconf', 'wandb'):\n"
    blocked += "    sys.modules[name] = None\nsys.argv = sys.argv[1:]\nrunpy.run_path(sys.argv[0], run_name='__main__')"
    done = subprocess.run(
        [sys.executable, "-c", blocked, *command[1:]], cwd=tmp_path, capture_output=True, text=True, check=False,
        env={"PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    data = json.loads(output.read_text())
    assert [rung["arm"] for rung in data["rungs"]] == ["eager+attentions", "dense", "adaptive"]
    assert data["schema_version"] == 4 and data["rates"]["macs_per_s"]["float32"] > 0
    assert len(data["total_ms"]["dense"]) == 1 and len(data["total_ms"]["dense"][0]) == 2
    assert f"{data['rungs'][1]['total_ms']:.2f}" in done.stdout
    stored = Benchmark.read(output)
    assert stored.show() in done.stdout, "what is read back is what was shown"
    assert stored.command.startswith("python scripts/bench_latency.py --model openvla_oft")
    assert str(tmp_path) not in output.read_text(), "a record holds no path of this machine"
    output.write_text(json.dumps({**data, "schema_version": 2}))
    with pytest.raises(ValueError, match="expected a benchmark of version 4, got 2"):
        Benchmark.read(output)


def test_the_recorder_refuses_untrained_weights(
    repo_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    twin = tmp_path / "twin"
    write_openvla_twin(twin, "openvla")
    words = ["--model", "openvla", "--checkpoint", str(twin), "--unnorm-key", "libero_spatial", "--device", "cpu"]
    monkeypatch.setattr("sys.argv", ["record_cache_trace.py", *words, "--output", str(tmp_path / "t.npz")])
    with pytest.raises(SystemExit) as caught:
        load_script(repo_root, "record_cache_trace").main()
    assert caught.value.code == 2 and "error: expected trained weights, got untrained" in capsys.readouterr().err
    assert not (tmp_path / "t.npz").exists()
