"""Weight files of the published layouts: which tensors they hold, and reading them one by one, memory-mapped.

Nothing here knows an architecture; ``vlacache.models.filling`` joins keys and parameters.
"""

from __future__ import annotations

import pickle
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from vlacache.models.fields import read_fields

#: Memory-mapped pages stay resident until the file is closed, so it is reopened after so many bytes: beside the
#: model's own memory there is never more than this.
MAX_MAPPED_BYTES = 1 << 30
_SAFETENSORS_DTYPES = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "I64": torch.int64,
    "I32": torch.int32, "I16": torch.int16, "I8": torch.int8, "U8": torch.uint8, "BOOL": torch.bool,
    "F8_E4M3": torch.float8_e4m3fn, "F8_E5M2": torch.float8_e5m2,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """What is known of a tensor before it is read. ``dtype`` is None for one that torch has no name for."""

    file: Path
    name: str
    shape: tuple[int, ...]
    dtype: torch.dtype | None


class _OpenFile(Protocol):
    """A weight file that hands out memory-mapped CPU tensors."""

    def get_tensor(self, name: str) -> Tensor: ...


class WeightFiles:
    """All tensors of a checkpoint by key. Opening reads names and shapes only.

    Attributes:
        tensors: key -> where it is. Keys are the file's own, nested dicts joined by dots.
    """

    def __init__(self, tensors: Mapping[str, StoredTensor]) -> None:
        self.tensors = dict(tensors)
        self._path: Path | None = None
        self._open: _OpenFile | None = None
        self._mapped_bytes = 0

    def __or__(self, other: WeightFiles) -> WeightFiles:
        """Both sets of tensors.

        Raises:
            ValueError: a key is in both.
        """
        twice = sorted(set(self.tensors) & set(other.tensors))
        if twice:
            raise ValueError(f"checkpoint: expected every key in one file, got twice {named(twice)}")
        return WeightFiles({**self.tensors, **other.tensors})

    def prefixed(self, prefix: str) -> WeightFiles:
        """The same tensors under ``prefix + key``."""
        return WeightFiles({prefix + key: stored for key, stored in self.tensors.items()})

    def read(self, key: str) -> Tensor:
        """The tensor on the CPU, memory-mapped: pages are read from the file when they are used."""
        stored = self.tensors[key]
        if self._open is None or stored.file != self._path or self._mapped_bytes >= MAX_MAPPED_BYTES:
            self._open = None  # closed first: two files are never mapped at once
            self._open, self._path, self._mapped_bytes = _open_file(stored.file), stored.file, 0
        tensor = self._open.get_tensor(stored.name)
        self._mapped_bytes += tensor.nbytes
        return tensor

    def close(self) -> None:
        """Unmap the file that was read last."""
        self._open = None


def open_safetensors(folder: Path) -> WeightFiles:
    """``model.safetensors``, or the shards that ``model.safetensors.index.json`` names.

    Raises:
        FileNotFoundError: neither is there, or a shard is missing. ValueError: a damaged file, or an index that
            disagrees with its shards.
    """
    index = folder / "model.safetensors.index.json"
    if not index.is_file():
        single = folder / "model.safetensors"
        if not single.is_file():
            raise FileNotFoundError(
                f"checkpoint: expected model.safetensors or {index.name} in {folder}, got {_listing(folder)}"
            )
        return WeightFiles(_scan_safetensors(single))
    weight_map = _read_index(index)
    shards = sorted(set(weight_map.values()))
    missing = [name for name in shards if not (folder / name).is_file()]
    if missing:
        raise FileNotFoundError(
            f"checkpoint: {index.name} names {len(shards)} shards, missing {missing} in {folder}; download them again"
        )
    tensors: dict[str, StoredTensor] = {}
    for name in shards:
        tensors |= _scan_safetensors(folder / name)
    wrong = sorted(key for key in set(weight_map) | set(tensors) if not _agrees(key, weight_map, tensors))
    if wrong:
        raise ValueError(f"checkpoint: {index.name} and its shards disagree about {named(wrong)}; download them again")
    return WeightFiles(tensors)


def open_torch(file: Path) -> WeightFiles:
    """A ``.pt`` or ``.bin`` file, loaded with ``weights_only`` and memory-mapped; nested dicts become dotted keys.

    Raises:
        FileNotFoundError: no such file. ValueError: damaged, of the format before torch 1.6, or with more than tensors.
    """
    if not file.is_file():
        raise FileNotFoundError(f"checkpoint: expected {file.name} in {file.parent}, got {_listing(file.parent)}")
    tensors = _TorchFile(file).tensors
    return WeightFiles({key: StoredTensor(file, key, tuple(t.shape), t.dtype) for key, t in tensors.items()})


def named(keys: Sequence[str], limit: int = 8) -> str:
    """The first keys of a list, for a message."""
    more = f" and {len(keys) - limit} more" if len(keys) > limit else ""
    return f"{list(keys[:limit])}{more}"


def _listing(folder: Path) -> str:
    return f"{sorted(p.name for p in folder.iterdir())[:12]}" if folder.is_dir() else "no such folder"


def _agrees(key: str, weight_map: Mapping[str, str], tensors: Mapping[str, StoredTensor]) -> bool:
    return key in tensors and weight_map.get(key) == tensors[key].file.name


def _read_index(index: Path) -> dict[str, str]:
    weight_map = read_fields(index).child("weight_map").data
    wrong = sorted(key for key, file in weight_map.items() if not isinstance(file, str))
    if wrong:
        raise ValueError(f"{index.name}: weight_map: expected file names, got something else for {named(wrong)}")
    return weight_map


def _scan_safetensors(file: Path) -> dict[str, StoredTensor]:
    try:
        with safe_open(file, framework="pt") as opened:
            slices = {key: opened.get_slice(key) for key in opened.keys()}  # noqa: SIM118  (not a dict)
            return {
                key: StoredTensor(file, key, tuple(s.get_shape()), _SAFETENSORS_DTYPES.get(s.get_dtype()))
                for key, s in slices.items()
            }
    except SafetensorError as error:
        raise ValueError(f"checkpoint: {file.name} is truncated or corrupt ({error}); download it again") from error


def _open_file(file: Path) -> _OpenFile:
    if file.suffix == ".safetensors":
        opened: _OpenFile = safe_open(file, framework="pt")
        return opened
    return _TorchFile(file)


class _TorchFile:
    """A pickled file, its nested dicts flattened."""

    def __init__(self, file: Path) -> None:
        try:
            content = torch.load(file, map_location="cpu", weights_only=True, mmap=True)
        except Exception as error:  # pickle, zip and torch each raise their own
            # Not torch's own words: they go on to say how to load it all the same, and run what it holds.
            raise ValueError(
                f"checkpoint: expected {file.name} to be a torch file with nothing but tensors, got {_cause(error)}; "
                "it was not loaded"
            ) from None
        flat = dict(_flatten(content, ""))
        foreign = sorted(f"{key} ({type(v).__name__})" for key, v in flat.items() if not isinstance(v, Tensor))
        if foreign:
            raise ValueError(f"checkpoint: expected nothing but tensors in {file.name}, got {named(foreign)}")
        self.tensors: dict[str, Tensor] = flat

    def get_tensor(self, name: str) -> Tensor:
        """By dotted key."""
        return self.tensors[name]


def _flatten(content: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    """Leaves of nested dicts by dotted key; an empty dict is none."""
    if not isinstance(content, Mapping):
        yield prefix or "the file itself", content
        return
    for key, value in content.items():
        yield from _flatten(value, f"{prefix}.{key}" if prefix else str(key))


def _cause(error: Exception) -> str:
    """What torch objected to."""
    if found := re.search(r"GLOBAL (\S+)", str(error)):
        return f"one that also holds {found[1]}, which could run code"
    if isinstance(error, pickle.UnpicklingError):
        return "one that holds something else"
    return f"one that cannot be read ({(str(error).splitlines() or [type(error).__name__])[0]})"
