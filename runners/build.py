"""From config names to policies and observers: the only module that imports models; envs are in ``simulators.py``.

Heavy imports happen inside the functions, so that a mistake in the command is reported before torch is loaded.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runners.config import RunConfig
from runners.simulators import build_simulator
from runners.suite_names import SUITE_ROBOTS
from vlacache.types import Policy

if TYPE_CHECKING:
    from vlacache.models.request import ModelConfig


@dataclass(frozen=True, slots=True)
class Arms:
    """The two policies of a run and what the record says about them.

    Attributes:
        policy: None when the run has one arm (``cache=none``).
        device: name of the accelerator, or ``cpu``. accelerator: the same, None on a CPU.
        trained_on: suites that the weights were made for; empty where that is not known.
    """

    baseline: Policy
    policy: Policy | None
    device: str
    accelerator: str | None
    dtype: str
    checkpoint: str | None
    num_layers: int = 0
    views: tuple[str, ...] = ()
    grid: tuple[int, ...] = ()
    resolved_cache: dict[str, Any] = field(default_factory=dict)
    trained_on: tuple[str, ...] = ()


def seed_everything(seed: int) -> None:
    """Seed Python, NumPy and torch; 0 is a seed like any other."""
    import numpy as np
    import torch

    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - the simulators draw from the global generator
    torch.manual_seed(seed)


def build_arms(config: RunConfig) -> Arms:
    """Baseline and policy of ``config.model`` and ``config.cache``; both share one set of weights.

    Raises:
        ValueError: a model setting that does not fit. FileNotFoundError: the checkpoint is missing.
    """
    builders: dict[str, Callable[[RunConfig], Arms]] = {"expert": _expert_arms, "replay": _replay_arms}
    return builders.get(config.model.name, _model_arms)(config)


def _expert_arms(config: RunConfig) -> Arms:
    from runners.experts import build_expert

    expert = build_expert(config.suite.name)
    second = build_expert(config.suite.name) if config.runner.self_pair else None
    return Arms(expert, second, "cpu", None, "float64", None, resolved_cache={"name": "none"})


def _replay_arms(config: RunConfig) -> Arms:
    from runners.controls.replay import ReplayPolicy
    from runners.experts import build_expert

    make_env = build_simulator(config).make_env
    arms = [ReplayPolicy(make_env, build_expert(config.suite.name)) for _ in range(1 + config.runner.self_pair)]
    second = arms[1] if config.runner.self_pair else None
    return Arms(arms[0], second, "cpu", None, "float64", None, resolved_cache={"name": "none"})


def check_robot(config: RunConfig) -> None:
    """Refuse a model whose actions are another robot's than the suite's, before anything is loaded or downloaded.

    Raises:
        ValueError: a model of a SIMPLER robot on LIBERO's or of LIBERO's on SIMPLER's, or of the other SIMPLER robot.
    """
    model = config.model
    if model.name in ("expert", "replay"):
        return
    from vlacache.models.robots import ROBOTS

    name = model.base or model.name
    keys = {robot.unnorm_key: robot for robot in ROBOTS.values()}
    wanted = SUITE_ROBOTS.get(config.suite.name)
    named = "" if model.unnorm_key is None else f" with model.unnorm_key={model.unnorm_key}"
    if wanted is None:
        if name == "cogact" or model.unnorm_key in keys:
            raise ValueError(
                f"model={model.name}{named}: its actions are those of a SIMPLER robot (metres, its own camera and "
                f"gripper), suite={config.suite.name} takes robosuite's; choose model=openvla or model=openvla_oft "
                f"with statistics of LIBERO, or one of the suites {', '.join(SUITE_ROBOTS)}"
            )
        return
    key = next(key for key, robot in keys.items() if robot.name == wanted)
    if name not in SIMPLER_MODELS or (model.unnorm_key or key) != key:
        raise ValueError(
            f"model={model.name}{named}: its actions are not those of {wanted}, the robot of "
            f"suite={config.suite.name}; choose {' or '.join(f'model={name}' for name in SIMPLER_MODELS)} with a "
            f"checkpoint whose statistics have {key}, or a suite of LIBERO"
        )


def check_model(config: RunConfig) -> None:
    """Refuse, for a dry run, a model that the run itself would refuse; nothing is loaded or downloaded.

    Raises:
        ValueError, FileNotFoundError: as for the run. Not found out: the memory of the device, what a hub has, tensors.
    """
    if config.model.name in ("expert", "replay"):
        return
    from vlacache.models.checking import check_model as check

    check(model_request(config, resolve_device(config.device)))


#: Models that can act on a SIMPLER robot, given the statistics of its data.
SIMPLER_MODELS: tuple[str, ...] = ("cogact", "openvla")


def _model_arms(config: RunConfig) -> Arms:
    from runners.controls.blind import BlindPolicy
    from vlacache.core.policies import build_cache_policy
    from vlacache.models.factory import load_model
    from vlacache.models.policy import CachedPolicy

    device = resolve_device(config.device)
    model = config.model
    request = model_request(config, device)
    loaded = load_model(request)
    baseline = CachedPolicy(loaded, build_cache_policy("none"))
    policy = None
    if config.cache.name != "none" or config.runner.self_pair:
        policy = CachedPolicy(loaded, build_cache_policy(config.cache.name, config.cache.numbers))
    accelerator = accelerator_name(device)
    is_blind = model.base is not None
    return Arms(
        BlindPolicy(baseline) if is_blind else baseline,
        BlindPolicy(policy) if is_blind and policy is not None else policy,
        device=accelerator or "cpu",
        accelerator=accelerator,
        dtype=loaded.info.dtype,
        checkpoint=loaded.info.checkpoint,
        num_layers=loaded.info.num_layers,
        views=loaded.info.views,
        grid=loaded.info.grid,
        resolved_cache=(policy or baseline).resolved_cache,
        trained_on=_trained_on(request),
    )


def is_published(name: str) -> bool:
    """A model that exists as published checkpoints only, of 7B parameters as a rule."""
    from vlacache.models.request import PUBLISHED_MODELS

    return name in PUBLISHED_MODELS


def _trained_on(request: ModelConfig) -> tuple[str, ...]:
    """Suites that our own weights were made for; published ones name theirs in their statistics."""
    from runners.trained_on import training_suites
    from vlacache.models.factory import PUBLISHED_MODELS, resolve_checkpoint

    if request.checkpoint is None or request.name in PUBLISHED_MODELS:
        return ()
    return training_suites(resolve_checkpoint(request.checkpoint, request.name))


def model_request(config: RunConfig, device: str) -> ModelConfig:
    """``configs/model`` as the model factory takes it; statistics are those of the suite unless others are named."""
    from vlacache.models.factory import PUBLISHED_MODELS, ModelConfig

    model = config.model
    # Untrained weights keep ModelConfig's own seed: another `seed` means other episodes, not another model.
    name = model.name if model.base is None else model.base
    unnorm_key = model.unnorm_key
    if unnorm_key is None and name in PUBLISHED_MODELS:
        unnorm_key = _statistics_of(config.suite.name)
    return ModelConfig(
        name=name,
        checkpoint=model.checkpoint,
        revision=model.revision,
        unnorm_key=unnorm_key,
        dtype=model.dtype,
        decode=model.decode,
        runtime=model.runtime,
        num_open_loop_steps=model.num_open_loop_steps,
        device=device,
    )


def _statistics_of(suite: str) -> str:
    """Data set whose statistics fit a suite: LIBERO's are called like it, SIMPLER's belong to its robot."""
    if suite not in SUITE_ROBOTS:
        return suite
    from vlacache.models.robots import ROBOTS

    return next(robot.unnorm_key for robot in ROBOTS.values() if robot.name == SUITE_ROBOTS[suite])


def build_novice(novice: str, suite: str) -> tuple[Policy, str]:
    """What leads into demonstrations: an embedded policy without cache, on one thread, or the expert gone astray.

    Args:
        novice: folder of any embedded model, ``builtin`` for the ``tiny_oft`` that ships, or ``astray``.
        suite: that it plays.

    Returns:
        The policy and the name that tells its weights apart.

    Raises:
        FileNotFoundError, ValueError: no such checkpoint.
    """
    if novice not in ("astray", "builtin") and not (Path(novice) / "config.json").is_file():
        raise ValueError(
            f"novice: expected astray, builtin or the folder of a checkpoint (with config.json), got {novice!r}"
        )
    if novice == "astray":
        from runners.experts import build_expert
        from runners.experts.astray import AstrayExpert

        return AstrayExpert(build_expert(suite)), novice

    import torch

    from vlacache.core.policies import build_cache_policy
    from vlacache.models.config import VLAConfig
    from vlacache.models.factory import ModelConfig, load_model
    from vlacache.models.policy import CachedPolicy

    torch.set_num_threads(1)  # one worker a core
    model = "tiny_oft" if novice == "builtin" else VLAConfig.from_json(Path(novice) / "config.json").name
    loaded = load_model(ModelConfig(model, checkpoint=novice))
    return CachedPolicy(loaded, build_cache_policy("none")), loaded.info.checkpoint


def resolve_device(device: str) -> str:
    """``auto`` becomes ``cuda`` when torch sees a GPU, else ``cpu``.

    Raises:
        ValueError: a GPU is asked for that is not there.
    """
    import torch

    available = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if device == "auto":
        return "cuda" if available else "cpu"
    if device.startswith("cuda") and int(device.partition(":")[2] or 0) >= available:
        raise ValueError(f"device={device}: torch sees {available} CUDA devices; use device=auto or device=cpu")
    return device


def accelerator_name(device: str) -> str | None:
    """Name of the GPU, e.g. ``NVIDIA H100 80GB HBM3``; None on a CPU."""
    if not device.startswith("cuda"):
        return None
    import torch

    return str(torch.cuda.get_device_name(device))


def build_observers(config: RunConfig) -> list[Any]:
    """Progress, and what ``runner.video`` and ``logger`` ask for.

    Raises:
        ValueError: ``logger=wandb`` without the package.
    """
    from runners.progress import ProgressObserver

    observers: list[Any] = [ProgressObserver()]
    if config.runner.video != "none":
        from runners.video import VideoObserver

        observers.append(VideoObserver(config.runner.video))
    if config.logger.name == "wandb":
        observers.append(_wandb_logger(config))
    return observers


def _wandb_logger(config: RunConfig) -> Any:
    from runners.wandb_logger import WandbLogger

    try:
        return WandbLogger(mode=config.logger.mode, project=config.logger.project)
    except ImportError as error:
        raise ValueError(f"logger=wandb: {error}") from error
