"""CogACT's files: the published layout without its weights, twins, and a clear error for every kind of damage."""

from __future__ import annotations

import functools
import itertools
import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.models.manifests import expand
from vlacache.models.cogact.checkpoint import key_rules
from vlacache.models.cogact.dit import DIT_SIZES
from vlacache.models.cogact.keys import native_shapes
from vlacache.models.cogact.sizes import published_sizes, read_sizes, sizes_of_weights
from vlacache.models.cogact.twin import FILE, SIZES
from vlacache.models.config import VLAConfig
from vlacache.models.factory import LoadedModel, ModelConfig, load_model
from vlacache.models.filling import plan_fill
from vlacache.models.openvla import empty_model
from vlacache.models.robots import GOOGLE_ROBOT, WIDOWX
from vlacache.models.weights import StoredTensor
from vlacache.types import SIMPLER_GOOGLE_ACTION_SPEC

MANIFEST = json.loads((Path(__file__).parents[1] / "data" / "cogact_keys.json").read_text())["parts"]
#: Of checkpoints.md's tower table and section 4: tensors and parameters.
COUNTS = {
    "model.vision_backbone.dino_featurizer.": (343, 303_230_976),
    "model.vision_backbone.siglip_featurizer.": (342, 427_680_704),
    "model.projector.": (6, 71_385_600),
    "model.action_model.": (110, 88_986_887),
}
BOUNDS = ((-1.0,) * 7, (1.0,) * 7, ())

# --- the published layout -------------------------------------------------------------------------------------------


def published(part: str) -> dict[str, tuple[int, ...]]:
    return {key: tuple(shape) for pattern, shape in MANIFEST[part]["keys"].items() for key in expand(pattern)}


def full_config(denoiser: str) -> VLAConfig:
    return published_sizes(denoiser).config(GOOGLE_ROBOT, BOUNDS)


@functools.cache
def stored(denoiser: str) -> dict[str, StoredTensor]:
    """The manifest as the loader sees an opened file."""
    shapes = published("vlm") | published(denoiser)
    return {key: StoredTensor(Path("manifest"), key, shape, torch.float32) for key, shape in shapes.items()}


@functools.cache
def wanted_of(denoiser: str) -> dict[str, tuple[int, ...]]:
    """Parameters of the full-size model on the meta device."""
    return {key: tuple(p.shape) for key, p in empty_model(full_config(denoiser)).named_parameters()}


@pytest.mark.parametrize("part", MANIFEST)
def test_the_manifest_adds_up(part: str) -> None:
    assert sum(math.prod(shape) for shape in published(part).values()) == MANIFEST[part]["num_parameters"]


@pytest.mark.parametrize(("prefix", "counts"), COUNTS.items())
def test_parts_of_the_base_model_add_up(prefix: str, counts: tuple[int, int]) -> None:
    shapes = [tensor.shape for key, tensor in stored("DiT-B").items() if key.startswith(prefix)]
    assert (len(shapes), sum(map(math.prod, shapes))) == counts


@pytest.mark.parametrize("denoiser", DIT_SIZES)
def test_what_twins_are_written_with_is_the_manifest(denoiser: str) -> None:
    assert native_shapes(full_config(denoiser)) == published("vlm") | published(denoiser)


@pytest.mark.parametrize("denoiser", DIT_SIZES)
def test_every_key_is_used_or_ignored_and_every_parameter_filled(denoiser: str) -> None:
    """On the meta device, at full size: the plan covers each parameter's rows exactly once."""
    wanted = wanted_of(denoiser)
    rows: dict[str, list[tuple[int, int]]] = {key: [] for key in wanted}
    for fill in plan_fill(stored(denoiser), key_rules(full_config(denoiser)), wanted, denoiser):
        size = wanted[fill.parameter][0]
        rows[fill.parameter].append((fill.start or 0, size if fill.stop is None else fill.stop))
    for key, spans in rows.items():
        edges = sorted(spans)
        assert edges[0][0] == 0 and edges[-1][1] == wanted[key][0], key
        assert all(a[1] == b[0] for a, b in itertools.pairwise(edges)), key


def test_what_is_ignored_is_what_cannot_matter() -> None:
    plan = plan_fill(stored("DiT-S"), key_rules(full_config("DiT-S")), wanted_of("DiT-S"), "DiT-S")
    prefixes = (
        "model.vision_backbone.dino_featurizer.blocks.23.", "model.vision_backbone.dino_featurizer.norm.",
        "model.vision_backbone.siglip_featurizer.blocks.26.", "model.vision_backbone.siglip_featurizer.norm.",
        "model.vision_backbone.siglip_featurizer.attn_pool.", "model.llm_backbone.llm.lm_head.",
        "model.action_model.net.history_embedder.",
    )  # fmt: skip
    ignored = set(stored("DiT-S")) - {fill.key for fill in plan}
    assert ignored == {key for key in stored("DiT-S") if key.startswith(prefixes)}


@pytest.mark.parametrize("denoiser", DIT_SIZES)
def test_the_size_follows_from_the_weights(denoiser: str) -> None:
    shape = published(denoiser)["model.action_model.net.positional_embedding"]
    assert sizes_of_weights(shape) == published_sizes(denoiser)
    assert empty_model(full_config(denoiser)).config.decoder.rms_eps == 1e-5


# --- a twin ---------------------------------------------------------------------------------------------------------


def load(folder: Path, **options: Any) -> LoadedModel:
    return load_model(
        ModelConfig("cogact", str(folder), **{"unnorm_key": "bridge_orig", "dtype": "float32", **options})
    )


def test_a_twin_is_read_as_it_was_written(twin_folder: Path) -> None:
    loaded = load(twin_folder, unnorm_key="fractal20220817_data")
    parts = torch.load(twin_folder / FILE, weights_only=True)["model"]
    assert set(parts) == {"vision_backbone", "projector", "llm_backbone", "action_model"}
    net = parts["action_model"]
    for name, parameter in loaded.model.head.named_parameters():
        assert torch.equal(parameter, net[name])
    llm = parts["llm_backbone"]
    q, k, v = (llm[f"llm.model.layers.1.self_attn.{p}_proj.weight"] for p in "qkv")
    assert torch.equal(loaded.model.decoder.layers[1].qkv.weight, torch.cat([q, k, v]))  # type: ignore[arg-type]
    assert read_sizes(twin_folder / "sizes.json") == SIZES
    assert loaded.info.weights == "untrained" and loaded.info.checkpoint.startswith("cogact@")
    assert loaded.action_spec == SIMPLER_GOOGLE_ACTION_SPEC and loaded.model.config.views == (GOOGLE_ROBOT.camera,)


def test_statistics_name_the_robot(twin_folder: Path) -> None:
    config = load(twin_folder).model.config
    own = json.loads((twin_folder / "dataset_statistics.json").read_text())["bridge_orig"]["action"]
    assert config.robot == WIDOWX.name and config.views == (WIDOWX.camera,)
    assert (list(config.action_low), list(config.action_high)) == (own["q01"], own["q99"])
    assert list(config.action_mask) == own["mask"]


def test_the_moving_average_of_the_denoiser_is_ignored(folder: Path) -> None:
    def add(parts: dict[str, Any]) -> None:
        parts["ema_diffusion"] = {k: v + 1 for k, v in parts["action_model"].items()}

    before = load(folder).model.state_dict()
    edit_weights(add)(folder)
    after = load(folder).model.state_dict()
    assert all(torch.equal(before[key], after[key]) for key in before)


@pytest.fixture
def folder(twin_folder: Path, tmp_path: Path) -> Path:
    """A twin that may be damaged."""
    return Path(shutil.copytree(twin_folder, tmp_path / "ckpt"))


# --- damage ---------------------------------------------------------------------------------------------------------


def edit_weights(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        content = torch.load(folder / FILE, weights_only=True)
        change(content["model"])
        torch.save(content, folder / FILE)

    return apply


def edit_json(name: str, change: Callable[[dict[str, Any]], object]) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        data = json.loads((folder / name).read_text())
        change(data)
        (folder / name).write_text(json.dumps(data))

    return apply


def truncate(folder: Path) -> None:
    data = (folder / FILE).read_bytes()
    (folder / FILE).write_bytes(data[: len(data) // 2])


QKV = "net.blocks.1.attn.qkv.weight"
DAMAGE: list[tuple[str, Callable[[Path], object], type[Exception], str]] = [
    ("missing", edit_weights(lambda m: m["action_model"].pop(QKV)), ValueError,
     rf"missing \['model\.action_model\.{QKV}'\]"),
    ("no head", edit_weights(lambda m: m.pop("action_model")), ValueError, r"missing .*model\.action_model\.net"),
    ("unknown", edit_weights(lambda m: m["projector"].update(x=torch.zeros(1))), ValueError, r"unknown .*projector\.x"),
    ("shape", edit_weights(lambda m: m["action_model"].update({QKV: torch.zeros(2, 2)})), ValueError,
     r"wrong shape .*qkv\.weight \(expected \[144, 48\], got \[2, 2\]\)"),
    ("dtype", edit_weights(lambda m: m["action_model"].update({QKV: torch.zeros(144, 48, dtype=torch.int8)})),
     ValueError, "wrong dtype .*got int8"),
    ("truncated", truncate, ValueError, "CogACT-Twin.pt"),
    ("no weights", lambda f: (f / FILE).unlink(), FileNotFoundError, r"expected one checkpoints/\*\.pt"),
    ("two files", lambda f: shutil.copy(f / FILE, f / "checkpoints" / "b.pt"), ValueError, "expected exactly one .pt"),
    ("no config", lambda f: (f / "config.json").unlink(), FileNotFoundError, r"expected config\.json"),
    ("not json", lambda f: (f / "config.json").write_text("{"), ValueError, "config.json is not JSON"),
    ("other model", lambda f: (f / "config.json").write_text('{"model_type": "openvla"}'), ValueError, "got None"),
    ("other vlm", edit_json("config.json", lambda c: c["vla"].update(base_vlm="phi")), ValueError, "got 'phi'"),
    ("no statistics", lambda f: (f / "dataset_statistics.json").unlink(), FileNotFoundError, "dataset_statistics"),
    ("no quantiles", edit_json("dataset_statistics.json", lambda d: d["bridge_orig"]["action"].pop("q01")), ValueError,
     "action: q01: expected 7 finite numbers, got null"),
    ("no sizes", lambda f: (f / "sizes.json").unlink(), ValueError, r"got \[17, 48\]; a model of other sizes"),
    ("bad sizes", edit_json("sizes.json", lambda d: d.pop("dit")), ValueError,
     r"sizes\.json: dit: expected an object, it is not there"),
    ("word", edit_json("sizes.json", lambda d: d["llm"].update(hidden_size="x")), ValueError,
     r'sizes\.json: llm: hidden_size: expected a whole number of at least 1, got "x"'),
    ("token size", edit_json("sizes.json", lambda d: d["dit"].update(token_size=8)), ValueError, "decoder's 64, got 8"),
    ("no tokenizer", lambda f: (f / "tokenizer.json").unlink(), FileNotFoundError, r"copy that of openvla/openvla-7b"),
]  # fmt: skip


@pytest.mark.parametrize(("damage", "error", "message"), [d[1:] for d in DAMAGE], ids=[d[0] for d in DAMAGE])
def test_a_damaged_checkpoint_is_refused(
    folder: Path, damage: Callable[[Path], object], error: type[Exception], message: str
) -> None:
    damage(folder)
    with pytest.raises(error, match=message):
        load(folder)


def test_a_folder_of_another_model_without_denoiser_is_refused(folder: Path) -> None:
    edit_weights(lambda m: m.pop("action_model"))(folder)
    (folder / "sizes.json").unlink()
    with pytest.raises(ValueError, match="of CogACT's denoiser; it is not there"):
        load(folder)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"unnorm_key": "libero_spatial"}, r"model\.unnorm_key: expected one of \['bridge_orig', 'fractal"),
        ({"unnorm_key": None}, r"model\.unnorm_key: expected one of"),
        ({"num_open_loop_steps": 2}, r"num_open_loop_steps: expected 1\.\.1"),
        ({"revision": "0" * 40}, r"model\.revision"),
    ],
)
def test_bad_options_are_refused(twin_folder: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load(twin_folder, **options)


def test_weights_are_required() -> None:
    with pytest.raises(ValueError, match=r"model\.checkpoint: cogact needs its published weights"):
        load_model(ModelConfig("cogact"))


def test_statistics_without_a_known_robot_are_refused(folder: Path) -> None:
    edit_json("dataset_statistics.json", lambda d: d.update(kuka=d["bridge_orig"]))(folder)
    with pytest.raises(ValueError, match="a robot whose gripper and rotation rules are known"):
        load(folder, unnorm_key="kuka")


def test_too_little_memory_is_said_before_loading(twin_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vlacache.models.memory.free_memory", lambda device: 1000)
    monkeypatch.setattr("vlacache.models.cogact.checkpoint.fill_parameters", lambda *a, **k: pytest.fail("loaded"))
    with pytest.raises(RuntimeError, match="free memory on cpu"):
        load(twin_folder)


def test_the_hubs_tokenizer_is_that_of_openvla(
    folder: Path, twin_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """CogACT's repositories have none; no network here, so the download is replaced by two folders."""
    (folder / "tokenizer.json").unlink()
    asked = []

    def download(repo_id: str, revision: str, patterns: object, ignore: object) -> Path:
        asked.append(repo_id)
        return folder if repo_id == "CogACT/CogACT-Small" else twin_folder

    monkeypatch.setattr("vlacache.models.hub._download", download)
    config = ModelConfig("cogact", "CogACT/CogACT-Small", revision="a" * 40, dtype="float32", unnorm_key="bridge_orig")
    loaded = load_model(config)
    assert asked == ["CogACT/CogACT-Small", "CogACT/CogACT-Small", "openvla/openvla-7b"]
    assert loaded.tokenizer.encode("In:")[-2:] == [29871, 2]


def test_the_space_and_the_cognition_token_end_every_prompt(twin_folder: Path) -> None:
    """Both are appended whatever is last already, unlike OpenVLA's space."""
    for ids in ((1, 7, 29901), (1, 7, 29871)):
        assert load(twin_folder, input_ids=ids).tokenizer.encode("any text") == [*ids, 29871, 2]
