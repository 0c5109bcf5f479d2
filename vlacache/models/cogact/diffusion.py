"""Squared-cosine diffusion schedule and deterministic DDIM sampling with classifier-free guidance.

The network predicts the noise and always receives the timestep number of the unspaced schedule (0 .. 99).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

#: T, the steps CogACT was trained with.
NUM_TRAIN_STEPS = 100
#: Each beta is at most this (the last one would be 1).
MAX_BETA = 0.999


def squared_cosine_betas(num_steps: int = NUM_TRAIN_STEPS) -> NDArray[np.float64]:
    """float64[T]: ``beta_t = 1 - f((t + 1) / T) / f(t / T)``, ``f(u) = cos^2(pi/2 (u + .008) / 1.008)``, capped."""

    def f(u: float) -> float:
        return math.cos((u + 0.008) / 1.008 * math.pi / 2) ** 2

    return np.array([min(1 - f((t + 1) / num_steps) / f(t / num_steps), MAX_BETA) for t in range(num_steps)])


def ddim_timesteps(num_steps: int, num_train_steps: int = NUM_TRAIN_STEPS) -> tuple[int, ...]:
    """Ascending timesteps of an ``num_steps``-step sampler.

    ``range(0, T, stride)`` with the smallest stride that gives exactly that many; one step is the middle, T / 2. So
    the noisiest step of 10 is 90, not 99.

    Raises:
        ValueError: no stride gives that many steps.
    """
    if num_steps == 1:
        return (num_train_steps // 2,)
    for stride in range(1, num_train_steps):
        steps = range(0, num_train_steps, stride)
        if len(steps) == num_steps:
            return tuple(steps)
    possible = sorted({len(range(0, num_train_steps, stride)) for stride in range(1, num_train_steps)} | {1})
    raise ValueError(
        f"DDIM steps: expected a count that an integer stride over {num_train_steps} gives, one of {possible}, got "
        f"{num_steps}"
    )


@dataclass(frozen=True, slots=True)
class DDIMSchedule:
    """A spaced schedule, in sampling order (noisiest first).

    Attributes:
        timesteps: numbers of the unspaced schedule, descending.
        alpha_bars: cumulative alpha at each. previous_alpha_bars: at the step that follows it; 1 for the last.
    """

    timesteps: tuple[int, ...]
    alpha_bars: tuple[float, ...]
    previous_alpha_bars: tuple[float, ...]

    @classmethod
    def build(cls, num_steps: int, num_train_steps: int = NUM_TRAIN_STEPS) -> DDIMSchedule:
        """The schedule of ``num_steps`` DDIM steps.

        Raises:
            ValueError: see ``ddim_timesteps``.
        """
        ascending = ddim_timesteps(num_steps, num_train_steps)
        alpha_bar = np.cumprod(1.0 - squared_cosine_betas(num_train_steps))
        bars = [float(alpha_bar[t]) for t in ascending]
        return cls(ascending[::-1], tuple(bars[::-1]), tuple([1.0, *bars[:-1]][::-1]))


def guide(conditional: Tensor, unconditional: Tensor, scale: float) -> Tensor:
    """Classifier-free guidance: ``eps_u + s (eps_c - eps_u)``."""
    return unconditional + scale * (conditional - unconditional)


def ddim_step(x: Tensor, eps: Tensor, alpha_bar: float, previous_alpha_bar: float) -> tuple[Tensor, Tensor]:
    """One deterministic step (eta 0, no clipping).

    Args:
        x: noisy sample at ``alpha_bar``. eps: predicted noise in it.

    Returns:
        The sample at ``previous_alpha_bar`` and the predicted clean sample.
    """
    clean = math.sqrt(1.0 / alpha_bar) * x - math.sqrt(1.0 / alpha_bar - 1.0) * eps
    # The reference derives the noise again from the clean sample; here that would be the same number.
    return math.sqrt(previous_alpha_bar) * clean + math.sqrt(1.0 - previous_alpha_bar) * eps, clean


def ddim_sample(predict: Callable[[Tensor, int], Tensor], noise: Tensor, schedule: DDIMSchedule) -> Tensor:
    """Denoise.

    Args:
        predict: (x, index of the step in ``schedule``) -> predicted noise, guidance included.
        noise: the start, standard normal.

    Returns:
        The clean sample, shaped like ``noise``.
    """
    x = noise
    for index, bars in enumerate(zip(schedule.alpha_bars, schedule.previous_alpha_bars, strict=True)):
        x, _ = ddim_step(x, predict(x, index), *bars)
    return x


def episode_noise(episode_seed: int, step: int, shape: tuple[int, ...]) -> Tensor:
    """Standard normal float32 on the CPU, a function of (episode seed, env step) alone.

    So a run can be repeated, and the two arms of a paired episode start every call from the same noise whatever the
    cache does.

    Raises:
        ValueError: a negative seed or step.
    """
    if episode_seed < 0 or step < 0:
        raise ValueError(f"noise: expected a seed and a step >= 0, got seed {episode_seed} and step {step}")
    state = np.random.SeedSequence([episode_seed, step]).generate_state(1, np.uint64)
    generator = torch.Generator().manual_seed(int(state[0] >> np.uint64(1)))
    return torch.randn(shape, generator=generator)
