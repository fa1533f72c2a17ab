"""Where the tensors live."""

from __future__ import annotations

import torch

from saescope.store.errors import DeviceError


def choose_device(name: str) -> torch.device:
    """'auto' takes a GPU where there is one; else 'cpu', 'cuda' or 'cuda:N'.

    Raises `DeviceError` where the named device is unknown or not there.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type not in ("cpu", "cuda"):
        raise DeviceError(f"unknown device {name!r}", "use auto, cpu or cuda")
    if device.type == "cuda" and not torch.cuda.is_available():
        raise DeviceError("no CUDA device is available here", "leave --device out, or install torch with CUDA")
    n_devices = torch.cuda.device_count() if device.type == "cuda" else 0
    if device.type == "cuda" and (device.index or 0) >= n_devices:
        raise DeviceError(
            f"there is no {name}: this machine has {torch.cuda.device_count()} CUDA device(s)", "use cuda:0"
        )
    return device
