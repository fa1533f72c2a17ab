"""Files of activations with a second file of targets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from saescope.sources import Source, SourceOptions, flat_positions, held_out, open_source
from saescope.sources.targets import PairedTable, Targets, flat_targets, target_width
from saescope.store.errors import UserError


def arrays(*shape: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.normal(size=(*shape, 6)).astype(np.float32), rng.normal(size=(*shape, 4)).astype(np.float16)


def opened(folder: Path, x: np.ndarray, y: np.ndarray) -> Source:
    np.save(folder / "x.npy", x)
    np.save(folder / "y.npy", y)
    return open_source(SourceOptions(activations=str(folder / "x.npy"), targets=str(folder / "y.npy")))


@pytest.mark.parametrize("shape", [(9,), (9, 3)])
def test_batches_and_tables_hold_both(tmp_path: Path, shape: tuple[int, ...]) -> None:
    x, y = arrays(*shape)
    source = opened(tmp_path, x, y)
    assert target_width(source) == 4
    for start, size in ((0, None), (4, 2)):
        batches = list(source.batches(start, size))
        inputs, targets = [flat_positions(b)[0] for b in batches], [flat_targets(b) for b in batches]
        np.testing.assert_array_equal(torch.cat(inputs), x[start:].reshape(-1, 6))
        np.testing.assert_array_equal(torch.cat([t for t in targets if t is not None]), y[start:].reshape(-1, 4))
    kept = ~held_out(9)
    table = source.table(kept)
    assert isinstance(table, PairedTable)
    rows = np.arange(table.n_rows)[::-1].copy()
    inputs, targets = table.pairs(rows)
    np.testing.assert_array_equal(inputs, x[kept].reshape(-1, 6)[::-1])
    np.testing.assert_array_equal(targets, y[kept].reshape(-1, 4)[::-1].astype(np.float32))
    assert torch.equal(table.rows(rows), inputs)
    alone = Targets(table)
    assert (alone.n_rows, alone.d_in, table.d_in, table.d_out) == (table.n_rows, 4, 6, 4)
    assert torch.equal(alone.rows(rows), targets)


def test_without_targets_there_are_none(tmp_path: Path) -> None:
    x, y = arrays(9)
    opened(tmp_path, x, y)
    source = open_source(SourceOptions(activations=str(tmp_path / "x.npy")))
    assert target_width(source) is None
    assert next(source.batches()).targets is None
    assert not isinstance(source.table(), PairedTable)
    assert "targets" not in source.describe()


def test_the_description_tells_of_the_targets(tmp_path: Path) -> None:
    x, y = arrays(9)
    about = opened(tmp_path, x, y).describe()
    assert about["targets"] == str(tmp_path / "y.npy")
    assert about["d_target"] == 4
    other = opened(tmp_path, x, y + 1).describe()
    assert other["targets_sha256"] != about["targets_sha256"]
    assert other["data_sha256"] == about["data_sha256"]


def test_each_item_needs_a_target(tmp_path: Path) -> None:
    x, y = arrays(9, 3)
    with pytest.raises(
        UserError, match=r"has 9 items of 3 positions, but its targets, .*, have 8 items of 3 positions"
    ):
        opened(tmp_path, x, y[:8])
    with pytest.raises(UserError, match="have 27 items"):
        opened(tmp_path, x, y.reshape(27, 4))


def test_targets_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    x, y = arrays(9)
    y[3, 1] = np.nan
    with pytest.raises(UserError, match=r"y\.npy: the value at item 3"):
        opened(tmp_path, x, y)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"images": "embedded:digits", "targets": "y.npy"}, "concerns cached activations"),
        ({"texts": "t", "model": "m", "hook": "h", "targets": "y.npy"}, "concerns cached activations"),
        ({"toy": "8x4:p=0.1", "targets": "y.npy"}, "concerns cached activations"),
        ({"activations": "x.npy", "hook_out": "blocks.0.hook_mlp_out"}, "concerns models"),
        ({"images": "embedded:digits", "hook_out": "blocks.0.hook_mlp_out"}, "concerns models"),
        ({"texts": "t", "model": "m", "hook": "h", "hook_out": ""}, "hook of the targets is empty"),
    ],
)
def test_targets_that_do_not_go_with_the_source(given: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        SourceOptions(**given)
