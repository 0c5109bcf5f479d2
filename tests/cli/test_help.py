"""The help is read from the YAML files: complete, grouped, quick, and within the width of a terminal."""

from __future__ import annotations

import subprocess
import sys

import pytest

from runners.cli import main
from runners.config import ConfigError
from runners.help import describe, help_text, wants_help
from runners.overrides import config_dir, group_choices, groups, keys_of
from vlacache import __version__


@pytest.mark.parametrize("argv", [["--help"], ["-h"], ["help"], ["cache=none", "--help"], ["suite=help"]])
def test_words_that_ask_for_help(argv):
    assert wants_help(argv)


def test_other_words_do_not_ask_for_help():
    assert not wants_help(["suite=toy", "run_id=help-me"])


def test_overview_names_every_choice_with_its_line():
    text = " ".join(help_text(["--help"]).split())
    for group in groups():
        assert f"{group}=" in text
        for choice in group_choices(group):
            assert f"{choice} {describe(config_dir() / group / f'{choice}.yaml')}" in text


def test_overview_names_the_defaults_and_the_common_keys():
    lines = help_text(["--help"]).splitlines()
    assert [line.split()[1] for line in lines if line.startswith("  * ")] == [
        "libero_spatial", "adaptive", "tiny_oft", "default", "none"
    ]  # fmt: skip
    for key in ("seed=0", "run_id=null", "assets=null", "device=auto"):
        assert any(line.startswith(f"  {key} ") for line in lines), key


@pytest.mark.parametrize("group", groups())
def test_group_help_names_every_key(group):
    text = help_text([f"{group}=help"])
    if group in ("experiment", "debug"):
        return  # they hold values of other groups
    for choice in group_choices(group):
        for key in keys_of(group, choice):
            assert f"{group}.{key}" in text, f"{choice}: {key}"


def test_unknown_group_is_answered_with_a_suggestion():
    with pytest.raises(ConfigError, match=r"no group 'suits'; did you mean 'suite'\?"):
        help_text(["suits=help"])


def test_version_is_that_of_the_project(capsys):
    with pytest.raises(SystemExit) as caught:
        main(["--version"])
    assert (caught.value.code, capsys.readouterr().out) == (0, f"vlacache-bench {__version__}\n")


def test_lines_fit_a_terminal():
    for argv in (["--help"], *([f"{group}=help"] for group in groups())):
        too_long = [line for line in help_text(argv).splitlines() if len(line) > 120]
        assert not too_long


def test_help_loads_no_torch(repo_root):
    code = (
        "import sys\nfrom runners.cli import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit as end:\n    sys.exit(end.code or 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=repo_root, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "Usage: python run.py" in done.stdout
