"""Whether saescope computes from a checkpoint what the library that wrote it does."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import load_file

from saescope.checkpoints import load_checkpoint
from tests.parity.cases import EXPECTED, OPTIONS

TOLERANCE = 1e-5
"""Largest difference, relative to the largest value of the same kind."""


def cases(root: Path) -> list[Path]:
    """The folders of all cases below `root`, by name."""
    return sorted(path.parent for path in root.rglob(EXPECTED))


def check(folder: Path, format: str) -> None:
    """Raises `AssertionError` where codes or reconstructions differ, or the checkpoint is taken for another format."""
    options = json.loads((folder / OPTIONS).read_text())
    loaded = load_checkpoint(folder / options["path"], assume=options["assume"])
    assert loaded.format == format, f"{folder.name} was read as {loaded.format}"
    expected = load_file(folder / EXPECTED)
    with torch.inference_mode():
        out = loaded.sae(expected["x"])
    for name, got in (("codes", out.codes), ("reconstruction", out.reconstruction)):
        largest = float(expected[name].abs().max())
        difference = float((got - expected[name]).abs().max())
        assert difference <= TOLERANCE * largest, f"{folder.name}: {name} differ by {difference:.2g} of {largest:.2g}"
    assert torch.equal(out.codes != 0, expected["codes"] != 0), f"{folder.name}: other features fire"
