"""What a CUDA graph does, on the CPU: a capture keeps operations and addresses, and nothing of the Python around them.

A replay that depends on anything but buffers at fixed addresses (a tensor of the first call, a count read on the
host) gives the first call's answer, here as on a GPU.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

#: Operations that ask the device for a value or give shapes that depend on one: errors during a real capture.
WAITS = ("aten::_local_scalar_dense", "aten::nonzero", "aten::masked_select", "aten::is_nonzero", "aten::unique")

Operation = tuple[Any, tuple[Any, ...], dict[str, Any], Any]


def storage(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


class _Capture(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.operations: list[Operation] = []
        self.before: dict[int, tuple[Tensor, Tensor]] = {}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func._schema.name in WAITS:
            raise RuntimeError(f"operation not permitted when stream is capturing: {func}")
        for argument, value in zip(func._schema.arguments, args, strict=False):
            if argument.is_write and isinstance(value, Tensor):
                whole = torch.as_strided(value, (value.untyped_storage().size() // value.element_size(),), (1,), 0)
                self.before.setdefault(storage(value), (whole, whole.clone()))
        result = func(*args, **kwargs)
        self.operations.append((func, args, kwargs, result))
        return result


class EmulatedGraphs:
    """A ``Recorder``: replays run the captured operations on the captured memory.

    Attributes:
        num_replays: so far.
    """

    scratch_bytes = 0

    def __init__(self) -> None:
        self.num_replays = 0

    def record(self, work: Callable[[], None]) -> Callable[[], None]:
        with _Capture() as capture:
            work()
        for whole, before in capture.before.values():
            whole.copy_(before)  # a real capture runs nothing

        steps = [step for operation in capture.operations for step in _step(*operation)]

        def replay() -> None:
            self.num_replays += 1
            for step in steps:
                step()

        return replay


def _step(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any) -> list[Callable[[], None]]:
    """What repeats one operation on the captured memory; nothing for a view, whose memory is what it was."""
    if func._schema.is_mutable:
        return [lambda: func(*args, **kwargs)]
    inputs = {storage(x) for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)}
    outputs = [x for x in tree_leaves(result) if isinstance(x, Tensor)]
    if all(storage(x) in inputs for x in outputs):
        return []

    def repeat() -> None:
        again = func(*args, **kwargs)
        found = [again] if isinstance(again, Tensor) else [x for x in tree_leaves(again) if isinstance(x, Tensor)]
        for old, new in zip(outputs, found, strict=True):
            old.copy_(new)

    return [repeat]
