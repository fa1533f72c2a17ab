"""What a library makes for the comparison: a small checkpoint, inputs, and its own codes and reconstructions of them.

Imported where only that library and torch are installed.
"""

from __future__ import annotations

import json
import sys
import types
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

D_IN, N_FEATURES, N_INPUTS = 6, 12, 16
EXPECTED = "expected.safetensors"
"""Holds `x`, `codes` and `reconstruction`."""
OPTIONS = "options.json"
"""Holds `path` (of the checkpoint, relative to the case) and `assume`."""


class _Absent(MetaPathFinder, Loader):
    """Finds an empty module for every name under the given ones; what is taken from it is an empty class."""

    def __init__(self, packages: tuple[str, ...]) -> None:
        self._packages = packages

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        return ModuleSpec(name, self, is_package=True) if name.partition(".")[0] in self._packages else None

    def create_module(self, spec: ModuleSpec) -> types.ModuleType:
        class Empty(types.ModuleType):
            def __getattr__(self, name: str) -> Any:
                if name.startswith("__"):
                    raise AttributeError(name)
                return type(name, (Exception,), {})

        return Empty(spec.name)

    def exec_module(self, module: types.ModuleType) -> None:
        pass


def absent(*packages: str) -> None:
    """Puts empty modules in the place of packages that the library imports but its SAEs do not use."""
    sys.meta_path.insert(0, _Absent(packages))


def only_modules_of(package: str) -> None:
    """Lets modules of `package` be imported without what its own __init__ imports beside them."""
    spec = find_spec(package)
    assert spec is not None, f"{package} is not installed"
    assert spec.submodule_search_locations is not None
    bare = types.ModuleType(package)
    bare.__path__ = list(spec.submodule_search_locations)
    sys.modules[package] = bare


def inputs(seed: int = 1) -> Tensor:
    """Activations with a mean of their own, none of them close to another in norm."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(N_INPUTS, D_IN, generator=generator) + torch.randn(D_IN, generator=generator)
    return x * torch.linspace(0.5, 3, N_INPUTS).unsqueeze(1)


def fill(module: nn.Module, seed: int = 0, scale: float = 0.7) -> nn.Module:
    """Draws every parameter from a normal distribution; biases too, so that each of them matters."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for _, parameter in sorted(module.named_parameters(), key=lambda item: item[0]):
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * scale)
    return module


def write(folder: Path, x: Tensor, codes: Tensor, reconstruction: Tensor, path: str = "", **assume: Any) -> None:
    """Writes what is expected of the checkpoint in `folder`, or at `path` in it."""
    assert int((codes != 0).sum()) > N_INPUTS, "a case in which hardly anything fires says little"
    assert int((codes == 0).sum()) > N_INPUTS, "a case in which everything fires says little"
    tensors = {"x": x, "codes": codes, "reconstruction": reconstruction}
    folder.mkdir(parents=True, exist_ok=True)
    save_file({name: t.detach().float().contiguous().clone() for name, t in tensors.items()}, folder / EXPECTED)
    (folder / OPTIONS).write_text(json.dumps({"path": path, "assume": assume}, sort_keys=True) + "\n")


def destination() -> Path:
    """The folder that the program's only argument names."""
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    return folder
