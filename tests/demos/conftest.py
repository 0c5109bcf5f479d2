"""Assets for tests of demonstrations."""

from __future__ import annotations

import pytest

from runners.assets import ResolvedAssets, resolve_assets


@pytest.fixture(scope="session")
def builtin_assets() -> ResolvedAssets:
    """The pack that the project generates, to be drawn fast."""
    return resolve_assets("builtin", suite="libero_spatial", render="fast")
