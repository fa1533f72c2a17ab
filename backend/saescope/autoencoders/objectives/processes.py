"""What the processes of one run do together: sums, means and values of whole batches.

Every process holds all weights. A step ends in the same gradient everywhere: the mean over the processes of the
gradients of their parts, which is that of the whole batch, since a loss is a mean over positions and whatever is not
(statistics of a batch, values chosen among all of a batch) is asked for here. All else a process computes for itself
from what all of them have in common, so weights and counters stay equal. The result is that of one process up to the
rounding of sums. Only the first process writes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor, distributed

from saescope.store.errors import OptionError, UserError


@dataclass(frozen=True)
class Processes:
    """This process among those of a run. Alone, every method gives back what it is given.

    All processes have to call the methods in the same order.
    """

    rank: int = 0
    """0 for the one that writes."""
    size: int = 1

    @property
    def is_first(self) -> bool:
        return self.rank == 0

    def part(self, indices: Int64[np.ndarray, " batch"]) -> Int64[np.ndarray, " part"]:
        """This process's part of a batch. `OptionError` where the batch cannot be divided evenly."""
        if len(indices) % self.size:
            raise OptionError(
                f"a batch of {len(indices)} positions cannot be divided evenly among {self.size} processes",
                f"give --batch-size a multiple of {self.size}",
            )
        length = len(indices) // self.size
        return indices[self.rank * length : (self.rank + 1) * length]

    def mean(self, own: Tensor) -> Tensor:
        """Mean over the processes. Its gradient is that of this process's own value: averaged over the processes like
        all gradients, it is that of the mean."""
        if self.size == 1:
            return own
        total = own.detach().clone()
        distributed.all_reduce(total)
        return own + (total / self.size - own.detach())

    def smallest(self, own: Tensor) -> Tensor:
        """Least of the processes' values, without gradient."""
        if self.size == 1:
            return own.detach()
        least = own.detach().clone()
        distributed.all_reduce(least, distributed.ReduceOp.MIN)
        return least

    def gathered(self, own: Float[Tensor, " own"]) -> Float[Tensor, " all"]:
        """The processes' values one after another, without gradient. They may differ in number."""
        if self.size == 1:
            return own.detach()
        number = torch.tensor([len(own)], device=own.device)
        numbers = [torch.empty_like(number) for _ in range(self.size)]
        distributed.all_gather(numbers, number)
        most = max(int(n) for n in numbers)
        padded = own.new_zeros(most)
        padded[: len(own)] = own.detach()
        parts = [torch.empty_like(padded) for _ in range(self.size)]
        distributed.all_gather(parts, padded)
        return torch.cat([part[: int(n)] for part, n in zip(parts, numbers, strict=True)])

    def average_gradients(self, parameters: Iterable[torch.nn.Parameter]) -> None:
        """Puts the mean of the processes' gradients in the place of each."""
        if self.size == 1:
            return
        for parameter in parameters:
            if parameter.grad is not None:
                distributed.all_reduce(parameter.grad)
                parameter.grad /= self.size

    def sum(self, own: Tensor) -> Tensor:
        """Sum over the processes, without gradient."""
        total = own.detach().clone()
        if self.size > 1:
            distributed.all_reduce(total)
        return total

    def share(self, tensors: Iterable[Tensor]) -> None:
        """Puts the first process's values into everyone's tensors."""
        if self.size > 1:
            for tensor in tensors:
                distributed.broadcast(tensor.detach(), 0)

    def wait(self) -> None:
        """Until every process has come here."""
        if self.size > 1:
            distributed.barrier()

    @contextmanager
    def first_goes_ahead(self) -> Iterator[None]:
        """The block runs in the first process, then in the others: what it keeps on disk is there for them. Where it
        fails in the first, the others raise `UserError`."""
        went_well = [True]
        if not self.is_first:
            distributed.broadcast_object_list(went_well, 0)
            if not went_well[0]:
                raise UserError("the first process failed", "its message says why")
            yield
            return
        try:
            yield
        except BaseException:
            went_well = [False]
            raise
        finally:
            if self.size > 1:
                distributed.broadcast_object_list(went_well, 0)


ALONE = Processes()
