"""From plain data to a typed ``RunConfig``, a line for each mistake. Imports nothing heavy: errors come at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from pydantic import TypeAdapter, ValidationError

from runners.config import SECTIONS, TOP_LEVEL, CacheSection, ConfigError, RunConfig
from runners.config_check import check_config
from runners.suggest import one_of, suggestion
from runners.suite_names import NUM_TASKS


def parse_config(raw: Mapping[str, Any], choices: Mapping[str, str]) -> RunConfig:
    """Check a composed config and give it types. The cache policy's numbers are checked by ``check_cache``.

    Args:
        raw: resolved config as plain containers. choices: group -> chosen file, e.g. ``{"suite": "toy", ...}``.

    Raises:
        ConfigError: unknown key, wrong type or value; one line for each, with a suggestion where there is one.
    """
    unknown = set(raw) - set(SECTIONS) - set(TOP_LEVEL) - {"cache"}
    if unknown:
        raise ConfigError("\n".join(f"unknown key '{key}'{suggestion(key, TOP_LEVEL)}" for key in sorted(unknown)))
    data: dict[str, Any] = {key: raw[key] for key in TOP_LEVEL if key in raw}
    data["assets"] = data.get("assets") or default_assets(choices["suite"])
    if choices["suite"] not in NUM_TASKS:
        raise ConfigError(f"suite={choices['suite']}: no such suite; {one_of(NUM_TASKS)}")
    for section in SECTIONS:
        data[section] = {"name": choices[section], **(raw.get(section) or {})}
    numbers = {key: value for key, value in (raw.get("cache") or {}).items() if key != "name"}
    data["cache"] = {"name": choices["cache"], "numbers": numbers}
    config: RunConfig = validate(RunConfig, data)
    check_config(config)
    return config


def default_assets(suite: str) -> str:
    """What ``assets=null`` means: this project generates assets for LIBERO, SIMPLER's have to be there."""
    return "auto" if suite.startswith("simpler_") else "builtin"


def check_cache(cache: CacheSection) -> None:
    """Check the cache policy's numbers against its dataclass (imports torch, about 2 s).

    Raises:
        ConfigError: unknown key, wrong type or value.
    """
    from vlacache.core.policies import CACHE_POLICIES, build_cache_policy

    types = {field.name: str(field.type) for field in fields(CACHE_POLICIES[cache.name])}
    for key, value in cache.numbers.items():
        if isinstance(value, bool) and "bool" not in types.get(key, ""):
            raise ConfigError(f"cache.{key}: expected a number, got {value}")
    try:
        validate(CACHE_POLICIES[cache.name], cache.numbers, prefix="cache.")
        build_cache_policy(cache.name, cache.numbers)
    except ValueError as error:
        raise ConfigError(str(error)) from None


def validate(target: type, data: Mapping[str, Any], prefix: str = "") -> Any:
    """Build ``target`` from plain data, every wrong entry one line of a ``ConfigError``."""
    try:
        return TypeAdapter(target).validate_python(dict(data))
    except ValidationError as error:
        lines = []
        for problem in error.errors(include_url=False):
            line = _describe(problem, prefix)
            if line not in lines:
                lines.append(line)
        raise ConfigError("\n".join(lines)) from None


def _describe(problem: Mapping[str, Any], prefix: str) -> str:
    """One pydantic problem in the words of the command line: ``suite.task_ids[1]: expected ..., got 'x'``."""
    key = prefix
    for part in problem["loc"]:
        if isinstance(part, int):
            key = f"{key.rstrip('.')}[{part}]."
        elif not part.startswith(("tuple[", "constrained-", "literal[", "function-", "lax-or-strict")):
            key += f"{part}."
    key = key.rstrip(".")
    got = problem["input"]
    kind = problem["type"]
    if kind == "literal_error":
        expected = problem["ctx"]["expected"].replace("'", "").replace(" or ", ", ")
        return f"{key}={got}: expected one of {expected}{suggestion(str(got), expected.split(', '))}"
    if kind == "missing":
        return f"{key}: required and absent; the file of its group in configs/ must set it"
    if kind == "value_error":
        return str(problem["ctx"]["error"])  # raised by the policy's own check, which names its key
    if kind == "greater_than_equal":
        return f"{key}: expected {problem['ctx']['ge']} or more, got {got!r}"
    return f"{key}: expected {_EXPECTED.get(kind) or problem['msg'].removeprefix('Input should be ')}, got {got!r}"


_EXPECTED: dict[str, str] = {
    "int_type": "an integer",
    "bool_type": "true or false",
    "string_type": "text",
    "tuple_type": "a list such as [0,3]",
    "float_type": "a number",
    "float_parsing": "a number",
    "int_parsing": "an integer",
}
