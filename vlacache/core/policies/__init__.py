"""Cache policies by name. Each is a frozen dataclass: state in, ``CacheDecision`` out, tested without a model."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from vlacache.core.policies.adaptive import Adaptive
from vlacache.core.policies.base import CachePolicy, CacheState
from vlacache.core.policies.controls import FixedRatio, NoCache, RandomShare, Static, StaticTask
from vlacache.core.policies.published import OfficialVLACache, PaperVLACache

#: name -> policy class; the class's fields are the keys of ``configs/cache/<name>.yaml``.
CACHE_POLICIES: dict[str, type[CachePolicy]] = {
    policy.name: policy
    for policy in (NoCache, Static, StaticTask, FixedRatio, RandomShare, PaperVLACache, OfficialVLACache, Adaptive)
}

__all__ = ["CACHE_POLICIES", "CachePolicy", "CacheState", "build_cache_policy"]


def _did_you_mean(word: str, choices: list[str]) -> str:
    close = difflib.get_close_matches(word, choices, n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


def build_cache_policy(name: str, numbers: Mapping[str, Any] | None = None) -> CachePolicy:
    """Build a policy from its config.

    Args:
        name: a key of ``CACHE_POLICIES``. numbers: values for some of its fields.

    Raises:
        ValueError: an unknown name or key (with a suggestion), a value of the wrong type or outside its range.
    """
    if name not in CACHE_POLICIES:
        choices = sorted(CACHE_POLICIES)
        raise ValueError(f"cache: expected one of {choices}, got {name!r}{_did_you_mean(name, choices)}")
    policy = CACHE_POLICIES[name]
    known = [f.name for f in fields(policy)]
    for key in numbers or {}:
        if key not in known:
            raise ValueError(f"cache.{key}: cache={name} has the keys {known}{_did_you_mean(key, known)}")
    try:
        return policy(**(numbers or {}))
    except TypeError as error:
        raise ValueError(
            f"cache={name}: expected numbers for {sorted(numbers or {})}, got {dict(numbers or {})}"
        ) from error
