"""Rows that only fill up a multiple change nothing: neither answers nor K/V nor what is counted."""

from __future__ import annotations

import pytest

from tests.models.static_arms import MOVES, check_equal, make_arm, seen
from tests.models.twins import loaded, small, tiny
from vlacache.models.factory import LoadedModel
from vlacache.models.runtime import EagerRuntime
from vlacache.models.tiny import TINY_OFT

MODELS = {"chunk": lambda: loaded(small(TINY_OFT)), "tokens": tiny}


@pytest.mark.parametrize("cache", ["adaptive", "static_task", "fixed_ratio"])
@pytest.mark.parametrize("kind", sorted(MODELS))
def test_padded_rows_change_nothing(kind: str, cache: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model: LoadedModel = MODELS[kind]()
    exact = make_arm(model, cache, None)
    monkeypatch.setattr("vlacache.models.runtime.eager.needs_products", lambda *_: True)
    padded = make_arm(model, cache, None)
    sizes = []
    plan = EagerRuntime.padding
    monkeypatch.setattr(EagerRuntime, "padding", lambda self, kv: sizes.append(plan(self, kv)) or sizes[-1])
    for step in range(len(MOVES)):
        now = seen(model, step)
        check_equal(padded, exact, padded.infer(now), exact.infer(now))
    paddings = [size for size in sizes if size is not None]
    assert len(paddings) == len(MOVES) and {p.multiple for p in paddings} == {16}
    assert {p.sink for p in paddings} == {padded.session.kv.capacity - 1}
    assert padded.session.age is not None and int(padded.session.age.max()) > 0, "nothing was reused"
