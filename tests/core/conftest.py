"""Small prompts and states for the cache core."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from vlacache.core.layout import TokenLayout
from vlacache.core.policies import CacheState

StateMaker = Callable[..., CacheState]


@pytest.fixture
def oft_layout() -> TokenLayout:
    """Two 4x4 views, proprio, 5 text, 6 action, 1 stop token."""
    return TokenLayout.build(
        [("bos", "bos", 1), ("agentview", "vision", 16), ("wrist", "vision", 16), ("proprio", "proprio", 1),
         ("text", "text", 5), ("action", "action", 6), ("stop", "stop", 1)],
        (4, 4),
    )  # fmt: skip


@pytest.fixture
def make_state(oft_layout: TokenLayout) -> StateMaker:
    """A random state of the given seed; keyword arguments replace fields."""

    def make(seed: int = 0, num_layers: int = 8, **fields: object) -> CacheState:
        generator = torch.Generator().manual_seed(seed)
        n = oft_layout.num_patches
        values: dict[str, object] = {
            "layout": oft_layout,
            "num_layers": num_layers,
            "similarity": 0.99 + 0.01 * torch.rand(n, generator=generator),
            "scores": torch.rand(n, generator=generator),
            "entropies": 1.0 + 2.0 * torch.rand(num_layers, generator=generator),
            "oldest_age": torch.randint(0, 10, (n,), generator=generator, dtype=torch.int32),
            "generator": generator,
        }
        return CacheState(**{**values, **fields})  # type: ignore[arg-type]

    return make
