"""hf-libero is pointed at our folders without a question and without a trace in the home folder."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from runners.assets import hf_libero
from runners.assets.hf_libero import activate

pytestmark = pytest.mark.sim


def run(code: str, repo_root: Path, **variables: str) -> str:
    """Output of a fresh Python without a keyboard."""
    environment = {**os.environ, "PYTHONPATH": str(repo_root), **variables}
    result = subprocess.run(
        [sys.executable, "-c", code], env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.mark.parametrize("imported_before", [False, True])
def test_activate_in_a_fresh_home(tmp_path: Path, libero_folder: Path, repo_root: Path, imported_before: bool) -> None:
    home = tmp_path / "home"
    foreign = tmp_path / "foreign"
    home.mkdir()
    foreign.mkdir()
    (foreign / "config.yaml").write_text("bddl_files: /elsewhere\n")
    code = f"""
from pathlib import Path
from runners.assets.hf_libero import activate
{"import libero.libero" if imported_before else ""}
activate(Path({str(libero_folder)!r}))
import libero.libero as l
print(l.get_assets_path()); print(l.get_libero_path("bddl_files")); print(l.get_libero_path("init_states"))
"""
    # The foreign configuration serves only the import that comes too early; a run must not read its files.
    extra = {"LIBERO_CONFIG_PATH": str(foreign)} if imported_before else {}
    output = run(code, repo_root, HOME=str(home), VLACACHE_CACHE_DIR=str(tmp_path / "cache"), **extra)
    assets, bddl, states = output.splitlines()
    assert Path(assets) == libero_folder
    assert Path(bddl) == hf_libero.package_dir() / "bddl_files"
    assert (Path(states) / "libero_spatial").is_dir()
    assert list(home.iterdir()) == []


def test_activate_again_changes_the_folder(cache: Path, libero_folder: Path, builtin_root: Path) -> None:
    from_module = "libero.libero"
    activate(libero_folder)
    assert sys.modules[from_module].get_assets_path() == str(libero_folder)
    activate(builtin_root)
    assert sys.modules[from_module].get_assets_path() == str(builtin_root)


def test_not_a_folder(cache: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"expected a folder, got .*nowhere; use resolve_assets"):
        activate(tmp_path / "nowhere")


def test_not_installed(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hf_libero.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(RuntimeError, match="LIBERO is not installed; run: pip install"):
        activate(tmp_path)
