"""Files that are JSON but not what a checkpoint holds: an error that names file, key, expected and got."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from vlacache.models.factory import ModelConfig, load_model
from vlacache.models.twin import write_openvla_twin

PIXELS = "preprocessor_config.json"
STATISTICS, KEY = "dataset_statistics.json", "libero_spatial_no_noops"
WHOLE = "a whole number of at least"
#: File, path of keys to the entry (none: the whole file), what stands there, and the message.
CASES: list[tuple[str, tuple[str, ...], Any, str]] = [
    (PIXELS, (), {}, "means: expected a list of 2, it is not there"),
    (PIXELS, (), {"means": [[0, 0, 0]] * 2}, "stds: expected a list of 2, it is not there"),
    (PIXELS, (), {"means": [[0, 0]] * 2, "stds": []}, "means: 0: expected 3 finite numbers, got [0, 0]"),
    (PIXELS, ("tvf_normalize_params",), [1, 2], "tvf_normalize_params: 0: expected an object, got 1"),
    (PIXELS, ("tvf_normalize_params",), [{}], "tvf_normalize_params: expected a list of 2, got [{}]"),
    ("model.safetensors.index.json", ("weight_map",), [], "weight_map: expected an object, got []"),
    ("model.safetensors.index.json", (), {}, "weight_map: expected an object, it is not there"),
    (STATISTICS, (KEY,), "all of it", f'{KEY}: expected an object, got "all of it"'),
    (STATISTICS, (KEY, "action"), "x", f'{KEY}: action: expected an object, got "x"'),
    (STATISTICS, (KEY, "action", "q01"), ["a", *[0.0] * 6], 'action: q01: expected 7 finite numbers, got ["a", 0.0,'),
    (STATISTICS, (KEY, "action", "q01"), "abcdefg", 'action: q01: expected 7 finite numbers, got "abcdefg"'),
    (STATISTICS, (KEY, "action", "q99"), [True] * 7, "action: q99: expected 7 finite numbers, got [true, true,"),
    (STATISTICS, (KEY, "action", "mask"), "yes", "action: mask: expected 7 times true or false, or none, got 'yes'"),
    ("config.json", ("text_config",), None, "text_config: expected an object, got null"),
    ("config.json", ("text_config", "hidden_size"), "x", f'text_config: hidden_size: expected {WHOLE} 1, got "x"'),
    ("config.json", ("text_config", "hidden_size"), 64.5, f"text_config: hidden_size: expected {WHOLE} 1, got 64.5"),
    ("config.json", ("text_config", "hidden_size"), 65, "hidden_size: expected a multiple of 2 x num_attention_heads"),
    ("config.json", ("text_config", "num_attention_heads"), 0, f"num_attention_heads: expected {WHOLE} 1, got 0"),
    ("config.json", ("text_config", "rms_norm_eps"), "small", 'rms_norm_eps: expected a number above 0, got "small"'),
    ("config.json", ("image_sizes",), [28], "image_sizes: expected a list of 2, got [28]"),
    ("config.json", ("image_sizes",), [56, "56"], "image_sizes: expected 2 sizes in pixels, got [56, '56']"),
    ("config.json", ("n_action_bins",), 0, f"n_action_bins: expected {WHOLE} 2, got 0"),
    ("config.json", ("n_action_bins",), None, f"n_action_bins: expected {WHOLE} 2, got null"),
    ("config.json", ("pad_to_multiple_of",), -1, f"pad_to_multiple_of: expected {WHOLE} 0, got -1"),
    ("towers.json", ("featurizer", "depth"), [], f"featurizer: depth: expected {WHOLE} 1, got []"),
    ("towers.json", ("featurizer", "num_heads"), 5, "embed_dim: expected a multiple of num_heads (5), got 32"),
    ("towers.json", ("featurizer", "feature_block_index"), 3, "feature_block_index: expected less than depth (3)"),
    (STATISTICS, (KEY, "action", "q01"), [2.0] * 7, "action: expected q01 of at most q99, got q01=2.0 and q99=0.94 at"),
    ("towers.json", ("featurizer", "class_token"), 1, "featurizer: class_token: expected true or false, got 1"),
    ("towers.json", (), {"featurizer": {}}, "the towers ['featurizer', 'fused_featurizer'], got ['featurizer']"),
]  # fmt: skip


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("twins") / "openvla"
    write_openvla_twin(folder, "openvla")
    return folder


def put(data: dict[str, Any], path: tuple[str, ...], value: Any) -> Any:
    if not path:
        return value
    owner = data
    for key in path[:-1]:
        owner = owner[key]
    owner[path[-1]] = value
    return data


@pytest.mark.parametrize(("name", "path", "value", "message"), CASES)
def test_a_malformed_entry_is_named(
    original: Path, tmp_path: Path, name: str, path: tuple[str, ...], value: Any, message: str
) -> None:
    folder = tmp_path / "ckpt"
    # Weights are linked, only the JSON files can be damaged.
    shutil.copytree(original, folder, copy_function=lambda a, b: Path(b).hardlink_to(a))
    changed = put(json.loads((folder / name).read_text()), path, value)
    (folder / name).unlink()
    (folder / name).write_text(json.dumps(changed))
    with pytest.raises(ValueError, match="expected") as caught:
        load_model(ModelConfig("openvla", str(folder), unnorm_key="libero_spatial", dtype="float32"))
    assert str(caught.value).startswith(f"{name}: ") and message in str(caught.value)


def test_bytes_that_are_no_text_are_refused(original: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(original, tmp_path / "ckpt"))
    (folder / "config.json").write_bytes(b"\xff\xfe{}")
    with pytest.raises(ValueError, match=r"config\.json is not JSON"):
        load_model(ModelConfig("openvla", str(folder), unnorm_key="libero_spatial", dtype="float32"))
