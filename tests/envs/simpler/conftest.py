"""Assets for the SIMPLER tests.

They are skipped where ``VLACACHE_ASSETS_DIR`` is not set or holds no ManiSkill assets, and never otherwise: a check
that has the assets but not the packages fails.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from runners.assets.maniskill import ManiSkillAssets, resolve_maniskill
from tests.simpler_skips import has_assets


@pytest.fixture(scope="session")
def maniskill(assets_dir: Path) -> ManiSkillAssets:
    """The ManiSkill pack of ``VLACACHE_ASSETS_DIR``; SAPIEN is ready to be imported."""
    if not has_assets():
        pytest.skip("VLACACHE_ASSETS_DIR holds no assets for SIMPLER")
    if importlib.util.find_spec("sapien") is None:
        pytest.fail("the assets for SIMPLER are there and SAPIEN is not: run `make setup-simpler`")
    from runners.envs.simpler.runtime import prepare

    prepare()
    return resolve_maniskill("auto")
