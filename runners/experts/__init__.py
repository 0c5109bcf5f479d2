"""Scripted policies that read the simulator's state. They prove the plumbing: assets, controller, success rule."""

from __future__ import annotations

from collections.abc import Callable

from runners.envs.base import PrivilegedPolicy


def build_expert(suite: str) -> PrivilegedPolicy:
    """Expert of a suite.

    Raises:
        ValueError: no expert is written for ``suite``.
    """
    if suite not in EXPERTS:
        raise ValueError(
            f"no expert for suite {suite!r}, an expert exists for: {', '.join(sorted(EXPERTS))}; "
            "choose one of these suites or another model"
        )
    return EXPERTS[suite]()


def _toy() -> PrivilegedPolicy:
    from runners.experts.toy import ToyExpert

    return ToyExpert()


def _libero_spatial() -> PrivilegedPolicy:
    from runners.experts.libero_spatial import LiberoSpatialExpert

    return LiberoSpatialExpert()


def _libero_object() -> PrivilegedPolicy:
    from runners.experts.libero_object import LiberoObjectExpert

    return LiberoObjectExpert()


def _libero_goal() -> PrivilegedPolicy:
    from runners.experts.libero_goal import LiberoGoalExpert

    return LiberoGoalExpert()


def _simpler_widowx() -> PrivilegedPolicy:
    from runners.experts.simpler_widowx import WidowXExpert

    return WidowXExpert()


def _simpler_google() -> PrivilegedPolicy:
    from runners.experts.simpler_google import GoogleExpert

    return GoogleExpert()


#: Suite -> builder of its expert.
EXPERTS: dict[str, Callable[[], PrivilegedPolicy]] = {
    "toy": _toy,
    "libero_spatial": _libero_spatial,
    "libero_object": _libero_object,
    "libero_goal": _libero_goal,
    "simpler_widowx": _simpler_widowx,
    "simpler_google_vm": _simpler_google,
    "simpler_google_va": _simpler_google,
}
