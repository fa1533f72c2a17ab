"""Batch settings, cuts and merges change nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from saescope.autoencoders.code_rows import CodeRows
from saescope.metrics import cross_entropy
from saescope.precompute import BuildOptions, build_entry
from saescope.precompute.one_pass.blocks import Start, rows_of
from saescope.precompute.one_pass.histogram import RECTIFIED
from saescope.precompute.one_pass.state import FeatureState
from saescope.precompute.tables import logit_effects, tokens
from saescope.progress import Progress
from saescope.store import FeatureStore
from tests.precompute.small_builds import codes_seen, digits, make_sae, save_sae
from tests.precompute.small_texts import MemoryTexts

OPTIONS = BuildOptions(n_top=5, n_samples=2, block_rows=100, save_every_s=0.0)


def tables_of(store: Path) -> dict[str, pa.Table]:
    entry = FeatureStore(store)["it"]
    return {name: entry.table(name) for name in entry.tables}


def assert_equal(a: dict[str, pa.Table], b: dict[str, pa.Table]) -> None:
    assert a.keys() == b.keys()
    for name, table in a.items():
        if name == "reconstructions":  # pixels that no patch covers are NaN, which Arrow does not call equal
            for one, other in zip(table.to_pylist(), b[name].to_pylist(), strict=True):
                np.testing.assert_array_equal(one.pop("reconstruction"), other.pop("reconstruction"))
                assert one == other
        else:
            assert table.equals(b[name]), name


@pytest.mark.parametrize("items_per_batch", [1, 7, 100, 5000])
@pytest.mark.parametrize("patch", [None, 4])
def test_batch_settings_do_not_matter(tmp_path: Path, patch: int | None, items_per_batch: int) -> None:
    source = digits(patch)
    checkpoint = save_sae(make_sae("relu", source), tmp_path / "sae")
    build_entry(checkpoint, source, tmp_path / "a", sae_id="it", options=OPTIONS)
    other = replace(OPTIONS, items_per_batch=items_per_batch)
    build_entry(checkpoint, source, tmp_path / "b", sae_id="it", options=other)
    assert_equal(tables_of(tmp_path / "a"), tables_of(tmp_path / "b"))


class CutError(Exception):
    pass


class CutAt(Progress):
    """Raises at its n-th report."""

    def __init__(self, n: int) -> None:
        self.left = n

    def update(self, stage: str, done: int, total: int, note: str = "") -> None:
        self.left -= 1
        if self.left == 0:
            raise CutError


class CutIn(CutAt):
    """Raises at the n-th report of one stage."""

    def __init__(self, stage: str, n: int) -> None:
        super().__init__(n)
        self.stage = stage

    def update(self, stage: str, done: int, total: int, note: str = "") -> None:
        if stage == self.stage:
            super().update(stage, done, total, note)


@pytest.mark.parametrize("name", ["topk", "relu", "kl"])
@pytest.mark.parametrize("patch", [None, 4])
def test_a_run_cut_at_every_report_ends_in_the_same_tables(tmp_path: Path, name: str, patch: int | None) -> None:
    source = digits(patch)
    checkpoint = save_sae(
        make_sae(name, source),
        tmp_path / "sae",
        {"data_sha256": source.data_sha256, "held_out": {"seed": 0, "fraction": 0.1}},
    )
    build_entry(checkpoint, source, tmp_path / "whole", sae_id="it", options=OPTIONS)
    cuts, gap = 0, 1
    while True:
        try:
            build_entry(checkpoint, source, tmp_path / "cut", sae_id="it", options=OPTIONS, progress=CutAt(gap))
        except CutError:
            cuts += 1
            gap += cuts % 3  # a cut before the next saved state makes no headway, so wait longer now and then
            continue
        break
    assert cuts > 5
    assert_equal(tables_of(tmp_path / "whole"), tables_of(tmp_path / "cut"))
    assert not [p for p in (tmp_path / "cut/saes/it").iterdir() if p.name.startswith(".building")]


@pytest.mark.parametrize("items_per_batch", [None, 3])
def test_a_run_over_texts_cut_in_every_stage_ends_in_the_same_tables(
    tmp_path: Path, items_per_batch: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cross_entropy, "POSITIONS_AT_ONCE", 60)
    monkeypatch.setattr(logit_effects, "TOKENS_AT_ONCE", 10)
    monkeypatch.setattr(tokens, "FEATURES_AT_ONCE", 10)
    source = MemoryTexts()
    checkpoint = save_sae(
        make_sae("jumprelu", source),
        tmp_path / "sae",
        {"data_sha256": source.data_sha256, "held_out": {"seed": 0, "fraction": 0.5}},
    )
    options = replace(OPTIONS, n_ce_positions=300)
    build_entry(checkpoint, source, tmp_path / "whole", sae_id="it", options=options)
    options = replace(options, items_per_batch=items_per_batch)
    for stage in ("encoding", "cross-entropy", "tokens", "logit effects", "co-activations"):
        for n in (2, 1, 3):
            with pytest.raises(CutError):
                build_entry(
                    checkpoint, source, tmp_path / "cut", sae_id="it", options=options, progress=CutIn(stage, n)
                )
    build_entry(checkpoint, source, tmp_path / "cut", sae_id="it", options=options)
    assert_equal(tables_of(tmp_path / "whole"), tables_of(tmp_path / "cut"))


def test_running_it_again_returns_the_same_version(tmp_path: Path) -> None:
    source = digits()
    checkpoint = save_sae(make_sae("topk", source), tmp_path / "sae")
    first = build_entry(checkpoint, source, tmp_path / "store", sae_id="it", options=OPTIONS)
    assert build_entry(checkpoint, source, tmp_path / "store", sae_id="it", options=OPTIONS) == first
    other = replace(OPTIONS, n_top=6)
    assert build_entry(checkpoint, source, tmp_path / "store", sae_id="it", options=other) != first


def test_a_pass_may_be_spread_over_workers() -> None:
    source = digits(4)
    codes, _, items, positions = codes_seen(make_sae("relu", source), source)
    whole = FeatureState.empty(codes.shape[1], RECTIFIED, 6, 3, 1)
    parts = [FeatureState.empty(codes.shape[1], RECTIFIED, 6, 3, 1) for _ in range(3)]
    order = np.random.default_rng(0).permutation(len(codes))
    add_rows(whole, codes, items, positions, np.arange(len(codes)))
    for part, rows in zip(parts, np.array_split(order, 3), strict=True):
        add_rows(part, codes, items, positions, rows)
    parts[2].merge(parts[0])
    parts[2].merge(parts[1])
    merged, expected = parts[2].arrays(), whole.arrays()
    assert merged.keys() == expected.keys()
    kept = np.arange(6) < whole.top.n[:, None]
    sampled = np.arange(3) < expected["n_sample"][:, :, None]
    for name, value in expected.items():
        if name in ("total", "total_squares"):
            np.testing.assert_allclose(merged[name], value, rtol=1e-12)
        elif name.startswith("top_"):
            np.testing.assert_array_equal(merged[name][kept], value[kept])
        elif name.startswith("sample_") and value.ndim == 3:
            np.testing.assert_array_equal(merged[name][sampled], value[sampled])
        else:
            np.testing.assert_array_equal(merged[name], value)


def test_an_error_of_a_table_that_a_thread_writes_is_raised_and_the_build_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = digits()
    checkpoint = save_sae(make_sae("topk", source), tmp_path / "sae")

    def refused(items: np.ndarray) -> pa.Table:
        raise CutError

    with monkeypatch.context() as patch:
        patch.setattr(source, "item_table", refused)
        with pytest.raises(CutError):
            build_entry(checkpoint, source, tmp_path / "cut", sae_id="it", options=OPTIONS)
    for store in ("cut", "whole"):
        build_entry(checkpoint, source, tmp_path / store, sae_id="it", options=OPTIONS)
    assert_equal(tables_of(tmp_path / "cut"), tables_of(tmp_path / "whole"))


COMPILED_LOOPS = """
import numpy as np
from saescope.autoencoders.code_rows import CodeRows
from saescope.precompute import kernels
from saescope.precompute.one_pass.histogram import RECTIFIED
from saescope.precompute.one_pass.state import FeatureState

state = FeatureState.empty(2, RECTIFIED, 2, 2, 0)
codes = CodeRows(np.arange(2), np.zeros(1, np.int32), np.ones(1, np.float32))
state.add(codes, np.zeros(1, np.int64), np.zeros(1, np.int64))
state.merge(state)
print(sum(sum(loop.stats.cache_misses.values()) for loop in (kernels.accumulate, kernels.merge_kept)))
"""


def test_loops_are_compiled_once_for_all_processes(tmp_path: Path) -> None:
    """Records are arguments that Numba's cache knows again."""
    run = partial(
        subprocess.run,
        [sys.executable, "-c", COMPILED_LOOPS],
        env={**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert [run().stdout for _ in range(2)] == ["2\n", "0\n"]


def add_rows(
    state: FeatureState, codes: np.ndarray, items: np.ndarray, positions: np.ndarray, rows: np.ndarray
) -> None:
    part = codes[rows]
    row, feature = np.nonzero(part)
    row_ptr = np.concatenate([[0], np.cumsum((part != 0).sum(axis=1))])
    state.add(CodeRows(row_ptr, feature.astype(np.int32), part[row, feature]), items[rows], positions[rows])


@pytest.mark.parametrize("n_rows", [1, 13, 64, 10_000])
def test_blocks_are_the_same_from_any_start(n_rows: int) -> None:
    source = digits(4)
    whole = list(rows_of(source, n_rows))
    assert sum(len(b.items) for b in whole) == source.n_items * source.positions_per_item
    assert {len(b.items) for b in whole[:-1]} <= {n_rows}
    start = Start()
    for i, block in enumerate(whole[:60]):
        start = start.after(block)
        if i % 7 == 0 and i + 1 < len(whole):
            again = next(rows_of(source, n_rows, start, items_per_batch=3))
            expected = whole[i + 1]
            assert again.first == expected.first
            np.testing.assert_array_equal(again.items, expected.items)
            np.testing.assert_array_equal(again.positions, expected.positions)
            np.testing.assert_array_equal(again.x.numpy(), expected.x.numpy())
