"""From a model's config name to a loaded model: the tiny family, and published checkpoints."""

from __future__ import annotations

import hashlib
import platform
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from vlacache.models import openvla
from vlacache.models.cogact import checkpoint as cogact
from vlacache.models.config import VLAConfig
from vlacache.models.fields import read_json
from vlacache.models.hub import find_checkpoint
from vlacache.models.memory import Beside, nothing_beside
from vlacache.models.prismatic import VLAModel
from vlacache.models.published import UNTRAINED_KEY
from vlacache.models.request import DTYPES, check_calls, check_request
from vlacache.models.request import PUBLISHED_MODELS as PUBLISHED_MODELS
from vlacache.models.request import ModelConfig as ModelConfig
from vlacache.models.robots import ROBOTS
from vlacache.models.tiny import TINY_MODELS
from vlacache.models.tokenizer import TextTokenizer, TinyTokenizer
from vlacache.types import LIBERO_ACTION_SPEC, ActionSpec

#: In a checkpoint folder, beside config.json and model.safetensors.
TOKENIZER_FILE = "tokenizer.json"
#: ``checkpoint: builtin`` means ``PACKAGED / <model name>``.
PACKAGED = Path(__file__).parent / "checkpoints"


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """What a record says about a model. ``weights`` is ``trained`` or ``untrained``; ``checkpoint`` has no path."""

    name: str
    weights: str
    checkpoint: str
    dtype: str
    num_layers: int
    views: tuple[str, ...]
    grid: tuple[int, int]
    num_parameters: int


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A model ready for inference, its tokenizer, what to write down about it, and how its calls are run."""

    model: VLAModel
    tokenizer: TextTokenizer
    info: ModelInfo
    num_open_loop_steps: int
    decode: str = "plain"
    runtime: str = "auto"

    @property
    def action_spec(self) -> ActionSpec:
        """Meaning of the model's actions: a SIMPLER robot's where statistics of its data scale them, else LIBERO's."""
        robot = self.model.config.robot
        return LIBERO_ACTION_SPEC if robot is None else ROBOTS[robot].action_spec


def load_model(config: ModelConfig, beside: Beside = nothing_beside) -> LoadedModel:
    """Build or load a model.

    Args:
        beside: what the caller is going to hold on the device too, for the check of a published model's memory.

    Raises:
        RuntimeError: too little memory on the device, or a hub that cannot be reached.
        ValueError: an unknown name, dtype or decode mode, a checkpoint of another model, too many open-loop steps.
        FileNotFoundError: the checkpoint folder or one of its files is missing.
    """
    check_request(config)
    device = torch.device(config.device)
    dtype = choose_dtype(device) if config.dtype == "auto" else DTYPES[config.dtype]
    if config.name in PUBLISHED_MODELS:
        loaded = _load_published(config, device, dtype, beside)
    else:
        loaded = _load_tiny(config, device, dtype)
    return replace(loaded, decode=config.decode, runtime=config.runtime)


def _load_tiny(config: ModelConfig, device: torch.device, dtype: torch.dtype) -> LoadedModel:
    if config.checkpoint is None:
        model = untrained(TINY_MODELS[config.name], config.seed)
        weights, checkpoint, tokenizer = "untrained", f"seed {config.seed}", TinyTokenizer()
    else:
        folder = resolve_checkpoint(config.checkpoint, config.name)
        model = load_checkpoint(folder, config.name)
        weights, checkpoint, tokenizer = "trained", checkpoint_id(folder), load_tokenizer(folder)
    model = model.to(dtype=dtype)
    return wrap_model(model, tokenizer, weights, checkpoint, str(device), config.num_open_loop_steps)


def _load_published(config: ModelConfig, device: torch.device, dtype: torch.dtype, beside: Beside) -> LoadedModel:
    assert config.checkpoint is not None  # _check() has refused that
    family = cogact if config.name == "cogact" else openvla
    find = partial(find_checkpoint, config.checkpoint, config.revision, ignore=openvla.IGNORED_FILES)
    if config.revision is not None:  # of the hub: what is small comes first, and decides whether the rest is fetched
        family.check_room(find(patterns=family.DESCRIPTION).path, config, device, dtype, beside)
    folder = find(patterns=family.PATTERNS)
    placed: dict[str, Any] = {"device": device, "dtype": dtype, "beside": beside, "sizes": config.sizes_file}
    if config.name == "cogact":
        model = cogact.load_cogact(folder.path, config.unnorm_key, **placed)
        tokenizer: TextTokenizer = cogact.load_cognition_tokenizer(
            folder.path, config.input_ids, model.config.num_tokens, is_from_hub=config.revision is not None
        )
    else:
        model = openvla.load_openvla(folder.path, config.name, config.unnorm_key, **placed)
        tokenizer = openvla.load_llama_tokenizer(folder.path, config.input_ids, model.config.num_tokens)
    weights = "untrained" if read_json(folder.path / "config.json").get(UNTRAINED_KEY) else "trained"
    return wrap_model(model, tokenizer, weights, folder.label, config.device, config.num_open_loop_steps)


def wrap_model(
    model: VLAModel,
    tokenizer: TextTokenizer,
    weights: str,
    checkpoint: str,
    device: str,
    num_open_loop_steps: int | None = None,
) -> LoadedModel:
    """Make a model ready for inference and note what it is.

    Raises:
        ValueError: more open-loop steps than the chunk has.
    """
    model = model.to(device).eval().requires_grad_(False)
    config = model.config
    steps = config.num_executable if num_open_loop_steps is None else num_open_loop_steps
    _check_steps(steps, config)
    info = ModelInfo(
        config.name, weights, checkpoint, str(model.dtype).removeprefix("torch."), config.decoder.num_layers,
        config.views, config.grid, model.num_parameters(),
    )  # fmt: skip
    return LoadedModel(model, tokenizer, info, steps)


def run_differently(loaded: LoadedModel, changes: Mapping[str, Any]) -> LoadedModel:
    """The same weights with other fields that say how calls are run: decode, runtime, num_open_loop_steps.

    Raises:
        ValueError: a value that does not exist or does not fit the model or its device.
    """
    check_calls(ModelConfig(loaded.info.name, device=str(loaded.model.device), **changes))
    if changes.get("num_open_loop_steps") is not None:
        _check_steps(changes["num_open_loop_steps"], loaded.model.config)
    return replace(loaded, **changes)


def _check_steps(steps: int, config: VLAConfig) -> None:
    if not 1 <= steps <= config.num_executable:
        raise ValueError(
            f"model.num_open_loop_steps: expected 1..{config.num_executable} (chunk of {config.name}), got {steps}"
        )


def shipped_models() -> list[str]:
    """Models whose weights ship with the package."""
    return sorted(path.parent.name for path in PACKAGED.glob("*/model.safetensors"))


def resolve_checkpoint(checkpoint: str, name: str) -> Path:
    """The folder that a config's ``checkpoint`` means.

    Raises:
        FileNotFoundError: ``builtin``, but the package has no checkpoint of that model.
    """
    if checkpoint != "builtin":
        return Path(checkpoint)
    folder = PACKAGED / name
    if name not in shipped_models():
        raise FileNotFoundError(
            f"model.checkpoint=builtin: no checkpoint of {name!r} ships with this version (there are: "
            f"{shipped_models()}); use "
            "model.checkpoint=null for untrained weights, or a folder"
        )
    return folder


def load_tokenizer(folder: Path) -> TinyTokenizer:
    """The checkpoint's own tokenizer; the package's where the folder has none."""
    path = folder / TOKENIZER_FILE
    return TinyTokenizer(path) if path.is_file() else TinyTokenizer()


def untrained(config: VLAConfig, seed: int) -> VLAModel:
    """Seeded random weights, the same whatever was drawn from the global generator before."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = VLAModel(config)
        for module in model.modules():
            if isinstance(module, nn.Embedding):
                nn.init.normal_(module.weight, std=0.02)
    return model


def load_checkpoint(folder: Path, name: str) -> VLAModel:
    """Read ``config.json`` and ``model.safetensors``; every parameter is filled and every key used.

    Raises:
        FileNotFoundError: a file is missing. ValueError: another model, truncated weights, missing or unknown keys.
    """
    for file in ("config.json", "model.safetensors"):
        if not (folder / file).is_file():
            raise FileNotFoundError(f"model.checkpoint: expected {file} in {folder}; it is not there")
    config = VLAConfig.from_json(folder / "config.json")
    if config.name != name:
        raise ValueError(
            f"model.checkpoint: {folder.name} holds {config.name!r}, not {name!r}; use model={config.name}"
        )
    with torch.device("meta"):
        model = VLAModel(config)
    try:
        with safe_open(folder / "model.safetensors", framework="pt") as file:
            state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118  (not a dict)
    except SafetensorError as error:
        raise ValueError(
            f"model.checkpoint: {folder.name}/model.safetensors is truncated or corrupt ({error})"
        ) from error
    expected = model.state_dict()
    missing, unknown = sorted(set(expected) - set(state)), sorted(set(state) - set(expected))
    wrong = [k for k in expected if k in state and state[k].shape != expected[k].shape]
    if missing or unknown or wrong:
        raise ValueError(
            f"model.checkpoint: {folder.name} does not fit {name}: missing {missing[:5]}, unknown {unknown[:5]}, "
            f"wrong shape {wrong[:5]}"
        )
    # The shapes were checked on the meta device; constants of the config (buffers) need a real one.
    model = VLAModel(config)
    model.load_state_dict(state, assign=True)
    return model


def save_checkpoint(model: VLAModel, folder: Path, dtype: torch.dtype = torch.bfloat16) -> None:
    """Write ``config.json`` and ``model.safetensors`` in the given dtype."""
    folder.mkdir(parents=True, exist_ok=True)
    state = {key: value.detach().to("cpu", dtype).contiguous() for key, value in model.state_dict().items()}
    save_file(state, folder / "model.safetensors")
    (folder / "config.json").write_text(model.config.to_json())


def checkpoint_id(folder: Path) -> str:
    """``<folder name>@<first 12 hex digits of the weights' sha256>``."""
    digest = hashlib.sha256()
    with (folder / "model.safetensors").open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return f"{folder.name}@{digest.hexdigest()[:12]}"


def choose_dtype(device: torch.device) -> torch.dtype:
    """The faster dtype of a device.

    bfloat16 on CUDA and on processors with AVX512-BF16 or AMX (twice as fast there, several times slower elsewhere).
    The processor's flags decide, so that a run continues in the dtype it began with however busy the machine is. Only
    where the flags cannot be read does a short GEMM probe decide.
    """
    if device.type == "cuda":
        return torch.bfloat16
    if platform.machine() in ("x86_64", "AMD64") and hasattr(torch.cpu, "get_capabilities"):
        flags = torch.cpu.get_capabilities()
        return torch.bfloat16 if flags.get("avx512_bf16") or flags.get("amx_bf16") else torch.float32
    best = {dtype: _gemm_seconds(dtype) for dtype in (torch.float32, torch.bfloat16)}
    return min(best, key=best.__getitem__)


def _gemm_seconds(dtype: torch.dtype, repeats: int = 5) -> float:
    a, b = torch.ones(512, 512, dtype=dtype), torch.ones(512, 1024, dtype=dtype)
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        a @ b
        times.append(time.perf_counter() - start)
    return min(times)
