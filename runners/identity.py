"""When two runs are the same run, and when one may lend its baseline to the other.

No torch, no simulator: everything is read from a ``RunRecord``.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import platform
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from runners.records import RunRecord

#: Config keys that change neither an episode nor a time: a run may continue with other values of these.
#: ``runner.shared_baseline`` and ``runner.retime_pairs`` show in the rows themselves (``reused_from``).
FREE_KEYS: tuple[str, ...] = (
    "run_id",
    "results_dir",
    "logger",
    "debug",
    "experiment",
    "hydra",
    "runner.max_errors",
    "runner.video",
    "runner.dry_run",
    "runner.shared_baseline",
    "runner.retime_pairs",
)

#: Which episodes are run; no episode changes through them while episodes do not depend on order.
SELECTION_KEYS: tuple[str, ...] = (
    "suite.task_ids",
    "suite.episodes_per_task",
    "suite.first_state",
    "suite.init_indices",
    "suite.settings",
)

#: n initial states of each task from ``suite.first_state`` on, null for all; the one key of a run that may become
#: larger later.
GROWING_KEY = "suite.episodes_per_task"

#: Packages whose version can change an episode or a latency.
VERSIONED_PACKAGES: tuple[str, ...] = (
    "torch",
    "transformers",
    "timm",
    "numpy",
    "mujoco",
    "robosuite",
    "hf-libero",
    "bddl",
    "mani-skill",
    "sapien",
)

#: Our own sources that can change an episode or a latency, below the project's root.
EPISODE_SOURCES: tuple[str, ...] = (
    "vlacache",
    "runners/envs",
    "runners/experts",
    "runners/controls",
    "runners/assets",
    "runners/rollout.py",
)


def flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mapping -> ``{"suite.task_ids": [0, 3], ...}``; lists are values."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping) and value:
            flat.update(flatten(value, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def _digest(flat: Mapping[str, Any]) -> str:
    """First 16 hex digits of the sha256 of the canonical JSON."""
    text = json.dumps(flat, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def config_hash(config: Mapping[str, Any]) -> str:
    """Hash of a resolved config without the keys that change nothing (``FREE_KEYS``)."""
    return _digest(without(flatten(config), FREE_KEYS))


def run_identity(run: RunRecord) -> dict[str, Any]:
    """Everything that must be equal for two processes to write into one run directory."""
    identity = without(flatten(run.config), FREE_KEYS)
    identity.update(flatten({"assets": run.assets, "versions": run.versions}, "recorded."))
    for name in ("suite", "model", "weights", "cache", "device", "checkpoint", "dtype"):
        identity[f"recorded.{name}"] = getattr(run, name)
    return identity


def is_larger(stored: RunRecord, run: RunRecord) -> bool:
    """Whether ``run`` asks for more initial states of each task than ``stored``, after the same first ones.

    The other keys are not looked at. Never under ``suite.reseed=task``, where an episode depends on all before it in
    its task: a larger run would have to begin anew.
    """
    old, new = (flatten(record.config) for record in (stored, run))
    if old.get("suite.init_indices") is not None or new.get("suite.init_indices") is not None:
        return False
    if new.get("suite.reseed") == "task":
        return False
    few, many = (math.inf if flat.get(GROWING_KEY) is None else flat[GROWING_KEY] for flat in (old, new))
    return bool(many > few)


def baseline_identity(run: RunRecord) -> dict[str, Any]:
    """Everything that can change a baseline episode or its latency: all of the run but the cache policy.

    The machine is part of ``versions``. Which episodes were selected matters only under ``suite.reseed=task``,
    where an episode depends on those before it.
    """
    free = ("cache", "runner", "recorded.cache")
    identity = without(run_identity(run), free)
    if identity.get("suite.reseed") == "task":
        return identity
    return without(identity, SELECTION_KEYS)


def baseline_hash(run: RunRecord) -> str:
    """Hash of ``baseline_identity``; equal hashes may share finished baseline episodes."""
    return _digest(baseline_identity(run))


def differences(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> list[str]:
    """``key: ours != theirs`` for every key in which two flat mappings differ; an absent key reads ``<absent>``.

    Two cache policies lead as ``cache: paper != adaptive``, without the keys that only one of them has.
    """
    policies = [side.get("recorded.cache") for side in (ours, theirs)]
    other_policy = None not in policies and policies[0] != policies[1]
    lines = [f"cache: {policies[0]} != {policies[1]}"] if other_policy else []
    for key in sorted(ours.keys() | theirs.keys()):
        if other_policy and (key in ("cache.name", "recorded.cache") or _is_lone(key, ours, theirs)):
            continue
        left, right = ours.get(key, "<absent>"), theirs.get(key, "<absent>")
        if _canonical(left) != _canonical(right):
            lines.append(f"{key}: {left!r} != {right!r}")
    return lines


def _is_lone(key: str, ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> bool:
    """Whether ``key`` is a number of a cache policy that one side does not have."""
    return key.startswith("cache.") and not (key in ours and key in theirs)


def without(flat: Mapping[str, Any], keys: tuple[str, ...]) -> dict[str, Any]:
    """``flat`` less ``keys`` and all that is below them."""
    return {k: v for k, v in flat.items() if not any(k == key or k.startswith(f"{key}.") for key in keys)}


def _canonical(value: Any) -> str:
    """A value as JSON text: a tuple and the list that came back from ``run.json`` are the same."""
    return json.dumps(value, sort_keys=True, default=str)


def machine_fingerprint(accelerator: str | None = None) -> str:
    """Processor model, usable cores and accelerator, e.g. ``x86_64/Xeon 2.8GHz/2 cores/NVIDIA H100``.

    Latencies of two machines are comparable only when this is equal. It names no host.

    Args:
        accelerator: ``torch.cuda.get_device_name()`` of the device in use, or None on a CPU.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    parts = [platform.machine(), _cpu_model(), f"{cores} cores"]
    return "/".join(parts if accelerator is None else [*parts, accelerator])


def _cpu_model() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or "unknown processor"


def code_digest(root: Path | None = None) -> str:
    """First 16 hex digits of the sha256 over ``EPISODE_SOURCES``."""
    root = Path(__file__).resolve().parent.parent if root is None else root
    digest = hashlib.sha256()
    for source in EPISODE_SOURCES:
        paths = [root / source] if source.endswith(".py") else sorted((root / source).rglob("*.py"))
        for path in paths:
            digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


def collect_versions(accelerator: str | None = None) -> dict[str, str]:
    """``RunRecord.versions``: Python, the packages that matter and are installed, our own sources, the machine."""
    versions = {"python": platform.python_version()}
    for package in VERSIONED_PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    versions["code"] = code_digest()
    versions["machine"] = machine_fingerprint(accelerator)
    return versions
