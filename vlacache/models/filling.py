"""From file keys to parameters: every key used or ignored by a rule, every parameter filled, nothing else.

``plan_fill`` sees names and shapes alone, so that a published layout is checked on a meta device without its weights;
``fill_parameters`` copies tensor by tensor, straight to the device in its final dtype.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from vlacache.models.weights import StoredTensor, WeightFiles, named

#: Weights may be stored in these; anything else (integers, float8) is a quantised or foreign file.
STORED_DTYPES = frozenset({torch.float32, torch.bfloat16, torch.float16})


@dataclass(frozen=True, slots=True)
class KeyRule:
    """Where a file key goes; the first rule whose pattern matches the whole key applies.

    Attributes:
        pattern: regular expression. target: parameter name with groups (``\\1``), or None: on the ignore list.
        part: ``(i, n)``: the key fills the i-th of n equal blocks of rows (fused matrices).
        published_only: applies to keys alone that the published file has, so that a pattern ignores nothing else.
    """

    pattern: str
    target: str | None
    part: tuple[int, int] = (0, 1)
    published_only: bool = False


@dataclass(frozen=True, slots=True)
class Fill:
    """File key ``key`` becomes rows ``start .. stop - 1`` of ``parameter``; all of it where ``start`` is None."""

    key: str
    parameter: str
    start: int | None = None
    stop: int | None = None


def plan_fill(
    stored: Mapping[str, StoredTensor],
    rules: Sequence[KeyRule],
    wanted: Mapping[str, tuple[int, ...]],
    what: str,
    published: Iterable[str] = (),
) -> list[Fill]:
    """Match file keys with parameters; every key is used or ignored by a rule, every parameter is filled once.

    Args:
        stored: tensors of the checkpoint. wanted: parameter name -> shape. what: names the checkpoint in the error.
        published: keys that such a file has, to name those that are missing (several make one fused parameter), and to
            ignore no others by ``published_only``; empty: not known.

    Raises:
        ValueError: names the keys that are missing, unknown, twice there, or of wrong shape or dtype.
    """
    published = frozenset(published)
    find = _Finder(rules, published)
    fills: list[Fill] = []
    problems: dict[str, list[str]] = {"unknown": [], "wrong shape": [], "wrong dtype": [], "twice": []}
    covered: dict[str, set[int]] = {name: set() for name in wanted}
    parts: dict[str, int] = {}
    for key, tensor in stored.items():
        place = find(key)
        if place is None:
            problems["unknown"].append(key)
            continue
        name, index, count = place
        if name is None:
            continue
        problem = _problem(tensor, wanted.get(name), count, index in covered.get(name, ()))
        if problem is not None:
            problems[problem[0]].append(key + problem[1])
        if name in wanted:
            covered[name].add(index)
            parts[name] = count
            fills.append(_fill(key, name, wanted[name], index, count))
    gaps = {name for name, done in covered.items() if len(done) < parts.get(name, 1)}
    absent = _absent_keys(published, find, covered, gaps) if gaps else {}
    _refuse(what, {"missing": list(absent), "missing for": list(gaps - set(absent.values())), **problems})
    return fills


def _refuse(what: str, problems: Mapping[str, Sequence[str]]) -> None:
    """Raise if there is any problem; all are named."""
    text = "; ".join(f"{kind} {named(sorted(keys))}" for kind, keys in problems.items() if keys)
    if text:
        raise ValueError(f"{what}: the weights do not fit this architecture: {text}")


class _Finder:
    """Where a file key goes: (parameter or None where it is ignored, part, number of parts), None if unknown."""

    def __init__(self, rules: Sequence[KeyRule], published: frozenset[str]) -> None:
        self._rules = [(re.compile(rule.pattern), rule) for rule in rules]
        self._published = published

    def __call__(self, key: str) -> tuple[str | None, int, int] | None:
        foreign = bool(self._published) and key not in self._published
        rules = (one for one in self._rules if not (one[1].published_only and foreign))
        found = next(((m, rule) for pattern, rule in rules if (m := pattern.fullmatch(key))), None)
        if found is None:
            return None
        match, rule = found
        return None if rule.target is None else match.expand(rule.target), *rule.part


def _absent_keys(
    published: Iterable[str], find: _Finder, covered: Mapping[str, set[int]], gaps: set[str]
) -> dict[str, str]:
    """Published key -> parameter, of the parts that no file key filled."""
    places = {key: place for key in published if (place := find(key)) is not None}
    return {
        key: name
        for key, (name, index, _) in places.items()
        if name is not None and name in gaps and index not in covered[name]
    }


def plan_model(
    model: nn.Module, files: WeightFiles, rules: Sequence[KeyRule], what: str, published: Iterable[str] = ()
) -> list[Fill]:
    """``plan_fill`` for a model's parameters; nothing is read, so it can be asked before memory is.

    Raises:
        ValueError: see ``plan_fill``.
    """
    wanted = {name: tuple(parameter.shape) for name, parameter in model.named_parameters()}
    return plan_fill(files.tensors, rules, wanted, what, published)


def fill_parameters(
    model: nn.Module,
    files: WeightFiles,
    rules: Sequence[KeyRule],
    *,
    device: torch.device,
    dtype: torch.dtype | Callable[[str], torch.dtype],
    what: str,
    published: Iterable[str] = (),
) -> None:
    """Give a model that was built on the meta device its parameters, tensor by tensor; buffers just move.

    Args:
        dtype: of all parameters, or of each by its name. what: names the checkpoint in errors. published: see
            ``plan_fill``.

    Raises:
        ValueError: see ``plan_fill``. RuntimeError: a buffer on the meta device, which no file would fill.
    """
    lost = [name for name, buffer in model.named_buffers() if buffer.is_meta]
    if lost:
        raise RuntimeError(f"{what}: buffers {named(lost)} are on the meta device; build them with device='cpu'")
    plan = plan_model(model, files, rules, what, published)
    chosen = dtype if callable(dtype) else lambda name: dtype
    for fill in plan:
        owner, leaf = model.get_submodule(fill.parameter.rpartition(".")[0]), fill.parameter.rpartition(".")[2]
        parameter: Tensor = getattr(owner, leaf)
        if parameter.is_meta:
            parameter = torch.empty(parameter.shape, dtype=chosen(fill.parameter), device=device)
            setattr(owner, leaf, nn.Parameter(parameter, requires_grad=False))
        with torch.no_grad():
            getattr(owner, leaf)[slice(fill.start, fill.stop)].copy_(files.read(fill.key))
    files.close()
    model.to(device)


def _problem(tensor: StoredTensor, shape: tuple[int, ...] | None, parts: int, is_taken: bool) -> tuple[str, str] | None:
    """The kind of problem and a note for the message."""
    if shape is None:
        return "unknown", ""
    if is_taken:
        return "twice", ""
    expected = shape if parts == 1 else (shape[0] // parts, *shape[1:])
    if tensor.shape != expected:
        return "wrong shape", f" (expected {list(expected)}, got {list(tensor.shape)})"
    if tensor.dtype not in STORED_DTYPES:
        got = str(tensor.dtype).removeprefix("torch.")
        return "wrong dtype", f" (expected float32, bfloat16 or float16, got {got})"
    return None


def _fill(key: str, name: str, shape: tuple[int, ...], index: int, count: int) -> Fill:
    if count == 1:
        return Fill(key, name)
    rows = shape[0] // count
    return Fill(key, name, index * rows, (index + 1) * rows)
