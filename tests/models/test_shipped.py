"""The checkpoints that ship with the package: whole, small, what their card says, and found by name."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from runners.report.model_card import render_card
from vlacache.bench.episode import DEFAULT_EPISODE, load_episodes
from vlacache.bench.fidelity import replay
from vlacache.core.policies import build_cache_policy
from vlacache.models.factory import PACKAGED, ModelConfig, load_model, shipped_models
from vlacache.models.policy import CachedPolicy

SHIPPED = [PACKAGED / name for name in shipped_models()]


@pytest.mark.parametrize("folder", SHIPPED, ids=lambda folder: folder.name)
def test_the_folder_is_whole_and_small(folder: Path) -> None:
    names = {file.name for file in folder.iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json", "training.json", "card.json", "README.md"} <= names
    assert sum(file.stat().st_size for file in folder.iterdir()) <= 14 << 20


@pytest.mark.parametrize("folder", SHIPPED, ids=lambda folder: folder.name)
def test_the_card_is_about_these_weights(folder: Path) -> None:
    digest = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    card = json.loads((folder / "card.json").read_text())
    assert card["sha256"] == digest == json.loads((folder / "training.json").read_text())["sha256"]
    assert digest in (folder / "README.md").read_text()
    assert card["evaluations"]
    of_weights = [*card["evaluations"], *(c for c in card["controls"] if c["name"] == "blind")]
    assert all(measured["checkpoint"].endswith(f"@{digest[:12]}") for measured in of_weights)


@pytest.mark.parametrize("folder", SHIPPED, ids=lambda folder: folder.name)
def test_the_readme_is_the_card(folder: Path) -> None:
    assert (folder / "README.md").read_text() == render_card(json.loads((folder / "card.json").read_text()))


@pytest.mark.parametrize("folder", SHIPPED, ids=lambda folder: folder.name)
@pytest.mark.parametrize("placement", ["official", "wide"])
def test_controls_stand_beside_both_placements(folder: Path, placement: str) -> None:
    """Each on all tasks of the evaluation, with the same assets; on wide starts closed eyes solve next to nothing."""
    card = json.loads((folder / "card.json").read_text())
    shown = next(e for e in card["evaluations"] if e["placement"] == placement and e["assets"].startswith("builtin@"))
    for name in ("blind", "replay"):
        (control,) = [
            c for c in card["controls"]
            if c["name"] == name and all(c[key] == shown[key] for key in ("suite", "placement", "assets"))
        ]  # fmt: skip
        assert control["model"] == name
        assert control["tasks"].keys() == shown["tasks"].keys()
        assert rate(control) < rate(shown)
        if placement == "wide":
            assert rate(control) <= {"blind": 0.25, "replay": 0.05}[name]


#: (weights, kind of assets, placement) -> lowest share of all episodes and of each task, as the project promised.
TARGETS = [
    ("tiny_oft", "builtin", "official", 0.90, 0.70),
    ("tiny_oft", "builtin", "wide", 0.80, None),
    ("tiny_oft", "shared-pack", "official", 0.75, None),
    ("tiny_openvla", "builtin", "official", 0.80, None),
    ("tiny_openvla", "builtin", "wide", 0.60, None),
]


@pytest.mark.parametrize(("name", "assets", "placement", "lowest", "lowest_task"), TARGETS)
def test_the_card_reaches_what_was_promised(
    name: str, assets: str, placement: str, lowest: float, lowest_task: float | None
) -> None:
    """Point estimates on libero_spatial; ``shared-pack`` are the scanned objects."""
    card = json.loads((PACKAGED / name / "card.json").read_text())
    (shown,) = (
        e for e in card["evaluations"]
        if (e["suite"], e["placement"], e["assets"].partition("@")[0]) == ("libero_spatial", placement, assets)
    )  # fmt: skip
    assert len(shown["tasks"]) == 10
    assert rate(shown) >= lowest
    rates = {task: row["successes"] / row["trials"] for task, row in shown["tasks"].items()}
    assert lowest_task is None or min(rates.values()) >= lowest_task, rates


def test_the_front_page_tells_the_card_of_tiny_oft(repo_root: Path) -> None:
    """The counts in the table of README.md are those of the card, placement by placement."""
    card = json.loads((PACKAGED / "tiny_oft" / "card.json").read_text())
    rows = [
        line.split("|")[1:-1] for line in (repo_root / "README.md").read_text().splitlines() if line.startswith("|")
    ]
    for placement in ("official", "wide"):
        (cells,) = [row for row in rows if row[0].strip() == f"`{placement}`" and len(row) == 4]
        measured = [
            next(e for e in card["evaluations"] if e["placement"] == placement and e["assets"].startswith("builtin@")),
            *(next(c for c in card["controls"] if (c["name"], c["placement"]) == (name, placement))
              for name in ("blind", "replay")),
        ]  # fmt: skip
        assert [cell.split()[0] for cell in cells[1:]] == ["/".join(map(str, counts(m))) for m in measured]


def counts(measured: dict[str, Any]) -> tuple[int, int]:
    rows = measured["tasks"].values()
    return sum(row["successes"] for row in rows), sum(row["trials"] for row in rows)


def rate(measured: dict[str, Any]) -> float:
    successes, trials = counts(measured)
    return successes / trials


@pytest.mark.parametrize("folder", SHIPPED, ids=lambda folder: folder.name)
def test_builtin_is_the_shipped_folder(folder: Path) -> None:
    loaded = load_model(ModelConfig(folder.name, checkpoint="builtin", dtype="float32"))
    assert loaded.info.weights == "trained"
    assert loaded.info.checkpoint.startswith(f"{folder.name}@")
    assert loaded.info.num_parameters == json.loads((folder / "card.json").read_text())["num_parameters"]
    assert all(bool(torch.isfinite(p).all()) for p in loaded.model.parameters())


def test_tiny_oft_ships() -> None:
    assert "tiny_oft" in shipped_models()


def test_moving_reused_kv_halves_the_action_errors_of_tiny_oft() -> None:
    """On the recorded episode, where the same is reused with and without: measured, a quarter."""
    loaded = load_model(ModelConfig("tiny_oft", checkpoint="builtin", dtype="float32"))
    observations = load_episodes([DEFAULT_EPISODE])[0].observations(loaded.num_open_loop_steps, loaded.info.views)
    dense = CachedPolicy(loaded, build_cache_policy("none"))
    error, reuse = {}, {}
    for carry in (False, True):
        arm = CachedPolicy(loaded, build_cache_policy("static_task", {"carry_shift": carry}))
        shown = replay(dense, arm, observations, None)
        error[carry], reuse[carry] = float(shown.error[..., :3].mean()), max(shown.reuse)
    assert min(reuse.values()) > 0.3
    assert error[True] < 0.5 * error[False]


def test_the_papers_schedule_reuses_nothing_in_tiny_oft() -> None:
    """It reuses what entropy has dropped by since the first layer, and here entropy rises (README)."""
    loaded = load_model(ModelConfig("tiny_oft", checkpoint="builtin", dtype="float32"))
    observations = load_episodes([DEFAULT_EPISODE])[0].observations(loaded.num_open_loop_steps, loaded.info.views)
    numbers = {"min_saving": 0.0, "max_backoff": 0, "entropy_rows": None}
    arm = CachedPolicy(loaded, build_cache_policy("paper", numbers))
    arm.reset(0)
    for observation in observations[:4]:
        assert arm.infer(observation).stats.reuse_ratio == 0.0
        entropies = arm.session.entropies
        assert entropies is not None and entropies[0] < 5.0 < entropies[1:].min()
