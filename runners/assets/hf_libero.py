"""Point hf-libero at our folders without its questions and without touching ``~/.libero``.

hf-libero 0.1.4 asks on standard input when its ``config.yaml`` is absent, ignores the ``assets`` key in it, and
downloads assets when the module variable ``_assets_path_cache`` is empty.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import os
import sys
import tempfile
from pathlib import Path

from runners.assets.user_cache import user_cache_dir

_PACKAGE = "libero.libero"


def activate(root: Path) -> None:
    """Make hf-libero load every object, scene and texture from ``root``. Call before an environment is built.

    May be called again with another folder: hf-libero asks for the path whenever it builds an object.

    Raises:
        RuntimeError: hf-libero is not installed. ValueError: ``root`` is not a folder.
    """
    if not root.is_dir():
        raise ValueError(f"assets: expected a folder, got {root}; use resolve_assets() to make one")
    write_config()
    vars(importlib.import_module(_PACKAGE))["_assets_path_cache"] = str(root.resolve())


def write_config() -> Path:
    """Write hf-libero's ``config.yaml`` into the user cache and make it the one in use; return its folder.

    A ``LIBERO_CONFIG_PATH`` set by the user is overridden: a foreign one could swap task and init-state files.
    """
    package = package_dir()
    text = "".join(
        f"{key}: {package / sub}\n"
        for key, sub in (
            ("benchmark_root", ""),
            ("bddl_files", "bddl_files"),
            ("init_states", "init_files"),
            ("datasets", "../datasets"),
            ("assets", "assets"),
        )
    )
    # One folder per installation, so that two virtual environments do not overwrite each other's paths.
    folder = user_cache_dir() / "hf-libero" / hashlib.sha256(text.encode()).hexdigest()[:16]
    config = folder / "config.yaml"
    if not config.is_file() or config.read_text(encoding="utf-8") != text:
        folder.mkdir(parents=True, exist_ok=True)
        handle, staging = tempfile.mkstemp(prefix=".config-", dir=folder)
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            stream.write(text)
        Path(staging).replace(config)
    os.environ["LIBERO_CONFIG_PATH"] = str(folder)
    if (module := sys.modules.get(_PACKAGE)) is not None:  # imported before us: it read the variable already
        vars(module).update(libero_config_path=str(folder), config_file=str(config))
    return folder


def package_dir() -> Path:
    """Folder of the installed hf-libero, found without importing it (the import may ask questions)."""
    try:
        spec = importlib.util.find_spec(_PACKAGE)
    except ModuleNotFoundError:
        spec = None
    if spec is None or spec.origin is None:
        raise RuntimeError("LIBERO is not installed; run: pip install 'vlacache-bench[libero]'")
    return Path(spec.origin).parent
