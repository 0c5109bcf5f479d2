"""The page of measured numbers is written from the files."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest

from tests.bench.scripts import load_script


@pytest.fixture(scope="module")
def script(repo_root: Path) -> ModuleType:
    return load_script(repo_root, "bench_docs")


def test_the_page_says_what_the_files_say(script: ModuleType) -> None:
    now = script.PAGE.read_text()
    assert script.page(now, script.sections(script.RESULTS)) == now, "run python scripts/bench_docs.py"


def test_tables_replace_what_stood_between_the_markers(script: ModuleType) -> None:
    text = f"before\n{script.BEGIN}\nold\n{script.END}\nafter\n"
    once = script.page(text, ["## New\n"])
    assert once == f"before\n{script.BEGIN}\n\n## New\n\n{script.END}\nafter\n"
    assert script.page(once, ["## New\n"]) == once


@pytest.mark.parametrize("text", ["", "{b}", "{e}{b}", "{b}{b}{e}", "{b}{e}{e}"])
def test_a_page_without_its_markers_is_refused(script: ModuleType, text: str) -> None:
    with pytest.raises(ValueError, match="once each"):
        script.page(text.format(b=script.BEGIN, e=script.END), [])


def test_no_file_is_of_weights_that_no_longer_ship(script: ModuleType, tmp_path: Path) -> None:
    assert script.stale_files(script.RESULTS) == []
    current = script.checkpoint_id(script.PACKAGED / "tiny_oft")
    (tmp_path / "now.json").write_text(f'{{"checkpoint": "{current}", "other": "some_model@0123456789ab"}}')
    (tmp_path / "old.json").write_text(f'{{"checkpoint": "{current}", "trace": "of tiny_oft@0123456789ab, task 0"}}')
    assert script.stale_files(tmp_path) == ["old.json"]
