"""``--help`` and ``<group>=help``: read from the YAML files themselves, so that it cannot be out of date. No torch."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Sequence
from pathlib import Path

from runners.suggest import one_of, suggestion

_HELP_WORDS = frozenset({"--help", "-h", "help"})
WIDTH = 110
#: key -> value as written, comment.
Rows = dict[str, tuple[str, str]]

EXAMPLES = """\
Examples
  python run.py suite=libero_spatial cache=adaptive
      the full job: every task, 50 initial states, baseline and policy from each
  python run.py suite=libero_spatial cache=adaptive suite.task_ids=[0,3] suite.episodes_per_task=5 run_id=demo
      a part of it; the same command continues a run that was cut off
  python run.py suite=libero_spatial cache=paper runner.dry_run=true
      the episodes, the hours and the disk it would take, and nothing else
  python run.py model=expert cache=none suite.episodes_per_task=5
      the scripted expert: proves that simulator, assets and controller work here
  python run.py -m cache=fixed_ratio cache.reuse_ratio=0.2,0.4,0.6,0.8
      a sweep; `make sweep` runs the one of the README
  python run.py debug=smoke
      the whole path in seconds on the toy suite
"""

LAYOUT = """\
A name (`suite=toy`) chooses a file of `configs/<group>/`; a key (`suite.max_steps=100`) changes one value of it.
Results: results/<run_id>/ with report.md, summary.json, plots/, episodes.jsonl, steps/, config.yaml, run.json.
Exit codes: 0 done, 1 the run failed, 2 bad input, 130 interrupted.
"""


def wants_help(argv: Sequence[str]) -> bool:
    """Whether the words ask for help: ``--help``, ``-h``, ``help`` or ``<group>=help``."""
    return any(word in _HELP_WORDS or word.endswith("=help") for word in argv)


def help_text(argv: Sequence[str]) -> str:
    """The help that ``argv`` asks for.

    Raises:
        ConfigError: help for a group that does not exist.
    """
    from runners.config import ConfigError
    from runners.overrides import groups

    asked = [word.removesuffix("=help") for word in argv if word.endswith("=help")]
    if not asked:
        return overview()
    known = groups()
    for name in asked:
        if name not in known:
            raise ConfigError(f"no group '{name}'{suggestion(name, known)}; {one_of(known)}")
    return "\n".join(group_help(name) for name in asked)


def overview() -> str:
    """All groups with one line for each choice, the top-level keys, examples."""
    from runners.overrides import CONFIG_NAME, config_dir, groups

    parts = [
        "Measures what reusing K/V entries between frames costs and gains in vision-language-action policies.",
        "\nUsage: python run.py [group=name ...] [key=value ...]      one group in full: python run.py suite=help\n",
        *(_choices(group) for group in groups()),
        "Keys without a group",
        *_format(_rows(config_dir() / f"{CONFIG_NAME}.yaml"), prefix=""),
        "",
        EXAMPLES,
        LAYOUT.rstrip(),
    ]
    return "\n".join(parts)


def group_help(group: str) -> str:
    """The choices of one group, the keys of the default one, and in what the others differ."""
    from runners.overrides import config_dir, default_choice, group_choices

    choices = group_choices(group)
    rows = {choice: _merged_rows(config_dir() / group, choice) for choice in choices}
    first = default_choice(group) or choices[0]
    parts = [_choices(group), f"Keys of {group}={first}", *(_format(rows[first], f"{group}.") or ["  none"])]
    for choice in choices:
        if choice != first:
            parts += _differences(rows[choice], rows[first], f"{group}={choice}", f"{group}.")
    return "\n".join(parts).rstrip()


def _differences(ours: Rows, base: Rows, name: str, prefix: str) -> list[str]:
    """Keys that ``name`` has otherwise than the file shown before it."""
    own = {key: row for key, row in ours.items() if base.get(key, ("",))[0] != row[0]}
    absent = [prefix + key for key in base if key not in ours]
    lines = [f"\nKeys of {name}: the same" + (", but" if own or absent else "")] if len(absent) < len(base) else []
    if not lines:
        lines = [f"\nKeys of {name}" + ("" if own else ": none")]
        absent = []
    lines += _format(own, prefix)
    return lines + ([_wrap("  without ", ", ".join(absent), 10)] if absent else [])


def describe(path: Path) -> str:
    """First comment line of a YAML file that is not Hydra's package header."""
    lines = path.read_text(encoding="utf-8").splitlines()
    first = next((line for line in lines if not line.startswith("# @package")), "")
    if not first.startswith("# "):
        raise RuntimeError(f"{path.name}: expected a first line '# what this is', got {first!r}")
    return first.removeprefix("# ").strip()


def _choices(group: str) -> str:
    from runners.overrides import config_dir, default_choice, group_choices

    default = default_choice(group)
    lines = [f"{group}="]
    names = group_choices(group)
    width = max(len(name) for name in names) + 3
    for name in names:
        mark = "*" if name == default else " "
        lines.append(_wrap(f"  {mark} {name}", describe(config_dir() / group / f"{name}.yaml"), width + 4))
    if default is not None:
        lines.append("  (* the default)")
    return "\n".join(lines) + "\n"


def _wrap(head: str, text: str, column: int) -> str:
    if not text:
        return head
    return textwrap.fill(
        text, WIDTH, initial_indent=head.ljust(column), subsequent_indent=" " * column, break_on_hyphens=False
    )


_KEY_LINE = re.compile(r"^(?P<key>[a-z_]+):(?P<value>[^#]*)(#\s*(?P<comment>.*))?$")


def _merged_rows(folder: Path, choice: str) -> Rows:
    """Rows of a file; those of the parts it is made of first, its own values in place."""
    path = folder / f"{choice}.yaml"
    parts = re.findall(r"^  - (?!_self_)([a-z_]+)$", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    rows: Rows = {}
    for part in parts:
        rows.update(_rows(folder / f"{part}.yaml"))
    for key, (value, comment) in _rows(path).items():
        rows[key] = (value, comment or rows.get(key, ("", ""))[1])
    return rows


def _rows(path: Path) -> Rows:
    rows = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        if (match := _KEY_LINE.match(line)) and match["value"].strip() and match["key"] != "name":
            rows[match["key"]] = (match["value"].strip(), match["comment"] or "")
    return rows


def _format(rows: Rows, prefix: str) -> list[str]:
    heads = {key: f"  {prefix}{key}={value}" for key, (value, _) in rows.items()}
    width = max((len(head) for head in heads.values()), default=0) + 2
    return [_wrap(head, rows[key][1], width) for key, head in heads.items()]
