"""Training by several processes at once, started by torchrun: data parallel, each with a part of every batch.

Every process holds all weights. A step ends in the same gradient everywhere: the mean over the processes of the
gradients of their parts, which is that of the whole batch, since a loss is a mean over positions and whatever is not
(statistics of a batch, values chosen among all of a batch) is asked for here. All else a process computes for itself
from what all of them have in common, so weights and counters stay equal. The result is that of one process up to the
rounding of sums. Only the first process writes.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor, distributed

from saescope.autoencoders.device import choose_device
from saescope.store.errors import UserError

if TYPE_CHECKING:
    from saescope.training.objectives import StepLoss

PATIENCE = timedelta(days=2)
"""How long processes wait for one another: the first one may have a large corpus to run through a model."""


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
        """This process's part of a batch. `UserError` where the batch cannot be divided evenly."""
        if len(indices) % self.size:
            raise UserError(
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

    def merged(self, loss: StepLoss) -> StepLoss:
        """Numbers of the whole batch in the place of the part's: means of losses and terms, sums of firings."""
        if self.size == 1:
            return loss
        means = (loss.total, loss.squared_error, *loss.terms.values())
        numbers = torch.cat([torch.stack([m.detach().double() for m in means]), loss.firing.double()])
        distributed.all_reduce(numbers)
        total, squared, *terms = (numbers[: len(means)] / self.size).float()
        return replace(
            loss,
            total=total,
            squared_error=squared,
            firing=numbers[len(means) :].to(loss.firing.dtype),
            terms=dict(zip(loss.terms, terms, strict=True)),
        )

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


@contextmanager
def started_processes(device: str) -> Iterator[tuple[Processes, str]]:
    """The processes that torchrun started (its environment variables say so), and this one's device; else this one.

    They talk through NCCL where `device` is CUDA, each with a GPU of its own, and through Gloo on CPUs. Raises
    `UserError` where there are fewer GPUs than processes on this machine.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield ALONE, device
        return
    own = own_device(device, int(os.environ.get("LOCAL_RANK", "0")))
    if own.startswith("cuda"):
        torch.cuda.set_device(own)
    distributed.init_process_group("nccl" if own.startswith("cuda") else "gloo", timeout=PATIENCE)
    try:
        yield Processes(distributed.get_rank(), size), own
    finally:
        distributed.destroy_process_group()


def own_device(device: str, local_rank: int) -> str:
    """Which device the process `local_rank` of this machine takes, where `device` is asked for."""
    chosen = choose_device(device)
    if chosen.type == "cpu":
        return "cpu"
    if chosen.index is not None:
        raise UserError(
            f"--device {device} names one GPU, but each process needs its own", "use --device cuda: each takes the next"
        )
    n_devices = torch.cuda.device_count()
    if local_rank >= n_devices:
        raise UserError(
            f"process {local_rank} of this machine finds no GPU of its own: there are {n_devices}",
            f"start torchrun with --nproc-per-node {n_devices}, or add --device cpu",
        )
    return f"cuda:{local_rank}"


def refuse_several(command: str) -> None:
    """`UserError` where torchrun started several processes of a command that is made for one."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size > 1:
        raise UserError(f"saescope {command} runs in one process, but {size} were started", "leave torchrun out")
