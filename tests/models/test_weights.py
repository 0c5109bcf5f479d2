"""Reading published file layouts: shards, pickles, key rules, one copy in memory, and an error for every damage."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from vlacache.models import weights
from vlacache.models.filling import KeyRule, fill_parameters, plan_fill
from vlacache.models.weights import StoredTensor, WeightFiles, open_safetensors, open_torch

CPU = torch.device("cpu")
FUSED = [
    KeyRule(r"unused\..*", None),
    KeyRule(r"layers\.(\d+)\.a\.weight", r"\1.weight", (0, 2)),
    KeyRule(r"layers\.(\d+)\.b\.weight", r"\1.weight", (1, 2)),
    KeyRule(r"layers\.(\d+)\.bias", r"\1.bias"),
]


def state() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    names = {"a.weight": (2, 3), "b.weight": (2, 3), "bias": (4,)}
    made = {f"layers.{i}.{n}": torch.randn(s, generator=generator) for i in range(2) for n, s in names.items()}
    return {**made, "unused.x": torch.zeros(7)}


def write_shards(folder: Path, tensors: dict[str, Tensor]) -> None:
    """Two shards and an index, as ``save_pretrained`` writes them."""
    folder.mkdir(exist_ok=True)
    keys = sorted(tensors)
    shards = {f"model-0000{i + 1}-of-00002.safetensors": keys[i::2] for i in range(2)}
    for name, own in shards.items():
        save_file({key: tensors[key] for key in own}, folder / name)
    index = {"metadata": {}, "weight_map": {key: name for name, own in shards.items() for key in own}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def meta_model() -> nn.Sequential:
    with torch.device("meta"):
        return nn.Sequential(nn.Linear(3, 4), nn.Linear(3, 4))


def fill(files: WeightFiles, dtype: torch.dtype = torch.float32) -> nn.Sequential:
    model = meta_model()
    fill_parameters(model, files, FUSED, device=CPU, dtype=dtype, what="ckpt")
    return model


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_shards(tmp_path / "ckpt", state())
    return tmp_path / "ckpt"


def test_shards_fill_fused_parameters(folder: Path) -> None:
    tensors, model = state(), fill(open_safetensors(folder))
    for i in range(2):
        assert torch.equal(
            model[i].weight, torch.cat([tensors[f"layers.{i}.a.weight"], tensors[f"layers.{i}.b.weight"]])
        )
        assert torch.equal(model[i].bias, tensors[f"layers.{i}.bias"]) and not model[i].weight.requires_grad


def test_a_single_file_and_a_nested_pickle_give_the_same(folder: Path, tmp_path: Path) -> None:
    expected = fill(open_safetensors(folder)).state_dict()
    single = tmp_path / "single"
    single.mkdir()
    save_file(state(), single / "model.safetensors")
    nested: dict = {"layers": {}, "unused": {"x": torch.zeros(7)}}
    for key, value in state().items():
        if key.startswith("layers."):
            _, i, name = key.split(".", 2)
            nested["layers"].setdefault(i, {})[name] = value
    torch.save(nested, tmp_path / "weights.pt")
    for files in (open_safetensors(single), open_torch(tmp_path / "weights.pt")):
        found = fill(files).state_dict()
        assert found.keys() == expected.keys() and all(torch.equal(found[k], expected[k]) for k in found)


def test_the_target_dtype_can_differ_from_parameter_to_parameter(folder: Path) -> None:
    model = meta_model()
    choose = {"0.weight": torch.bfloat16}
    fill_parameters(
        model, open_safetensors(folder), FUSED, device=CPU, dtype=lambda n: choose.get(n, torch.float32), what="ckpt"
    )
    assert model[0].weight.dtype == torch.bfloat16 and model[1].weight.dtype == torch.float32


def test_files_are_merged_under_a_prefix_and_never_twice(folder: Path, tmp_path: Path) -> None:
    torch.save({"module.w": torch.ones(2)}, tmp_path / "head.pt")
    head = open_torch(tmp_path / "head.pt")
    both = open_safetensors(folder) | head.prefixed("head.")
    assert torch.equal(both.read("head.module.w"), torch.ones(2)) and "layers.0.bias" in both.tensors
    with pytest.raises(ValueError, match=r"got twice \['module.w'\]"):
        head | head


def damaged(changes: dict[str, Tensor | None]) -> dict[str, Tensor]:
    return {k: v for k, v in {**state(), **changes}.items() if v is not None}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"layers.1.b.weight": None}, r"missing for \['1.weight'\]"),
        ({"layers.0.bias": None}, r"missing for \['0.bias'\]"),
        ({"layers.0.c": torch.zeros(1)}, r"unknown \['layers.0.c'\]"),
        ({"layers.2.bias": torch.zeros(4)}, r"unknown \['layers.2.bias'\]"),
        (
            {"layers.0.a.weight": torch.zeros(4, 3)},
            r"wrong shape \['layers.0.a.weight \(expected \[2, 3\], got \[4, 3\]\)",
        ),
        ({"layers.0.bias": torch.zeros(4, dtype=torch.int8)}, r"wrong dtype \['layers.0.bias .*got int8"),
        ({"layers.0.bias": torch.zeros(4).to(torch.float8_e4m3fn)}, r"wrong dtype .*float8_e4m3fn"),
    ],
)
def test_what_does_not_fit_is_named(tmp_path: Path, changes: dict, message: str) -> None:
    write_shards(tmp_path / "ckpt", damaged(changes))
    with pytest.raises(ValueError, match=message):
        fill(open_safetensors(tmp_path / "ckpt"))


def test_two_keys_for_one_place_are_refused() -> None:
    stored = {k: StoredTensor(Path("f"), k, (2,), torch.float32) for k in ("x", "y")}
    with pytest.raises(ValueError, match=r"twice \['y'\]"):
        plan_fill(stored, [KeyRule("x|y", "w")], {"w": (2,)}, "ckpt")


def test_a_missing_shard_is_named(folder: Path) -> None:
    (folder / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"missing \['model-00002-of-00002.safetensors'\]"):
        open_safetensors(folder)


def test_a_truncated_shard_is_refused(folder: Path) -> None:
    shard = folder / "model-00001-of-00002.safetensors"
    shard.write_bytes(shard.read_bytes()[:-8])
    with pytest.raises(ValueError, match=r"model-00001-of-00002.safetensors is truncated or corrupt"):
        open_safetensors(folder)


def test_an_index_that_disagrees_with_its_shards_is_refused(folder: Path) -> None:
    index = folder / "model.safetensors.index.json"
    content = json.loads(index.read_text())
    content["weight_map"]["layers.9.bias"] = "model-00001-of-00002.safetensors"
    index.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"disagree about \['layers.9.bias'\]"):
        open_safetensors(folder)
    index.write_text("{}")
    with pytest.raises(ValueError, match=r"index\.json: weight_map: expected an object, it is not there"):
        open_safetensors(folder)
    bad_maps = {"[]": r"weight_map: expected an object, got \[\]", '{"w": 3}': r"expected file names, .*'w'"}
    for bad, message in bad_maps.items():
        index.write_text(f'{{"weight_map": {bad}}}')
        with pytest.raises(ValueError, match=message):
            open_safetensors(folder)


def test_no_weights_at_all(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("")
    with pytest.raises(FileNotFoundError, match=r"expected model.safetensors or .*notes.txt"):
        open_safetensors(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"expected head.pt"):
        open_torch(tmp_path / "head.pt")


class Trap:
    """Runs code when it is unpickled."""

    def __reduce__(self) -> tuple:
        return (pytest.fail, ("code of the checkpoint was run",))


def test_a_pickle_with_code_is_not_run(tmp_path: Path) -> None:
    torch.save({"w": torch.ones(1), "trap": Trap()}, tmp_path / "evil.pt")
    with pytest.raises(ValueError, match="nothing but tensors"):
        open_torch(tmp_path / "evil.pt")


def test_a_refused_pickle_says_what_it_holds_and_not_how_to_load_it_all_the_same(tmp_path: Path) -> None:
    torch.save({"w": torch.ones(1), "trap": Trap()}, tmp_path / "evil.pt")
    with pytest.raises(ValueError, match=r"holds _pytest\.outcomes\.\S+, which could run code; it was not") as caught:
        open_torch(tmp_path / "evil.pt")
    (tmp_path / "text.pt").write_text("hello")
    with pytest.raises(ValueError, match=r"expected text\.pt to be a torch file") as other:
        open_torch(tmp_path / "text.pt")
    for error in (caught.value, other.value):
        assert "weights_only" not in str(error) and "succeed" not in str(error) and "\n" not in str(error)
        assert error.__cause__ is None and error.__suppress_context__


def test_what_is_no_tensor_is_named(tmp_path: Path) -> None:
    """Also a list of tensors: nothing in a file is passed over in silence."""
    torch.save({"a": {"w": torch.ones(1), "epoch": 3}, "blocks": [torch.ones(1)], "none": None}, tmp_path / "odd.pt")
    with pytest.raises(
        ValueError, match=r"in odd\.pt, got \['a\.epoch \(int\)', 'blocks \(list\)', 'none \(NoneType\)'\]"
    ):
        open_torch(tmp_path / "odd.pt")
    torch.save([torch.ones(1)], tmp_path / "list.pt")
    with pytest.raises(ValueError, match=r"got \['the file itself \(list\)'\]"):
        open_torch(tmp_path / "list.pt")


def test_missing_keys_are_the_files_own() -> None:
    """Two keys make one parameter: the one that is absent is named, not the parameter that it would fill."""
    present = {k: v for k, v in state().items() if k not in ("layers.1.b.weight", "layers.0.bias")}
    stored = {k: StoredTensor(Path("f"), k, tuple(v.shape), v.dtype) for k, v in present.items()}
    wanted = {key: tuple(p.shape) for key, p in meta_model().named_parameters()} | {"extra": (1,)}
    message = r"missing \['layers\.0\.bias', 'layers\.1\.b\.weight'\]; missing for \['extra'\]"
    with pytest.raises(ValueError, match=message):
        plan_fill(stored, FUSED, wanted, "ckpt", published=state())


def test_a_buffer_on_the_meta_device_is_refused(folder: Path) -> None:
    model = meta_model()
    model.register_buffer("scale", torch.empty(1, device="meta"), persistent=False)
    with pytest.raises(RuntimeError, match="'scale'"):
        fill_parameters(model, open_safetensors(folder), FUSED, device=CPU, dtype=torch.float32, what="ckpt")


def test_files_are_reopened_so_that_pages_do_not_pile_up(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = []
    real = weights._open_file
    monkeypatch.setattr(weights, "_open_file", lambda file: opened.append(file) or real(file))
    monkeypatch.setattr(weights, "MAX_MAPPED_BYTES", 1)
    fill(open_safetensors(folder))
    assert len(opened) == 6, "every read maps anew when one tensor exceeds the limit"


MEMORY = r"""
import re, sys, torch
from pathlib import Path
from torch import nn
from vlacache.models import weights
from vlacache.models.filling import KeyRule, fill_parameters
weights.MAX_MAPPED_BYTES = 8 << 20
with torch.device("meta"):
    model = nn.Sequential(*(nn.Linear(1024, 1024, bias=False) for _ in range(12)))
status = lambda field: int(re.search(field + r":\s+(\d+) kB", Path("/proc/self/status").read_text()).group(1))
opener = weights.open_safetensors if sys.argv[2] == "safetensors" else lambda p: weights.open_torch(p / "model.pt")
files = opener(Path(sys.argv[1]))
Path("/proc/self/clear_refs").write_text("5")  # the peak starts at the current size
before = status("VmRSS")
fill_parameters(model, files, [KeyRule("(.*)", r"\1")], device=torch.device("cpu"), dtype=torch.float32, what="m")
print((status("VmHWM") - before) / 1024)
"""


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux's /proc")
@pytest.mark.parametrize("layout", ["safetensors", "pt"])
def test_loading_takes_one_copy_in_host_memory(tmp_path: Path, layout: str) -> None:
    """48 MiB of weights; the process grows by that and the mapped window, not by a second copy."""
    tensors = {f"{i}.weight": torch.randn(1024, 1024) for i in range(12)}
    if layout == "safetensors":
        save_file(tensors, tmp_path / "model.safetensors")
    else:
        torch.save(tensors, tmp_path / "model.pt")
    command = [sys.executable, "-c", MEMORY, str(tmp_path), layout]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[2], check=True)
    assert 44 < float(done.stdout) < 48 + 24
