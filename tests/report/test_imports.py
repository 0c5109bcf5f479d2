"""A report can be made years later, on a laptop without torch, a simulator or Hydra."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

HEAVY = ("torch", "mujoco", "robosuite", "libero", "hydra", "omegaconf", "transformers", "wandb", "sapien")


def test_report_imports_nothing_heavy(repo_root: Path) -> None:
    modules = sorted(path.stem for path in (repo_root / "runners" / "report").glob("[a-z]*.py"))
    imports = "".join(f"import runners.report.{name}\n" for name in modules)
    code = f"import sys\n{imports}print([name for name in {HEAVY!r} if name in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], cwd=repo_root, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == "[]"


def test_loading_and_tables_need_no_matplotlib(repo_root: Path) -> None:
    code = "import runners.report, runners.report.sweep, sys; print('matplotlib' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], cwd=repo_root, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "False"
