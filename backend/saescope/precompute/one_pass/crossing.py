"""What goes from a device to the host, while the device goes on with what stands in its queue."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

Block = TypeVar("Block")


@dataclass(frozen=True)
class Sent:
    """Tensors on their way."""

    tensors: tuple[Tensor, ...]
    arrived: torch.cuda.Event | None
    """None: they have not left, for they were on the host."""

    def arrays(self) -> tuple[np.ndarray, ...]:
        """The values, waited for."""
        if self.arrived is not None:
            self.arrived.synchronize()
        return tuple(tensor.numpy() for tensor in self.tensors)


class Crossing:
    """Copies tensors from `device` into page-locked memory, on a stream of its own. A CPU's stay where they are."""

    def __init__(self, device: torch.device) -> None:
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None

    def send(self, *tensors: Tensor) -> Sent:
        """Begin to copy what the current stream makes `tensors` hold."""
        stream = self._stream
        if stream is None:
            return Sent(tensors, None)
        stream.wait_stream(torch.cuda.current_stream(stream.device))
        with torch.cuda.stream(stream):
            copies = tuple(
                torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True).copy_(tensor, non_blocking=True)
                for tensor in tensors
            )
            for tensor in tensors:
                tensor.record_stream(stream)  # its memory is not given to others before it is read
            return Sent(copies, stream.record_event())


def finish_in_order(blocks: Iterable[Block], finish: Callable[[Block], None], ahead: int) -> None:
    """Call `finish` on each of `blocks`, one after another and in their order.

    With `ahead` above 0 on a thread of its own, while up to so many of the blocks after it are made. Where `finish`
    raises, it is called no more, and the error is raised here.
    """
    if not ahead:
        for block in blocks:
            finish(block)
        return
    failed: list[bool] = []

    def unless_failed(block: Block) -> None:
        if failed:
            return
        try:
            finish(block)
        except BaseException:
            failed.append(True)
            raise

    under_way: deque[Future[None]] = deque()
    with ThreadPoolExecutor(1) as host:
        for block in blocks:
            under_way.append(host.submit(unless_failed, block))
            while len(under_way) > ahead:
                under_way.popleft().result()
        for done in under_way:
            done.result()
