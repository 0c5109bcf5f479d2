"""Fidelity replay: right caches pass, broken ones are caught, and every column is what it says."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.bench.scripts import load_script
from vlacache.bench.episode import RecordedEpisode
from vlacache.bench.fidelity import Replay, check_still, compare, replay
from vlacache.bench.fidelity_table import fidelity_table, still_table
from vlacache.bench.phases import PHASES, phases_of
from vlacache.core.kv_cache import KVCache
from vlacache.core.policies import build_cache_policy
from vlacache.models.factory import LoadedModel, ModelConfig, load_model
from vlacache.models.policy import CachedPolicy
from vlacache.models.twin import write_openvla_twin

MODELS = ("openvla", "openvla_oft", "cogact")
REUSING = {"reuse_ratio": 0.8, "min_saving": 0.0, "max_backoff": 0}
Write = Callable[..., None]


def arms(loaded: LoadedModel, cache: str = "fixed_ratio", **numbers: object) -> tuple[CachedPolicy, CachedPolicy]:
    """Dense, and a policy on the same weights."""
    dense = CachedPolicy(loaded, build_cache_policy("none"))
    return dense, CachedPolicy(loaded, build_cache_policy(cache, {**REUSING, **numbers}))


@pytest.mark.parametrize("name", MODELS)
def test_a_right_cache_changes_nothing_on_a_still_picture(
    twins: dict[str, LoadedModel], episode: RecordedEpisode, name: str
) -> None:
    loaded = twins[name]
    check = check_still("x", *arms(loaded), episode.observations(20, loaded.info.views)[:3], 1e-4)
    assert check.passed is True and check.reuse_ratio == pytest.approx(0.8, abs=0.02)


def shifted(write: Write) -> Write:
    """Reused slots end up one position off: every write that is not of a whole prompt lands beside its place."""

    def broken(self: KVCache, layer: int, rows: Tensor | None, kv: Tensor, **more: int) -> None:
        write(self, layer, None if rows is None else (rows + 1) % (int(rows.max()) + 1), kv, **more)

    return broken


def never_stored(write: Write) -> Write:
    """A cold call whose K/V of one layer are lost: reused rows read zeros."""

    def broken(self: KVCache, layer: int, rows: Tensor | None, kv: Tensor, **more: int) -> None:
        if layer == 2 and rows is None and kv.shape[0] > 1:
            kv = kv * torch.tensor([1.0, 0.0]).to(kv)[:, None, None]
        write(self, layer, rows, kv, **more)

    return broken


@pytest.mark.parametrize("break_it", [shifted, never_stored])
@pytest.mark.parametrize("name", MODELS)
def test_a_broken_cache_is_caught(
    twins: dict[str, LoadedModel],
    episode: RecordedEpisode,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    break_it: Callable[[Write], Write],
) -> None:
    """Only the policy's own storage is broken, as a fault in the cached path would be."""
    loaded = twins[name]
    dense, policy = arms(loaded)

    class Broken(KVCache):
        write = break_it(KVCache.write)

    monkeypatch.setattr(policy.session, "_new_cache", _new_cache_of(policy, Broken))
    check = check_still("x", dense, policy, episode.observations(20, loaded.info.views)[:3], 1e-4)
    assert check.passed is False, f"largest difference {check.max_abs}"
    assert check.kv_error > 1e-3 and check.max_abs > 1e-3
    assert "BROKEN" in still_table([check])


def _new_cache_of(policy: CachedPolicy, kind: type[KVCache]) -> Callable[[int], KVCache]:
    shape = policy.session.shape
    return lambda capacity: kind(
        shape.num_layers, shape.num_heads, capacity, shape.head_dim, dtype=torch.float32, device=torch.device("cpu")
    )


def test_a_fault_that_the_actions_hide_is_caught(episode: RecordedEpisode, monkeypatch: pytest.MonkeyPatch) -> None:
    """The untrained tiny_openvla says the same tokens whatever it sees; its K/V do not."""
    loaded = load_model(ModelConfig("tiny_openvla", dtype="float32"))
    dense, policy = arms(loaded)

    class Broken(KVCache):
        write = shifted(KVCache.write)

    monkeypatch.setattr(policy.session, "_new_cache", _new_cache_of(policy, Broken))
    check = check_still("x", dense, policy, episode.observations(20, loaded.info.views)[:1], 1e-4)
    assert check.passed is False and check.kv_error > 1e-3
    assert check_still("x", *arms(loaded), episode.observations(20, loaded.info.views)[:1], 1e-4).passed


def test_no_verdict_where_nothing_was_reused_or_rounding_decides(
    twins: dict[str, LoadedModel], episode: RecordedEpisode
) -> None:
    loaded = twins["openvla_oft"]
    observations = episode.observations(20, loaded.info.views)[:2]
    idle = check_still("x", *arms(loaded, reuse_ratio=0.0), observations, 1e-4)
    assert (idle.passed, idle.reuse_ratio) == (None, 0.0)
    assert check_still("x", *arms(loaded), observations, None).passed is None


@pytest.mark.parametrize("name", MODELS)
def test_the_dense_path_against_itself_has_no_error(
    twins: dict[str, LoadedModel], episode: RecordedEpisode, name: str
) -> None:
    loaded = twins[name]
    both = [CachedPolicy(loaded, build_cache_policy("none")) for _ in range(2)]
    replayed = replay(both[0], both[1], episode.observations(10, loaded.info.views), phases_of(episode.proprio))
    result = compare("none", [replayed], 0.0)
    assert max(result.overall.max_abs) == 0 and result.overall.gripper_flips == 0
    assert result.first_divergence == [None]
    assert (result.overall.token_flips == [0.0] * 7) == (name == "openvla")
    assert set(result.phases) == set(PHASES)


def test_a_policy_that_reuses_changed_patches_has_errors(
    twins: dict[str, LoadedModel], episode: RecordedEpisode
) -> None:
    loaded = twins["openvla"]
    dense, policy = arms(loaded)
    replayed = replay(dense, policy, episode.observations(4, loaded.info.views), phases_of(episode.proprio))
    result = compare("fixed_ratio", [replayed], 1e-3)
    assert max(result.overall.max_abs) > 0.01
    assert result.overall.token_flips is not None and 0 < max(result.overall.token_flips) <= 1
    assert result.first_divergence[0] is not None and result.first_divergence[0] >= 4, "the cold call is dense"
    assert result.reuse_ratio == pytest.approx(0.8 * (len(replayed.steps) - 1) / len(replayed.steps), abs=0.02)


def test_errors_by_hand() -> None:
    """Two calls of two actions with two entries; the second call is off."""
    baseline = np.zeros((2, 2, 7), np.float32)
    policy = baseline.copy()
    baseline[..., 6], policy[..., 6] = 1.0, 1.0
    policy[1, 0, 0], policy[1, 1, 0], policy[1, 1, 6] = 0.2, -0.4, -1.0
    replayed = Replay(baseline, policy, [0, 8], ["approach", "grasp"], [0.0, 0.5])
    result = compare("x", [replayed, replayed], tolerance=0.3)
    assert result.overall.mean_abs[0] == pytest.approx(0.15) and result.overall.max_abs[0] == pytest.approx(0.4)
    assert (result.overall.gripper_flips, result.overall.actions, result.overall.calls) == (2, 8, 4)
    assert result.phases["approach"].max_abs == [0.0] * 7
    assert result.phases["grasp"].mean_abs[0] == pytest.approx(0.3) and result.phases["grasp"].gripper_flips == 2
    assert result.first_divergence == [8, 8] and result.reuse_ratio == 0.25
    table = fidelity_table([result])
    assert "0.1500 (0.400)" in table and "2/8" in table and "8, 8" in table


@pytest.mark.parametrize("key", ["fractal20220817_data", "libero_spatial"])
def test_token_flips_are_of_the_tokens_themselves(episode: RecordedEpisode, tmp_path: Path, key: str) -> None:
    """Also for a robot whose executed rotations (axis-angle) and gripper (sticky) do not tell the tokens."""
    write_openvla_twin(tmp_path, "openvla")
    file = tmp_path / "dataset_statistics.json"
    data = json.loads(file.read_text())
    file.write_text(json.dumps({**data, "fractal20220817_data": data["libero_spatial_no_noops"]}))
    loaded = load_model(ModelConfig("openvla", str(tmp_path), dtype="float32", unnorm_key=key))
    dense, policy = arms(loaded)
    seen: dict[CachedPolicy, list[np.ndarray]] = {dense: [], policy: []}
    observations = episode.observations(20, loaded.info.views)
    for arm, kept in seen.items():
        arm.reset(0)
        kept += [ids for o in observations if arm.infer(o) and (ids := arm.token_ids) is not None]
    expected = (np.stack(seen[dense]) != np.stack(seen[policy])).mean(axis=0)
    found = compare("x", [replay(dense, policy, observations, None)], 0.0)
    assert found.overall.token_flips == pytest.approx(expected.tolist()) and 0 < expected.max() < 1


def test_phases_of_the_recorded_episode(episode: RecordedEpisode) -> None:
    phases = phases_of(episode.proprio)
    assert phases is not None and len(phases) == len(episode.frames)
    assert [name for name, _ in itertools.groupby(phases)] == ["approach", "grasp", "carry", "place"]
    opening = episode.proprio[:, 6] - episode.proprio[:, 7]
    first_grasp = phases.index("grasp")
    assert opening[first_grasp] < opening[:first_grasp].max() - 0.01 <= opening[first_grasp - 1]
    assert episode.proprio[phases.index("carry"), 2] > episode.proprio[first_grasp, 2] + 0.02
    assert phases_of(episode.proprio[:, :7]) is None


def test_phases_start_again_after_a_release() -> None:
    """Two picks; the hand of the second is never lifted."""
    opening = [0.08] * 3 + [0.06, 0.01] + [0.01] * 4 + [0.05, 0.08] + [0.08] + [0.02] * 3
    height = [1.1, 1.0, 1.0, 0.9, 0.9, 0.93, 1.0, 0.995, 0.9, 0.9, 1.0] + [1.0] + [0.9] * 3
    proprio = np.zeros((15, 8), np.float32)
    proprio[:, 2], proprio[:, 6] = height, opening
    expected = ["approach"] * 3 + ["grasp"] * 2 + ["carry"] * 3 + ["place"] + ["approach"] * 3 + ["grasp"] * 3
    assert phases_of(proprio) == expected


@pytest.fixture(scope="module")
def script(repo_root: Path) -> ModuleType:
    return load_script(repo_root, "replay_fidelity")


@pytest.mark.parametrize("broken", [False, True], ids=["right", "broken"])
def test_command_line(
    script: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    broken: bool,
) -> None:
    """Exit code 1 and a word in the table when reused K/V are wrong."""
    output = tmp_path / "out.json"
    words = ["--cache", "fixed_ratio:reuse_ratio=0.6", "static", "--calls", "2", "--output", str(output)]
    monkeypatch.setattr("sys.argv", ["replay_fidelity.py", "--device", "cpu", *words])
    if broken:
        monkeypatch.setattr(KVCache, "write", shifted(KVCache.write))
    assert script.main() == int(broken)
    shown = capsys.readouterr().out
    assert ("BROKEN" in shown) == broken and ("passed" in shown) != broken
    data = json.loads(output.read_text())
    assert [entry["passed"] for entry in data["still"]] == [not broken] * 2
    assert data["command"].startswith("python scripts/replay_fidelity.py --device cpu --cache") and data["date"]
    assert data["fidelity"][0]["cache"] == "fixed_ratio:reuse_ratio=0.6" and data["model"]["dtype"] == "float32"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--cache", "adaptve"], "did you mean 'adaptive'"),
        (["--cache", "static:tua=1"], "did you mean 'tau'"),
        (["--cache", "static:tau"], "expected key=value"),
        (["--option", "decod=plain"], "expected some of"),
        (["--episodes", "nowhere.npz"], "nowhere.npz"),
    ],
)
def test_bad_words(
    script: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    message: str,
) -> None:
    monkeypatch.setattr("sys.argv", ["replay_fidelity.py", "--device", "cpu", "--calls", "2", *words])
    with pytest.raises(SystemExit) as caught:
        script.main()
    shown = capsys.readouterr().err
    assert caught.value.code == 2 and shown.startswith("error: ") and shown.count("\n") == 1 and message in shown


def test_a_cache_that_reused_nothing_is_called_untested(
    script: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Exit code 0, for nothing is broken, and a line that cannot be read as a pass."""
    words = ["--cache", "fixed_ratio:reuse_ratio=0", "--calls", "2", "--output", str(tmp_path / "out.json")]
    monkeypatch.setattr("sys.argv", ["replay_fidelity.py", "--device", "cpu", *words])
    assert script.main() == 0
    shown = capsys.readouterr().out
    assert "no verdict" in shown and "NOT TESTED: fixed_ratio:reuse_ratio=0 reused nothing" in shown
    assert "passed" not in shown
