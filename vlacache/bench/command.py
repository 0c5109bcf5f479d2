"""Which model: the options that the scripts share."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import math
import re
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from vlacache.bench.random_weights import PROMPT_IDS, SCALES, random_model
from vlacache.core.policies import CachePolicy, build_cache_policy
from vlacache.models.factory import (
    LoadedModel,
    ModelConfig,
    choose_dtype,
    load_model,
    run_differently,
    shipped_models,
)
from vlacache.models.memory import Beside, nothing_beside
from vlacache.models.request import check_calls

_CONSTANTS = {"true": True, "false": False, "null": None}


def add_model_options(parser: argparse.ArgumentParser, *, dtype: str = "auto") -> None:
    """Add ``--model`` and what goes with it; ``dtype`` is the script's default."""
    parser.add_argument("--model", default="tiny_oft")
    parser.add_argument(
        "--checkpoint",
        default="auto",
        help="builtin, folder, hub id, or none: untrained; auto: what ships with the package, if anything",
    )
    parser.add_argument("--revision", default=None, help="commit of a hub id")
    parser.add_argument("--unnorm-key", default=None, help="data set whose statistics scale the actions")
    parser.add_argument("--option", action="append", default=[], metavar="KEY=VALUE", help="any field of ModelConfig")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--dtype", default=dtype, choices=["auto", "float32", "bfloat16"])


def add_random_options(parser: argparse.ArgumentParser) -> None:
    """Add ``--random-weights`` and its scale."""
    parser.add_argument("--random-weights", action="store_true", help=f"published shapes of {sorted(PROMPT_IDS)}")
    parser.add_argument("--scale", default=None, choices=SCALES, help=f"of --random-weights; default: {SCALES[0]}")


def at_least(least: int) -> Callable[[str], int]:
    """The ``type`` of an argument that counts something; below ``least`` or no whole number: argparse's error."""

    def count(word: str) -> int:
        if not word.strip().isdecimal() or int(word) < least:
            raise argparse.ArgumentTypeError(f"expected a whole number of at least {least}, got {word!r}")
        return int(word)

    return count


def at_least_zero(word: str) -> float:
    """The ``type`` of an argument that is a tolerance: a finite number of at least 0, else argparse's error."""
    try:
        number = float(word)
    except ValueError:
        number = math.nan
    if not 0 <= number < math.inf:
        raise argparse.ArgumentTypeError(f"expected a finite number of at least 0, got {word!r}")
    return number


def check_output(path: Path | None) -> None:
    """Refuse a file that could not be written, before what is to stand in it is measured.

    Raises:
        ValueError: a folder, or a path through a file.
    """
    if path is not None and (path.is_dir() or any(parent.is_file() for parent in path.parents)):
        raise ValueError(f"--output: expected a file to write, got {path}, which is a folder or lies in a file")


def check_device(word: str) -> torch.device:
    """The device of ``--device``.

    Raises:
        ValueError: no device of torch's, or a GPU that is not there.
    """
    if not re.fullmatch(r"cpu|cuda(:\d+)?", word):
        raise ValueError(f"--device: expected cpu, cuda or cuda:<number>, got {word!r}")
    device = torch.device(word)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ValueError(f"--device: got {word}, but torch sees {torch.cuda.device_count()} CUDA devices; use cpu")
    return device


@contextlib.contextmanager
def one_line_errors() -> Iterator[None]:
    """End the script with one line, ``error: <reason>``, and exit code 2 for what the caller can mend.

    That is bad input (``ValueError``), a file (``OSError``), or a state that nothing can go on from (``RuntimeError``:
    too little memory, a hub out of reach, actions that are not finite). Anything else is a fault of ours and keeps its
    traceback.
    """
    try:
        yield
    except (ValueError, OSError, RuntimeError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        print(f"error: {reason}", file=sys.stderr)
        raise SystemExit(2) from error


def build_model(args: argparse.Namespace, beside: Beside = nothing_beside) -> LoadedModel:
    """The model of a command line.

    Args:
        beside: what the script is going to hold on the device too.

    Raises:
        ValueError: an option that does not exist or has no such value, or one that random weights do not have.
    """
    check_device(args.device)
    options = parse_options(args.option)
    if getattr(args, "random_weights", False):
        return _random(args, options, beside)
    if getattr(args, "scale", None) is not None:
        raise ValueError("--scale: expected --random-weights beside it; a checkpoint has its own sizes")
    _refuse_unknown(options, ModelConfig)
    if "input_ids" in options:
        options["input_ids"] = parse_ids(str(options["input_ids"]))
    default = "builtin" if args.model in shipped_models() else None
    checkpoint = {"auto": default, "none": None}.get(args.checkpoint, args.checkpoint)
    settings: dict[str, Any] = {
        "checkpoint": checkpoint, "revision": args.revision, "unnorm_key": args.unnorm_key, "dtype": args.dtype,
        "device": args.device, **options,
    }  # fmt: skip
    return load_model(ModelConfig(args.model, **settings), beside)


def shown_command(argv: Sequence[str]) -> str:
    """A script's command line for the record; of paths that are not below this folder the last part alone."""
    words = [word if not Path(word).is_absolute() else Path(word).name for word in argv[1:]]
    return shlex.join(["python", f"scripts/{Path(argv[0]).name}", *words])


def parse_options(words: list[str]) -> dict[str, Any]:
    """``key=value`` words; numbers become numbers, ``true``, ``false`` and ``null`` what they say, as in YAML.

    Raises:
        ValueError: a word without ``=``.
    """
    wrong = [word for word in words if "=" not in word]
    if wrong:
        raise ValueError(f"expected key=value, got {wrong}")
    return {key: _value(value) for key, _, value in (word.partition("=") for word in words)}


def parse_ids(word: str) -> tuple[int, ...]:
    """Prompt ids, separated by commas.

    Raises:
        ValueError: something else.
    """
    if not all(part.strip().isdigit() for part in word.split(",")):
        raise ValueError(f"--option input_ids: expected ids such as 1,306,29871, got {word!r}")
    return tuple(int(part) for part in word.split(","))


def parse_cache(word: str) -> CachePolicy:
    """``name`` or ``name:key=value,key=value``.

    Raises:
        ValueError: an unknown name or key.
    """
    name, _, numbers = word.partition(":")
    return build_cache_policy(name, parse_options(numbers.split(",")) if numbers else {})


def _value(value: str) -> int | float | str | bool | None:
    if value in _CONSTANTS:
        return _CONSTANTS[value]
    for kind in (int, float):
        try:
            return kind(value)
        except ValueError:
            continue
    return value


def parse_variants(words: list[str], model: str, device: str) -> list[tuple[str, Any]]:
    """``key=value`` words that say how calls are run: fields of ``ModelConfig`` that a loaded model has too.

    Args:
        words: a key may come several times, each with another value. model, device: that are to be run so.

    Raises:
        ValueError: another field, a value that the model or the device does not have, the same word twice, or one
            without ``=``.
    """
    variants = [pair for word in words for pair in parse_options([word]).items()]
    _refuse_unknown(dict(variants), LoadedModel, "--compare")
    for key, value in variants:
        check_calls(ModelConfig(model, device=device, **{key: value}))
    if len(set(variants)) < len(variants):
        raise ValueError(f"--compare: expected each key=value once, got {words}")
    return variants


def _random(args: argparse.Namespace, options: dict[str, Any], beside: Beside) -> LoadedModel:
    given = [flag for flag in ("checkpoint", "revision", "unnorm_key") if getattr(args, flag) not in (None, "auto")]
    if given:
        raise ValueError(
            f"--random-weights: expected no --{given[0].replace('_', '-')} beside it; it is of a checkpoint"
        )
    # How calls are run (decode, runtime ...) is said by the loaded model; what it is, by the flags.
    _refuse_unknown(options, LoadedModel)
    device = torch.device(args.device)
    dtype = choose_dtype(device) if args.dtype == "auto" else getattr(torch, args.dtype)
    check_calls(ModelConfig(args.model, device=args.device, **options))
    model = random_model(args.model, args.scale or SCALES[0], device=device, dtype=dtype, beside=beside)
    return run_differently(model, options)


def _refuse_unknown(options: dict[str, Any], kind: Any, flag: str = "--option") -> None:
    known = {f.name for f in dataclasses.fields(ModelConfig)} & {f.name for f in dataclasses.fields(kind)}
    unknown = sorted(set(options) - known)
    if unknown:
        raise ValueError(f"{flag}: expected some of {sorted(known)}, got {unknown}")
