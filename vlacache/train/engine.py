"""One update: gradients of the micro-batches, summed in a fixed order, and an optimiser step on float32 weights.

On a CPU every pass runs on one thread and several run at once: no barrier inside a pass, and the sum does not depend on
the number of cores. The passes work on a copy of the weights in the pass's precision.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields
from typing import Any, TypeVar

import torch
from torch import Tensor

from vlacache.models.prismatic import VLAModel
from vlacache.train.batches import MicroBatch
from vlacache.train.config import TrainConfig
from vlacache.train.forward import ModelInput
from vlacache.train.optimizer import Optimizer
from vlacache.train.schedule import ema_decay, learning_rate
from vlacache.train.targets import Losses, Targets, TrainNet, compute_losses

_Tensors = TypeVar("_Tensors", ModelInput, Targets)


class Engine:
    """Weights, optimiser and averaged weights of a run.

    Args:
        net: float32, on the device. config: of the run. dtype: of the passes. num_threads: passes at once (CPU).

    Attributes:
        net: the trained weights, float32. ema: their average, by parameter name of ``net.model``.
    """

    def __init__(self, net: TrainNet, config: TrainConfig, dtype: torch.dtype, num_threads: int) -> None:
        self.net = net
        self._config = config
        self._device = next(net.parameters()).device
        self._work = net if dtype is torch.float32 else copy.deepcopy(net).to(dtype)
        self._masters = list(net.parameters())
        self._copies = list(self._work.parameters())
        self.ema = {name: p.detach().clone() for name, p in net.model.named_parameters()}
        self._optimizer = Optimizer(net, config)
        workers = num_threads if self._device.type == "cpu" else 1
        self._pool = ThreadPoolExecutor(workers, "passes", initializer=_one_thread if workers > 1 else None)

    @property
    def on_cpu(self) -> bool:
        """The passes run on the CPU."""
        return self._device.type == "cpu"

    def close(self) -> None:
        """End the threads."""
        self._pool.shutdown()

    def update(self, batch: Sequence[MicroBatch], step: int) -> dict[str, float]:
        """Update ``step`` (0-based); returns the losses before it, the gradient's norm and the learning rate.

        Raises:
            RuntimeError: a loss that is not finite.
        """
        size = sum(len(micro.inputs.patches) for micro in batch)
        passes = list(self._pool.map(lambda micro: self._pass(micro, len(micro.inputs.patches) / size), batch))
        gradients = [g.float() for g in passes[0][0]]
        for more, _ in passes[1:]:
            torch._foreach_add_(gradients, [g.float() for g in more])
        for master, gradient in zip(self._masters, gradients, strict=True):
            master.grad = gradient
        losses = {k: float(sum(values[k] for _, values in passes)) for k in passes[0][1]}
        norm = float(torch.nn.utils.clip_grad_norm_(self._masters, self._config.clip_norm))
        if not torch.isfinite(torch.tensor([norm, *losses.values()])).all():
            raise RuntimeError(f"update {step}: expected finite losses, got {losses}; lower learning_rate or clip_norm")
        rate = learning_rate(self._config, step)
        self._optimizer.step(rate, self._pool)
        self._after_step(step)
        return {**losses, "grad_norm": norm, "learning_rate": rate}

    @torch.no_grad()
    def _after_step(self, step: int) -> None:
        averaged, weights = list(self.ema.values()), [p.detach() for p in self.net.model.parameters()]
        torch._foreach_lerp_(averaged, weights, 1.0 - ema_decay(self._config, step))
        self._sync()

    @torch.no_grad()
    def _sync(self) -> None:
        for master in self._masters:
            master.grad = None
        if self._work is not self.net:
            torch._foreach_copy_(list[Tensor](self._copies), list[Tensor](self._masters))

    def _pass(self, micro: MicroBatch, weight: float) -> tuple[tuple[Tensor, ...], dict[str, Tensor]]:
        inputs, targets = _moved(micro.inputs, self._device), _moved(micro.targets, self._device)
        config = self._config
        losses: Losses = compute_losses(self._work, inputs, targets, config)
        gradients = torch.autograd.grad(losses.total * weight, self._copies, materialize_grads=True)
        return gradients, {f"loss/{f.name}": getattr(losses, f.name).detach() * weight for f in fields(Losses)}

    def averaged_model(self) -> VLAModel:
        """A copy of the model with the averaged weights, float32, on the CPU."""
        model = copy.deepcopy(self.net.model).cpu()
        model.load_state_dict({name: value.cpu() for name, value in self.ema.items()})
        return model

    def moments(self) -> dict[str, dict[str, Tensor]]:
        """The optimiser's running averages by parameter name."""
        return self._optimizer.moments()

    @torch.no_grad()
    def restore(
        self, weights: dict[str, Tensor], ema: dict[str, Tensor], moments: dict[str, dict[str, Tensor]]
    ) -> None:
        """Continue from stored weights, average and moments."""
        self.net.load_state_dict(weights)
        for name, value in ema.items():
            self.ema[name].copy_(value)
        self._optimizer.restore(moments)
        self._sync()


def _one_thread() -> None:
    torch.set_num_threads(1)


def _moved(values: _Tensors, device: torch.device) -> _Tensors:
    if device.type == "cpu":
        return values
    tensors = {f.name: getattr(values, f.name) for f in fields(values)}
    moved: dict[str, Any] = {k: None if t is None else t.to(device, non_blocking=True) for k, t in tensors.items()}
    return type(values)(**moved)
