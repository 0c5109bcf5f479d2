"""The command line, checked word by word before Hydra composes it, so that every mistake gets one clear line."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import yaml
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from runners.config import ONE_ARM_MODELS, TOP_LEVEL, ConfigError, RunConfig
from runners.config_parse import parse_config
from runners.suggest import one_of, suggestion

CONFIG_NAME = "config"

#: Hydra's own options without a value.
_FLAGS = frozenset(
    {"--hydra-help", "--resolve", "--run", "-r", "--multirun", "-m", "--shell-completion", "-sc", "--version", "--help"}
)

#: Hydra's own options that take a value as the next word.
_OPTIONS_WITH_VALUE = frozenset(
    {"--cfg", "-c", "--package", "-p", "--config-path", "-cp", "--config-name", "-cn", "--config-dir", "-cd"}
    | {"--info", "-i", "--experimental-rerun"}
)


def config_dir() -> Path:
    """The ``configs`` folder of the checkout, or the copy inside the installed package."""
    package = Path(__file__).resolve().parent
    installed = package / "configs"
    return installed if installed.is_dir() else package.parent / "configs"


def groups() -> tuple[str, ...]:
    """Config groups in the order of ``config.yaml``."""
    return tuple(_defaults())


def default_choice(group: str) -> str | None:
    """The file that is taken when the command does not name one."""
    return _defaults()[group]


@functools.cache
def _defaults() -> dict[str, str | None]:
    entries = yaml.safe_load((config_dir() / f"{CONFIG_NAME}.yaml").read_text(encoding="utf-8"))["defaults"]
    merged = {key: value for entry in entries if isinstance(entry, Mapping) for key, value in entry.items()}
    return {key: value for key, value in merged.items() if not key.startswith("override ")}


def group_choices(group: str) -> tuple[str, ...]:
    """File names of a group; those that start with an underscore are parts of others."""
    files = sorted(path.stem for path in (config_dir() / group).glob("*.yaml"))
    return tuple(name for name in files if not name.startswith("_"))


@dataclass(frozen=True, slots=True)
class ComposedRun:
    """One run that the command line asks for: typed config, and the same as plain containers for the record."""

    config: RunConfig
    resolved: dict[str, Any]


def split_words(argv: Sequence[str]) -> tuple[list[str], list[str]]:
    """Separate Hydra's options from ``key=value`` words.

    Raises:
        ConfigError: a word is neither.
    """
    options, words = [], []
    remaining = iter(argv)
    for word in remaining:
        if word in _OPTIONS_WITH_VALUE:
            options += [word, *itertools.islice(remaining, 1)]
        elif word in _FLAGS or word.partition("=")[0] in _OPTIONS_WITH_VALUE:
            options.append(word)
        elif word.startswith("-"):
            known = sorted(_FLAGS | _OPTIONS_WITH_VALUE)
            raise ConfigError(f"'{word}': no such option{suggestion(word, known)}")
        elif "=" in word or word.startswith("~"):
            words.append(word)
        else:
            raise ConfigError(f"'{word}': expected key=value, such as cache=adaptive{_whole_word_hint(word)}")
    return options, words


def _whole_word_hint(word: str) -> str:
    hits = [f"{group}={word}" for group in groups() if word in group_choices(group)]
    return f"; did you mean {hits[0]}?" if hits else ""


def compose_runs(words: Sequence[str]) -> list[ComposedRun]:
    """Every run that ``words`` stand for (several when a value is a sweep such as ``cache=none,paper``), checked.

    Raises:
        ConfigError: unknown group, choice or key, or a wrong value.
    """
    overrides = _parse(words)
    _check_named_once(overrides)
    for override in overrides:
        _check_choice(override)
    return [_compose_run(job) for job in _expand(overrides)]


def compose_run(words: Sequence[str]) -> ComposedRun:
    """The one run that ``words`` stand for. Raises ``ConfigError`` as ``compose_runs`` does."""
    runs = compose_runs(words)
    if len(runs) != 1:
        raise ConfigError(f"expected one run, got {len(runs)}: add -m to run them all")
    return runs[0]


def _parse(words: Sequence[str]) -> list[Override]:
    parser = OverridesParser.create()
    overrides = []
    for word in words:
        try:
            overrides.append(parser.parse_override(word))
        except HydraException:
            raise ConfigError(
                f"'{word}': cannot be read; expected key=value. Quote lists and spaces: 'suite.task_ids=[0,3]'"
            ) from None
    return overrides


def _expand(overrides: Sequence[Override]) -> Iterator[list[str]]:
    """The words of each job of a sweep; one job when nothing is swept."""
    columns: list[list[str]] = []
    for override in overrides:
        if override.is_sweep_override():
            key = override.get_key_element()
            columns.append([f"{key}={value}" for value in override.sweep_string_iterator()])
        else:
            columns.append([str(override.input_line)])
    return (list(job) for job in itertools.product(*columns))


def _check_named_once(overrides: Sequence[Override]) -> None:
    """A group takes one file: of two, Hydra would silently take the last."""
    named: dict[str, str] = {}
    for override in overrides:
        group, word = override.key_or_group, str(override.input_line)
        if group in groups() and named.setdefault(group, word) != word:
            raise ConfigError(
                f"{group} is named twice: {named[group]} and {word}; name it once, or sweep with -m {group}=a,b"
            )


def _check_choice(override: Override) -> None:
    """A group's value must be one of its files."""
    group = override.key_or_group
    if group in ("experiment", "debug") and override.value() is None:
        return
    if group not in groups():
        return
    values = list(override.sweep_string_iterator()) if override.is_sweep_override() else [override.value()]
    for value in values:
        if value not in group_choices(group):
            choices = group_choices(group)
            raise ConfigError(f"{group}={value}: no such {group}{suggestion(str(value), choices)}; {one_of(choices)}")


def _compose_run(words: Sequence[str]) -> ComposedRun:
    chosen = [word for word in words if word.lstrip("+").partition("=")[0] in groups()]
    with initialize_config_dir(version_base="1.3", config_dir=str(config_dir())):
        frame = _compose(chosen)
        for override in _parse(words):
            _check_key(override, frame)
        composed = _compose(words)
    HydraConfig.instance().set_config(composed)  # for values such as run_id=x/${hydra:runtime.choices.cache}
    choices = dict(composed.hydra.runtime.choices)
    del composed["hydra"]
    return to_run(composed, choices, words)


def to_run(composed: Any, choices: Mapping[str, str], words: Sequence[str]) -> ComposedRun:
    """A composed ``DictConfig`` without its ``hydra`` node -> typed and plain config.

    Args:
        composed: all groups. choices: group -> chosen file. words: the command's ``key=value`` words.

    Raises:
        ConfigError: see ``parse_config``; also when an interpolation fails.
    """
    try:
        raw = cast("dict[str, Any]", OmegaConf.to_container(composed, resolve=True, throw_on_missing=True))
    except OmegaConfBaseException as error:
        raise ConfigError(str(error).splitlines()[0]) from None
    _count_named_states(raw.get("suite"), words)
    config = parse_config(raw, choices)
    _check_base(config.model.base)
    named = {group: {"name": choices[group], **(raw.get(group) or {})} for group in _NAMED_GROUPS}
    return ComposedRun(config, {**raw, **named, "assets": config.assets})


def _check_base(base: str | None) -> None:
    """What ``model=blind`` blinds must be a model that is given pictures."""
    seeing = tuple(name for name in group_choices("model") if name not in ONE_ARM_MODELS)
    if base is not None and base not in seeing:
        raise ConfigError(
            f"model.base={base}: no model that is given pictures{suggestion(base, seeing)}; {one_of(seeing)}"
        )


def _count_named_states(suite: Any, words: Sequence[str]) -> None:
    """A list in ``suite.init_indices`` is the selection: the ``episodes_per_task`` of a file gives way to its length.

    One that the command itself names stays, so that ``plan_episodes`` can refuse a contradiction.
    """
    named = any(word.lstrip("+").partition("=")[0] == "suite.episodes_per_task" for word in words)
    if isinstance(suite, dict) and isinstance(suite.get("init_indices"), list) and not named:
        suite["episodes_per_task"] = max(1, len(suite["init_indices"]))  # an empty list is refused as such


_NAMED_GROUPS = ("suite", "model", "cache", "runner", "logger")


def _compose(words: Sequence[str]) -> Any:
    try:
        composed = compose(CONFIG_NAME, list(words), return_hydra_config=True)
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError(str(error).splitlines()[0]) from None
    OmegaConf.set_struct(composed, False)
    return composed


def _check_key(override: Override, frame: Any) -> None:
    """The key must exist in the composed groups; ``+new.key=1`` does not make one."""
    key = override.get_key_element().lstrip("+~")
    section, _, name = key.partition(".")
    if section == "hydra" or section.startswith("hydra/") or key in groups():
        return
    if section not in groups():
        if key not in TOP_LEVEL:
            known = (*TOP_LEVEL, *groups())
            raise ConfigError(f"unknown key '{key}'{suggestion(key, known)}; {one_of(known)}")
        return
    known = tuple(key for key in frame.get(section) or () if key != "name")
    if name in known:
        return
    variant = frame.hydra.runtime.choices[section]
    keys = one_of(known).removeprefix("choose from ") if known else "none"
    message = f"{section}={variant} has no key '{name}'{suggestion(name, known)}; its keys: {keys}"
    raise ConfigError(message + _other_variants(section, name))


def _other_variants(group: str, name: str) -> str:
    """``"; 'tau' belongs to cache=adaptive, ..."`` when other files of the group have the key."""
    others = [c for c in group_choices(group) if name in keys_of(group, c)]
    return f"\n'{name}' belongs to {', '.join(f'{group}={other}' for other in others)}" if others else ""


def keys_of(group: str, choice: str) -> dict[str, Any]:
    """Keys and values of one file of a group, its parts included."""
    text = (config_dir() / group / f"{choice}.yaml").read_text(encoding="utf-8")
    content: dict[str, Any] = yaml.safe_load(text) or {}
    merged: dict[str, Any] = {}
    for part in content.pop("defaults", []):
        if isinstance(part, str) and part != "_self_":
            merged.update(keys_of(group, part))
    content.pop("name", None)  # the file's own name, no key to change
    return {**merged, **content}
