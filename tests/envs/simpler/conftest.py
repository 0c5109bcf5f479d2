"""Assets for the SIMPLER tests: skipped only where ``VLACACHE_ASSETS_DIR`` is not set."""

from __future__ import annotations

from pathlib import Path

import pytest

from runners.assets.maniskill import ManiSkillAssets, resolve_maniskill
from runners.envs.simpler.runtime import prepare


@pytest.fixture(scope="session")
def maniskill(assets_dir: Path) -> ManiSkillAssets:
    """The ManiSkill pack of ``VLACACHE_ASSETS_DIR``; SAPIEN is ready to be imported."""
    prepare()
    return resolve_maniskill("auto")
