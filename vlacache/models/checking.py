"""What can be known of a requested model without loading or downloading anything: for a dry run."""

from __future__ import annotations

from vlacache.models import openvla
from vlacache.models.cogact import checkpoint as cogact
from vlacache.models.factory import resolve_checkpoint
from vlacache.models.hub import local_folder
from vlacache.models.published import read_config
from vlacache.models.request import PUBLISHED_MODELS, ModelConfig, check_request


def check_model(config: ModelConfig) -> None:
    """Refuse what ``load_model`` would refuse by the request, and by the files of a local folder but for their tensors.

    Raises:
        ValueError, FileNotFoundError: see ``load_model``.
    """
    check_request(config)
    if config.checkpoint is None:
        return
    if config.name not in PUBLISHED_MODELS:
        if not resolve_checkpoint(config.checkpoint, config.name).is_dir():
            raise FileNotFoundError(f"model.checkpoint: expected a folder, got {config.checkpoint!r}, which is none")
        return
    folder = local_folder(config.checkpoint, config.revision)
    if folder is None:
        return
    if config.name == "cogact":
        cogact.read_description(folder, config)
        cogact.weight_file(folder)
        return
    read_config(folder, config.name, config.unnorm_key, config.sizes_file)
    openvla.open_weights(folder, config.name)
