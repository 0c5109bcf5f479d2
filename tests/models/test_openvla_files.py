"""Everything that can be wrong with a checkpoint of the OpenVLA family: an error that says what, and no fallback."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from vlacache.models import factory, memory
from vlacache.models.factory import ModelConfig, load_model
from vlacache.models.fields import Fields
from vlacache.models.memory import require_memory
from vlacache.models.published import TOWERS, full_size, read_config, read_towers
from vlacache.models.tokenizer import SPACE_ID, GivenIds, LlamaTokenizer
from vlacache.models.twin import DINO, SIGLIP, write_openvla_twin
from vlacache.types import SIMPLER_WIDOWX_ACTION_SPEC

NAMES = ("openvla", "openvla_oft")


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    made = {name: tmp_path_factory.mktemp("twins") / name for name in NAMES}
    for name, folder in made.items():
        write_openvla_twin(folder, name)
    return made


@pytest.fixture
def folders(originals: dict[str, Path], tmp_path: Path) -> dict[str, Path]:
    """Copies to damage."""
    return {name: Path(shutil.copytree(folder, tmp_path / name)) for name, folder in originals.items()}


def load(name: str, folder: Path, **changes: Any) -> factory.LoadedModel:
    options = {"unnorm_key": "libero_spatial", "dtype": "float32", **changes}
    return load_model(ModelConfig(name, str(folder), **options))


def edit(file: Path, change: Callable[[dict], None]) -> None:
    data = json.loads(file.read_text())
    change(data)
    file.write_text(json.dumps(data))


def edit_shards(folder: Path, change: Callable[[dict], None]) -> None:
    """Change the tensors of the shard with the small ones; the index follows."""
    shard = sorted(folder.glob("model-*.safetensors"))[-1]
    state = load_file(shard)
    change(state)
    save_file(state, shard)
    index = json.loads((folder / "model.safetensors.index.json").read_text())
    kept = {key: name for key, name in index["weight_map"].items() if name != shard.name}
    index["weight_map"] = kept | dict.fromkeys(state, shard.name)
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def test_a_twin_says_that_it_is_untrained(folders: dict[str, Path]) -> None:
    info = load("openvla", folders["openvla"]).info
    assert info.weights == "untrained" and info.checkpoint.startswith("openvla@") and info.views == ("agentview",)
    edit(folders["openvla"] / "config.json", lambda data: data.pop("vlacache_untrained_twin"))
    assert load("openvla", folders["openvla"]).info.weights == "trained"


@pytest.mark.parametrize(("name", "shards"), [("openvla", 3), ("openvla_oft", 4)])
def test_twins_are_sharded_like_the_published_files(originals: dict[str, Path], name: str, shards: int) -> None:
    found = sorted(file.name for file in originals[name].glob("*.safetensors"))
    assert found == [f"model-{i:05d}-of-{shards:05d}.safetensors" for i in range(1, shards + 1)]


def test_a_missing_shard_is_named(folders: dict[str, Path]) -> None:
    (folders["openvla"] / "model-00002-of-00003.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"missing \['model-00002-of-00003.safetensors'\]"):
        load("openvla", folders["openvla"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("projector.fc3.bias"), r"missing \['projector.fc3.bias'\]"),
        (lambda s: s.update({"vision_backbone.third.x": torch.zeros(1)}), r"unknown \['vision_backbone.third.x'\]"),
        (
            lambda s: s.update({"projector.fc3.bias": torch.zeros(65)}),
            r"projector.fc3.bias \(expected \[64\], got \[65\]",
        ),
        (lambda s: s.update({"projector.fc3.bias": torch.zeros(64, dtype=torch.int8)}), r"wrong dtype .*got int8"),
    ],
)
def test_weights_that_do_not_fit_are_named(folders: dict[str, Path], change: Callable, message: str) -> None:
    edit_shards(folders["openvla"], change)
    with pytest.raises(ValueError, match=message):
        load("openvla", folders["openvla"])


def test_a_rotary_table_in_the_file_is_ignored(folders: dict[str, Path]) -> None:
    key = "language_model.model.layers.0.self_attn.rotary_emb.inv_freq"
    edit_shards(folders["openvla"], lambda s: s.update({key: torch.zeros(8)}))
    assert load("openvla", folders["openvla"]).info.num_layers == 4


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model_type": "llava"}, r"expected a checkpoint of the OpenVLA architecture, got model_type='llava'"),
        ({"arch_specifier": "no-align+gelu-mlp"}, "arch_specifier"),
        ({"image_resize_strategy": "letterbox"}, "image_resize_strategy='letterbox'"),
        ({"timm_override_act_layers": [None, "quick_gelu"]}, r"timm_override_act_layers=\[None, 'quick_gelu'\]"),
        ({"text_config": {"model_type": "qwen2"}}, "text_config .*model_type='qwen2'"),
        ({"text_config": {"num_attention_heads": 4, "num_key_value_heads": 2}}, "num_key_value_heads=2"),
        ({"text_config": {"rope_scaling": {"type": "linear"}}}, "rope_scaling"),
    ],
)
def test_another_architecture_is_refused(folders: dict[str, Path], change: dict, message: str) -> None:
    edit(folders["openvla"] / "config.json", lambda data: data.update(change))
    with pytest.raises(ValueError, match=message):
        load("openvla", folders["openvla"])


def test_other_sizes_than_the_weights_are_refused(folders: dict[str, Path]) -> None:
    edit(folders["openvla"] / "config.json", lambda data: data["text_config"].update(num_hidden_layers=5))
    with pytest.raises(ValueError, match=r"missing \['language_model.model.layers.4.input_layernorm.weight'"):
        load("openvla", folders["openvla"])


def test_openvla_and_oft_are_not_mixed_up(folders: dict[str, Path]) -> None:
    with pytest.raises(ValueError, match=r"got OFT's action_head--1000_checkpoint.pt; use model=openvla_oft"):
        load("openvla", folders["openvla_oft"])
    with pytest.raises(ValueError, match=r"exactly one action_head--<step>_checkpoint.pt, got \[\]"):
        load("openvla_oft", folders["openvla"])
    shutil.copy(
        folders["openvla_oft"] / "proprio_projector--1000_checkpoint.pt",
        folders["openvla_oft"] / "proprio_projector--2000_checkpoint.pt",
    )
    with pytest.raises(ValueError, match="exactly one proprio_projector"):
        load("openvla_oft", folders["openvla_oft"])


@pytest.mark.parametrize("name", NAMES)
def test_an_unknown_key_names_the_known_ones(folders: dict[str, Path], name: str) -> None:
    with pytest.raises(ValueError, match=r"unnorm_key: expected one of .*'libero_goal_no_noops'.*, got 'bridge_orig'"):
        load(name, folders[name], unnorm_key="bridge_orig")
    with pytest.raises(ValueError, match="got None"):
        load(name, folders[name], unnorm_key=None)


@pytest.mark.parametrize("key", ["libero_goal", "libero_goal_no_noops"])
def test_a_suite_or_its_data_set_is_a_key(folders: dict[str, Path], key: str) -> None:
    file = folders["openvla"] / "dataset_statistics.json"
    edit(file, lambda data: data["libero_goal_no_noops"]["action"].update(q01=[-0.5] * 7))
    assert load("openvla", folders["openvla"], unnorm_key=key).model.config.action_low == (-0.5,) * 7


@pytest.mark.parametrize("bad", [[0.1] * 6, [float("nan")] * 7, None])
def test_statistics_of_the_wrong_size_are_refused(folders: dict[str, Path], bad: list[float] | None) -> None:
    file = folders["openvla"] / "dataset_statistics.json"
    edit(file, lambda data: data["libero_spatial_no_noops"]["action"].update(q99=bad))
    message = "dataset_statistics.json: libero_spatial_no_noops: action: q99: expected 7 finite numbers, got"
    with pytest.raises(ValueError, match=message):
        load("openvla", folders["openvla"])


def test_config_statistics_serve_where_there_is_no_file(folders: dict[str, Path]) -> None:
    statistics = folders["openvla"] / "dataset_statistics.json"
    own = json.loads(statistics.read_text())["libero_spatial_no_noops"]
    statistics.unlink()
    with pytest.raises(ValueError, match=r"norm_stats in config.json or a dataset_statistics.json"):
        load("openvla", folders["openvla"])
    edit(folders["openvla"] / "config.json", lambda data: data.update(norm_stats={"bridge_orig": own}))
    loaded = load("openvla", folders["openvla"], unnorm_key=None)  # the only one there is
    assert loaded.action_spec == SIMPLER_WIDOWX_ACTION_SPEC and loaded.model.config.image_steps == ("lanczos",)
    with pytest.raises(ValueError, match="built for LIBERO"):
        read_config(folders["openvla"], "openvla_oft", None)


@pytest.mark.parametrize("file", ["config.json", "tokenizer.json", "model.safetensors.index.json"])
def test_a_missing_file_is_named(folders: dict[str, Path], file: str) -> None:
    (folders["openvla"] / file).unlink()
    with pytest.raises(FileNotFoundError, match=file):
        load("openvla", folders["openvla"])


def test_files_that_are_not_json_are_refused(folders: dict[str, Path]) -> None:
    for content, message in (("{", "is not JSON"), ("[]", "expected an object")):
        (folders["openvla"] / "config.json").write_text(content)
        with pytest.raises(ValueError, match=message):
            load("openvla", folders["openvla"])
    shutil.copy(folders["openvla_oft"] / "config.json", folders["openvla"] / "config.json")
    (folders["openvla"] / "tokenizer.json").write_text("{}")
    with pytest.raises(ValueError, match="expected a tokenizers JSON file"):
        load("openvla", folders["openvla"])


def test_rms_eps_and_theta_come_from_the_checkpoint(folders: dict[str, Path]) -> None:
    decoder = load("openvla", folders["openvla"]).model.config.decoder
    assert (decoder.rms_eps, decoder.rope_theta) == (1e-6, 10000.0)  # LlamaConfig's defaults, not in the file
    edit(folders["openvla"] / "config.json", lambda data: data["text_config"].update(rms_norm_eps=1e-5, rope_theta=5e5))
    decoder = load("openvla", folders["openvla"]).model.config.decoder
    assert (decoder.rms_eps, decoder.rope_theta) == (1e-5, 5e5)


def test_towers_by_timm_name_and_by_size(folders: dict[str, Path]) -> None:
    folder = folders["openvla"]
    data = json.loads((folder / "config.json").read_text())
    assert read_towers(folder, Fields(data, "config.json")) == (DINO, SIGLIP)
    (folder / "towers.json").unlink()
    with pytest.raises(ValueError, match=r"give their sizes in towers\.json"):
        read_towers(folder, Fields(data, "config.json"))
    data |= {"timm_model_ids": list(TOWERS), "image_sizes": [224, 224]}
    dino, siglip = read_towers(folder, Fields(data, "config.json"))
    assert dino.mean == (0.484375, 0.455078125, 0.40625), "rounded constants of the saved processor, not the nominal"
    assert siglip == full_size("openvla").towers[1] and (dino.width, dino.feature_block) == (1024, 22)
    edit(folder / "preprocessor_config.json", lambda p: p.pop("tvf_normalize_params"))
    assert read_towers(folder, Fields(data, "config.json"))[0].mean == (0.485, 0.456, 0.406)


def test_pixels_are_never_normalised_by_a_guess(folders: dict[str, Path]) -> None:
    """Without the processor's file: refused, unless the towers' own file has the numbers."""
    folder = folders["openvla"]
    config = Fields(json.loads((folder / "config.json").read_text()), "config.json")
    (folder / "preprocessor_config.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"expected preprocessor_config\.json in .*copy it from"):
        read_towers(folder, config)
    constants = {"mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6]}
    edit(folder / "towers.json", lambda data: [data[name].update(constants) for name in data])
    assert [(t.mean, t.std) for t in read_towers(folder, config)] == [((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))] * 2
    edit(folder / "towers.json", lambda data: data["featurizer"].pop("std"))
    with pytest.raises(ValueError, match="featurizer: std: expected 3 finite numbers"):
        read_towers(folder, config)


def test_wrong_sizes_are_not_called_a_lack_of_memory(folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "free_memory", lambda device: 1 << 20)
    edit(folders["openvla"] / "config.json", lambda data: data.update(text_config={"model_type": "llama"}))
    with pytest.raises(ValueError, match="the weights do not fit this architecture"):
        load("openvla", folders["openvla"])
    edit(folders["openvla"] / "config.json", lambda data: data.pop("text_config"))
    with pytest.raises(ValueError, match=r"config\.json: text_config: expected an object, it is not there"):
        load("openvla", folders["openvla"])


def test_towers_in_the_wrong_order_are_refused(folders: dict[str, Path]) -> None:
    (folders["openvla"] / "towers.json").unlink()
    edit(folders["openvla"] / "config.json", lambda data: data.update(timm_model_ids=list(TOWERS)[::-1]))
    with pytest.raises(ValueError, match="in this order, got"):
        load("openvla", folders["openvla"])


def test_explicit_sizes_take_the_place_of_the_folders(folders: dict[str, Path], tmp_path: Path) -> None:
    """The checkpoint as published, its tower sizes elsewhere; another tower than the weights' is refused."""
    folder, elsewhere = folders["openvla"], tmp_path / "sizes.json"
    shutil.move(folder / "towers.json", elsewhere)
    asked = ModelConfig("openvla", str(folder), dtype="float32", unnorm_key="libero_goal", sizes=str(elsewhere))
    assert load_model(asked).model.config.towers == (DINO, SIGLIP)
    with pytest.raises(FileNotFoundError, match=r"expected none\.json"):
        load_model(replace(asked, sizes=str(tmp_path / "none.json")))
    towers = json.loads(elsewhere.read_text())
    for change, message in (
        ({"featurizer": {**towers["featurizer"], "act": "gelu_tanh"}}, "featurizer: act: expected 'gelu_erf', got"),
        ({"featurizer": {**towers["featurizer"], "ln_eps": 1e-5}}, "featurizer: ln_eps: expected 1e-06, got 1e-05"),
        ({"third": towers["featurizer"]}, r"expected the towers \['featurizer', 'fused_featurizer'\], got"),
        ({"featurizer": {**towers["featurizer"], "embed_dim": 64}}, "wrong shape"),
    ):
        elsewhere.write_text(json.dumps({**towers, **change}))
        with pytest.raises(ValueError, match=message):
            load_model(asked)
    with pytest.raises(ValueError, match=r"model\.sizes: only for published checkpoints"):
        load_model(ModelConfig("tiny_oft", sizes=str(elsewhere)))


def test_prompts_end_with_the_lone_space(folders: dict[str, Path]) -> None:
    tokenizer = LlamaTokenizer(folders["openvla"] / "tokenizer.json")
    ids = tokenizer.encode("In: pick up the bowl")
    assert ids[0] == 1 and ids[-1] == SPACE_ID and SPACE_ID not in ids[:-1]
    assert GivenIds((1, 7, 29901), 32000).encode("any text") == [1, 7, 29901, SPACE_ID]
    assert GivenIds((1, 7, SPACE_ID), 32000).encode("any text") == [1, 7, SPACE_ID]
    for bad in ((7, 8), (1,), (1, 32000)):
        with pytest.raises(ValueError, match="input_ids: expected BOS"):
            GivenIds(bad, 32000)


def test_given_ids_replace_the_tokenizer(folders: dict[str, Path]) -> None:
    (folders["openvla"] / "tokenizer.json").unlink()
    loaded = load("openvla", folders["openvla"], input_ids=(1, 5, 29901))
    assert loaded.tokenizer.encode("whatever") == [1, 5, 29901, SPACE_ID]


def test_too_little_memory_is_said_before_loading(folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "free_memory", lambda device: 1 << 20)
    monkeypatch.setattr("vlacache.models.openvla.fill_parameters", lambda *_, **__: pytest.fail("it loaded"))
    with pytest.raises(RuntimeError, match=r"openvla: expected 0.0 GiB of free memory on cpu"):
        load("openvla", folders["openvla"])
    with pytest.raises(RuntimeError, match=r"expected 16.5 GiB .* got 0.0 GiB"):
        require_memory(15 << 30, torch.device("cpu"), what="openvla-7b")
