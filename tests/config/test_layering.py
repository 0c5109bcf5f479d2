"""Imports point down: run.py > runners > vlacache.models > vlacache.core > vlacache.types.

Read from the syntax tree, so that an import inside a function or under ``TYPE_CHECKING`` counts as well.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

#: Longest match wins; a module may import its own level and lower ones.
LEVELS = {"vlacache.types": 0, "vlacache.core": 1, "vlacache.models": 2, "vlacache": 2, "runners": 3, "run": 4}
FIRST_PARTY = {"vlacache", "runners", "run", "scripts", "tests"}
ALLOWED_THIRD_PARTY = {
    "vlacache.types": {"numpy"},
    "vlacache.core": {"numpy", "torch"},
    "vlacache": {"numpy", "torch", "transformers", "tokenizers", "safetensors", "timm", "huggingface_hub", "PIL"},
    "vlacache.train": {"numpy", "torch", "safetensors", "timm", "pyarrow", "PIL"},
    "runners.records": set(),
    "runners.report": {"numpy", "pandas", "pyarrow", "scipy", "statsmodels", "matplotlib", "rich"},
}


def module_name(path: Path, root: Path) -> str:
    parts = list(path.relative_to(root).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported_modules(source: str, module: str, is_package: bool) -> Iterator[str]:
    """Absolute names of everything that ``source`` imports; ``from x import y`` gives ``x.y``, which may be a name."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = module.split(".")
                parents = parents[: len(parents) - node.level + is_package]
                base = ".".join([*parents, *([base] if base else [])])
            yield from (f"{base}.{alias.name}" for alias in node.names)


def _lookup(table: dict, module: str):
    while module:
        if module in table:
            return table[module]
        module = module.rpartition(".")[0]
    return None


def violations(source: str, module: str, is_package: bool = False) -> list[str]:
    found = []
    allowed = _lookup(ALLOWED_THIRD_PARTY, module)
    for target in imported_modules(source, module, is_package):
        top = target.partition(".")[0]
        if top in FIRST_PARTY:
            own, other = _lookup(LEVELS, module), _lookup(LEVELS, target)
            if other is None or other > own:
                found.append(f"{module} imports {target}: the arrow points up")
            elif target.startswith("vlacache.models") and own == LEVELS["runners"] and module != "runners.build":
                found.append(f"{module} imports {target}: only runners.build knows models")
        elif top not in sys.stdlib_module_names and allowed is not None and top not in allowed:
            found.append(f"{module} imports {target}: {top} does not belong in this layer")
    return found


def _sources(root: Path) -> list[Path]:
    return [root / "run.py", *sorted((root / "vlacache").rglob("*.py")), *sorted((root / "runners").rglob("*.py"))]


def test_no_import_points_up(repo_root):
    found = []
    for path in _sources(repo_root):
        name = module_name(path, repo_root)
        found += violations(path.read_text(encoding="utf-8"), name, is_package=path.name == "__init__.py")
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("module", "source", "is_package"),
    [
        ("vlacache.core.session", "from ..models import decoder", False),
        ("vlacache.core", "from .. import models", True),
        ("vlacache.core.x", "def f():\n    from vlacache.models.factory import load_model", False),
        ("vlacache.types", "from vlacache.core.layout import TokenLayout", False),
        ("vlacache.models.x", "import runners.records", False),
        ("runners.suite", "from vlacache.models.factory import load_model", False),
        ("runners.x", "import run", False),
        ("vlacache.core.x", "import transformers", False),
        ("vlacache.models.x", "import hydra", False),
        ("runners.report.x", "import torch", False),
        ("runners.report.x", "from tests.helpers import x", False),
    ],
)
def test_the_check_sees_a_wrong_import(module, source, is_package):
    assert violations(source, module, is_package)


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("vlacache.models.x", "from ..core.layout import TokenLayout"),
        ("vlacache.core.policies.base", "from ..decision import CacheDecision"),
        ("runners.build", "from vlacache.models.factory import load_model"),
        ("runners.report.x", "import json\nimport pandas as pd"),
        ("run", "from runners.cli import main"),
    ],
)
def test_the_check_lets_a_right_import_pass(module, source):
    assert not violations(source, module)


@pytest.mark.parametrize(
    "module", ["runners.records", "runners.report", "runners.report.sweep", "runners.help", "runners.config"]
)
def test_light_modules_load_nothing_heavy(repo_root, module):
    """Checked on the running interpreter, where an import through a third module shows as well."""
    code = (
        f"import sys, {module}\n"
        "heavy = {'torch', 'mujoco', 'libero', 'robosuite', 'hydra', 'wandb', 'transformers'} & set(sys.modules)\n"
        "sys.exit(f'loaded {sorted(heavy)}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=repo_root, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
