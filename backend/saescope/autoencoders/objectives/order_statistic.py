"""The value that a given number of values exceed, of more values than fit into memory at once."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor


def exceeded_by(blocks: Iterable[Tensor], count: int) -> float:
    """The value that exactly `count` of the blocks' values exceed (fewer, where several equal it); 0 where no more
    than `count` are positive."""
    largest, floor = torch.zeros(0), 0.0
    for block in blocks:
        above = block[block > floor]
        largest = torch.cat([largest.to(above), above])
        if len(largest) > count + 1:
            largest = torch.topk(largest, count + 1).values
        if len(largest) == count + 1:
            floor = float(largest.min())
    return float(largest.min()) if len(largest) == count + 1 else 0.0
