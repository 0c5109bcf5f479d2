"""What the repository promises: the README's commands, the Makefile, the check script, no trace of one machine."""

from __future__ import annotations

import re
import subprocess
import tomllib

import pytest

from runners.config import TOP_LEVEL
from runners.overrides import compose_run, groups, keys_of, split_words


def read(path):
    return path.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def tracked(repo_root):
    """Tracked text files, and new ones that git does not ignore."""
    done = subprocess.run(
        ["git", "-C", str(repo_root), "ls-files", "--cached", "--others", "--exclude-standard"],
        capture_output=True,
        text=True,
    )
    if done.returncode:
        pytest.skip("not a git checkout")
    return [repo_root / name for name in done.stdout.splitlines() if (repo_root / name).is_file()]


def shell_commands(text):
    """Lines of the ``bash`` blocks of a Markdown text, without comments."""
    blocks = re.findall(r"^```bash\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)
    lines = [line.split(" #")[0].strip() for block in blocks for line in block.splitlines()]
    return [line for line in lines if line and not line.startswith("#")]


def make_targets(repo_root):
    return set(re.findall(r"^([a-z-]+):", read(repo_root / "Makefile"), flags=re.MULTILINE))


def test_first_screen_holds_the_two_commands(repo_root):
    first_screen = "\n".join(read(repo_root / "README.md").splitlines()[:12])
    assert shell_commands(first_screen + "\n```")[:2] == ["make run", "make test"]


def test_every_command_of_the_readme_exists(repo_root):
    commands = shell_commands(read(repo_root / "README.md"))
    assert len(commands) >= 6
    for command in commands:
        tool, *words = command.split()
        if tool == "make":
            assert words[0] in make_targets(repo_root), command
        elif words[:1] == ["run.py"]:
            if "--help" not in words and not words[-1].endswith("=help"):
                compose_run(split_words(words[1:])[1])
        elif tool != "source":
            assert tool == "python", command
            assert (repo_root / words[0]).is_file(), command


def test_every_key_of_the_readme_exists(repo_root):
    text = read(repo_root / "README.md")
    for group, key in re.findall(r"`(suite|model|cache|runner|logger)\.([a-z_]+)", text):
        from runners.overrides import group_choices

        assert any(key in keys_of(group, choice) for choice in group_choices(group)), f"{group}.{key}"
    for key in TOP_LEVEL:
        assert f"`{key}`" in text


def test_links_of_the_documents_exist(tracked):
    for path in tracked:
        if path.suffix == ".md":
            for link in re.findall(r"\]\(([^)#\s]+)", read(path)):
                assert link.startswith("http") or (path.parent / link).exists(), f"{path.name}: {link}"


def test_no_document_holds_a_placeholder(tracked):
    """A comment in capitals, such as the place of a picture that is still to be made."""
    placeholder = re.compile(r"<!--\s*[A-Z][A-Z0-9_-]{2,}\b[^>]*-->")
    assert placeholder.search("<!-- FIRST-" + "SCREEN-TABLE -->")
    found = [f"{p.name}: {hit}" for p in tracked if p.suffix == ".md" for hit in placeholder.findall(read(p))]
    assert not found


def test_make_help_lists_every_target(repo_root):
    done = subprocess.run(["make", "-s", "help"], cwd=repo_root, capture_output=True, text=True)
    assert done.returncode == 0
    listed = set(re.findall(r"^  make ([a-z-]+) ", done.stdout, flags=re.MULTILINE))
    assert listed == make_targets(repo_root)


def test_training_reads_the_folders_that_make_demos_writes(repo_root, tmp_path):
    """Not whatever lies beside them: ``collect_demos.py`` alone writes there too. Names have spaces."""

    stamp = tmp_path / "installed"  # Newer than what it depends on. Not the Makefile: make updates that also with -n.
    stamp.touch()

    def dry_run(*words):
        command = ["make", "-sn", *words, f"STAMP={stamp}"]
        done = subprocess.run(command, cwd=repo_root, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout.replace("\\\n", " ")

    folder = tmp_path / "my demos"
    collecting = dry_run("demos", f"DEMOS={folder}")
    made = set(re.findall(r'--output "([^"]+)"', collecting))
    assert len(made) == collecting.count("--output") == 7
    training = dry_run("train", f"DEMOS={folder}", f"TRAIN={folder}/run").removeprefix(collecting)
    assert set(re.findall(rf'"({re.escape(str(folder))}/\w+)"', training.split("--folder")[0])) == made
    assert f'--folder "{folder}/run"' in training and "*" not in training


def test_setup_refuses_a_wrong_python(repo_root, tmp_path):
    fake = tmp_path / "python"
    fake.write_text('#!/bin/sh\n[ "$1" = --version ] && echo "Python 3.8.1"\nexit 1\n')
    fake.chmod(0o755)
    done = subprocess.run(
        ["bash", "scripts/setup.sh", str(fake), str(tmp_path / "venv")], cwd=repo_root, capture_output=True, text=True
    )
    assert done.returncode == 1
    assert done.stderr.startswith("error: expected Python 3.11 or 3.12, got Python 3.8.1")
    done = subprocess.run(
        ["bash", "scripts/setup.sh", "no-such-python", str(tmp_path / "venv")],
        cwd=repo_root,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert "'no-such-python' not found. Install Python 3.11" in done.stderr
    assert not (tmp_path / "venv").exists()


def test_check_script_calls_the_readme_test_command(repo_root):
    assert read(repo_root / ".ci/run").splitlines()[-1] == "make test"
    assert (repo_root / ".ci/run").stat().st_mode & 0o111


def test_system_packages_are_named_once_and_alike(repo_root):
    from runners.envs.libero_runtime import APT_PACKAGES

    assert APT_PACKAGES in read(repo_root / "scripts/setup.sh")


def test_nothing_of_one_machine_is_tracked(tracked):
    private = re.compile(r"(?<![\w.])/(?:work|root|home/\w+|tmp/\w+)/")
    found = []
    for path in tracked:
        if path.suffix in {".py", ".md", ".yaml", ".toml", ".cff", ".sh", ".json", ""} and path.name != "LICENSE":
            found += [f"{path.name}: {match}" for match in private.findall(read(path))]
            if "../shared" in read(path) and path.parts[-2:] != (".ci", "run") and path.name != "test_repository.py":
                found.append(f"{path.name}: ../shared")
    assert not found


def test_project_file_pins_the_simulator(repo_root):
    project = tomllib.loads(read(repo_root / "pyproject.toml"))["project"]
    assert {"hf-libero==0.1.4", "mujoco==3.3.2"} <= set(project["optional-dependencies"]["libero"])
    assert set(project["optional-dependencies"]) == {"libero", "simpler", "wandb", "ray", "dev"}
    assert project["scripts"] == {"vlacache-bench": "runners.cli:main"}


def test_version_and_license_agree(repo_root):
    project = tomllib.loads(read(repo_root / "pyproject.toml"))["project"]
    citation = read(repo_root / "CITATION.cff")
    assert f"version: {project['version']}" in citation
    assert f"license: {project['license']}" in citation
    assert "Apache License" in read(repo_root / "LICENSE")[:200]


def test_every_sweep_command_composes():
    """The words that ``make sweep`` hands to Hydra, checked without running them."""
    from runners.overrides import compose_runs
    from scripts.sweep import commands

    runs = [run.config for words in commands("demo", []) for run in compose_runs(split_words(words)[1])]
    assert [run.run_id for run in runs] == [
        "demo/none",
        *(f"demo/fixed_ratio-{ratio}" for ratio in (0.2, 0.4, 0.6, 0.8)),
        *(f"demo/{name}" for name in ("adaptive", "paper", "official")),
    ]
    assert {run.runner.shared_baseline for run in runs[1:]} == {"demo/none"}
    assert len({(run.suite, run.model, run.seed) for run in runs}) == 1


def test_groups_are_those_of_the_design():
    assert set(groups()) == {"suite", "model", "cache", "runner", "logger", "experiment", "debug"}
