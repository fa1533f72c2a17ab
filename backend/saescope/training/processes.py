"""Training by several processes at once, started by torchrun: data parallel, each with a part of every batch (see
`autoencoders.objectives.processes`)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import torch
from torch import distributed

from saescope.autoencoders.device import choose_device
from saescope.autoencoders.objectives.processes import ALONE, Processes
from saescope.store.errors import DeviceError, OptionError

PATIENCE = timedelta(days=2)
"""How long processes wait for one another: the first one may have a large corpus to run through a model."""


@contextmanager
def started_processes(device: str) -> Iterator[tuple[Processes, str]]:
    """The processes that torchrun started (its environment variables say so), and this one's device; else this one.

    They talk through NCCL where `device` is CUDA, each with a GPU of its own, and through Gloo on CPUs. Raises
    `DeviceError` where there are fewer GPUs than processes on this machine.
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
        raise OptionError(
            f"--device {device} names one GPU, but each process needs its own", "use --device cuda: each takes the next"
        )
    n_devices = torch.cuda.device_count()
    if local_rank >= n_devices:
        raise DeviceError(
            f"process {local_rank} of this machine finds no GPU of its own: there are {n_devices}",
            f"start torchrun with --nproc-per-node {n_devices}, or add --device cpu",
        )
    return f"cuda:{local_rank}"


def refuse_several(command: str) -> None:
    """`OptionError` where torchrun started several processes of a command that is made for one."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size > 1:
        raise OptionError(f"saescope {command} runs in one process, but {size} were started", "leave torchrun out")
