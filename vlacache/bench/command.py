"""Which model: the options that the scripts share."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import shlex
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from vlacache.bench.random_weights import PROMPT_IDS, SCALES, random_model
from vlacache.core.policies import CachePolicy, build_cache_policy
from vlacache.models.factory import LoadedModel, ModelConfig, choose_dtype, load_model, shipped_models
from vlacache.models.memory import Beside, nothing_beside


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
    parser.add_argument("--scale", default="7b", choices=SCALES, help="of --random-weights")


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
        ValueError: an option that does not exist, or one that random weights do not have.
    """
    options = parse_options(args.option)
    if getattr(args, "random_weights", False):
        return _random(args, options, beside)
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
    """``key=value`` words; numbers become numbers.

    Raises:
        ValueError: a word without ``=``.
    """
    wrong = [word for word in words if "=" not in word]
    if wrong:
        raise ValueError(f"expected key=value, got {wrong}")
    return {key: _number(value) for key, _, value in (word.partition("=") for word in words)}


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


def _number(value: str) -> int | float | str:
    for kind in (int, float):
        try:
            return kind(value)
        except ValueError:
            continue
    return value


def parse_variants(words: list[str]) -> dict[str, Any]:
    """``key=value`` words that say how calls are run: fields of ``ModelConfig`` that a loaded model has too.

    Raises:
        ValueError: another field, or a word without ``=``.
    """
    variants = parse_options(words)
    _refuse_unknown(variants, LoadedModel, "--compare")
    return variants


def _random(args: argparse.Namespace, options: dict[str, Any], beside: Beside) -> LoadedModel:
    if args.checkpoint != "auto":
        raise ValueError("--random-weights: expected no --checkpoint beside it")
    # How calls are run (decode, runtime ...) is said by the loaded model; what it is, by the flags.
    _refuse_unknown(options, LoadedModel)
    device = torch.device(args.device)
    dtype = choose_dtype(device) if args.dtype == "auto" else getattr(torch, args.dtype)
    model = random_model(args.model, args.scale, device=device, dtype=dtype, beside=beside)
    return dataclasses.replace(model, **options)


def _refuse_unknown(options: dict[str, Any], kind: Any, flag: str = "--option") -> None:
    known = {f.name for f in dataclasses.fields(ModelConfig)} & {f.name for f in dataclasses.fields(kind)}
    unknown = sorted(set(options) - known)
    if unknown:
        raise ValueError(f"{flag}: expected some of {sorted(known)}, got {unknown}")
