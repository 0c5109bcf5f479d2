"""Numbers on their way from the device to the host, without a wait for whatever is launched after them."""

from __future__ import annotations

import torch
from torch import Tensor


class HostCopy:
    """A small tensor that is copied to the host while the device goes on; the wait is in ``get``."""

    def __init__(self, source: Tensor) -> None:
        self._event: torch.cuda.Event | None = None
        self._host = source
        if source.device.type == "cuda":
            self._host = torch.empty(source.shape, dtype=source.dtype, pin_memory=True)
            self._host.copy_(source, non_blocking=True)
            self._event = torch.cuda.Event()
            self._event.record(torch.cuda.current_stream(source.device))

    def get(self) -> Tensor:
        """The tensor on the CPU; waits until the copy is done, not until the stream is empty."""
        if self._event is not None:
            self._event.synchronize()
        return self._host
