"""LIBERO's published assets, downloaded from the place that hf-libero names."""

from __future__ import annotations

import importlib
from pathlib import Path

from runners.assets.hf_libero import write_config
from runners.assets.packs import is_libero_folder, stored_digest
from runners.assets.user_cache import publish_tree, user_cache_dir


def official_assets() -> tuple[Path, str, str]:
    """Return (folder, hex digest, repository id), downloading once into the user cache.

    Raises:
        RuntimeError: the hub cannot be reached or sent something incomplete; says what to do instead.
    """
    write_config()
    repository: str = importlib.import_module("libero.libero.utils.download_utils").HF_ASSETS_REPO_ID
    target = publish_tree(
        user_cache_dir() / "official" / repository.replace("/", "--"), lambda folder: _download(repository, folder)
    )
    return target, stored_digest(target), repository


def _download(repository: str, folder: Path) -> None:
    """Fetch the whole data set into ``folder``.

    hf-libero's own function is not called: it passes an argument that huggingface_hub 1.0 removed, and takes a half
    finished download for a complete one.
    """
    import huggingface_hub

    try:
        huggingface_hub.snapshot_download(repo_id=repository, repo_type="dataset", local_dir=folder)
    except Exception as error:  # the hub raises many kinds, of its own and of its HTTP library
        raise RuntimeError(
            f"assets=auto: VLACACHE_ASSETS_DIR is not set and LIBERO's assets could not be downloaded from "
            f"{repository} ({type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'no message'}). "
            "Set VLACACHE_ASSETS_DIR to a folder or pack with LIBERO's assets, pass assets=<folder>, "
            "or use assets=builtin"
        ) from error
    if not is_libero_folder(folder):
        raise RuntimeError(f"assets=auto: the download from {repository} holds no LIBERO assets; pass assets=<folder>")
