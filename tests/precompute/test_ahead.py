"""Blocks that are encoded while others are counted, and what leaves a GPU, tried on the CPU."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from saescope.metrics.reconstruction import MetricSums
from saescope.precompute.one_pass.blocks import CodeBlock, Encoder, Rows, firings
from saescope.precompute.one_pass.crossing import finish_in_order
from saescope.precompute.one_pass.decoding import Decoder
from saescope.precompute.one_pass.run import PassFolder, PassOptions, PassResult, run_pass
from tests.precompute.small_builds import SAES, digits, make_sae


def made(log: list[str], n: int) -> Iterator[int]:
    for i in range(n):
        log.append(f"made {i}")
        yield i


def test_blocks_are_finished_in_their_order_while_the_next_one_is_made() -> None:
    log: list[str] = []
    second_is_made = threading.Event()

    def blocks() -> Iterator[int]:
        for i in made(log, 5):
            if i == 1:
                second_is_made.set()
            yield i

    def finish(block: int) -> None:
        if block == 0:
            assert second_is_made.wait(30)
        log.append(f"finished {block}")

    finish_in_order(blocks(), finish, 1)
    assert [word for word in log if word.startswith("finished")] == [f"finished {i}" for i in range(5)]
    for i in range(2, 5):  # no more than one block ahead
        assert log.index(f"finished {i - 2}") < log.index(f"made {i}")


@pytest.mark.parametrize("ahead", [0, 1, 3])
def test_nothing_is_finished_after_an_error(ahead: int) -> None:
    finished: list[int] = []

    def finish(block: int) -> None:
        time.sleep(0.005)
        if block == 2:
            raise ValueError("the third")
        finished.append(block)

    with pytest.raises(ValueError, match="the third"):
        finish_in_order(made([], 8), finish, ahead)
    assert finished == [0, 1]


@pytest.mark.parametrize("ahead", [0, 1])
def test_an_error_of_the_source_comes_after_what_was_made_is_finished(ahead: int) -> None:
    finished: list[int] = []

    def blocks() -> Iterator[int]:
        yield 0
        raise ValueError("the source")

    with pytest.raises(ValueError, match="the source"):
        finish_in_order(blocks(), finished.append, ahead)
    assert finished == [0]


def run(name: str, ahead: int, **options: object) -> PassResult:
    source = digits(3)
    return run_pass(make_sae(name, source), source, PassOptions(block_rows=700), ahead=ahead, **options)  # type: ignore[arg-type]


def assert_same(one: PassResult, other: PassResult) -> None:
    for name, value in one.state.arrays().items():
        np.testing.assert_array_equal(value, other.state.arrays()[name], err_msg=name)
    assert one.sums is not None
    assert other.sums is not None
    for name, value in one.sums.to_dict().items():
        np.testing.assert_array_equal(value, other.sums.to_dict()[name], err_msg=name)


@pytest.mark.parametrize("name", ["topk", "relu", "kl"])
def test_no_bit_depends_on_blocks_ahead(name: str, tmp_path: Path) -> None:
    items = np.arange(1797) % 3 == 0
    whole = run(name, 0, metric_items=items)
    assert_same(whole, run(name, 1, metric_items=items))
    folder = PassFolder(tmp_path)
    seen: list[int] = []

    def cut(rows: Rows, codes: CodeBlock) -> None:
        if len(seen) == 4:
            raise InterruptedError
        seen.append(len(codes.sparse.features))

    with pytest.raises(InterruptedError):
        run(name, 1, metric_items=items, folder=folder, save_every_s=0.0, observe=cut)
    assert_same(whole, run(name, 1, metric_items=items, folder=folder))


@pytest.mark.parametrize("name", sorted(SAES))
def test_what_leaves_a_gpu_is_what_the_host_finds(name: str) -> None:
    """The tensors that a GPU makes of a block, made here on the CPU: firings, reconstructions and their sums."""
    source = digits()
    sae = make_sae(name, source)
    x = source.table().rows(np.arange(300))
    encoder, decoder = Encoder(sae, 300, torch.device("cpu")), Decoder(sae)
    block = encoder.begin(x)
    codes = encoder.receive(block)
    if block.dense is not None:
        per_row, features, values = (t.numpy() for t in firings(block.dense, float(encoder.threshold)))
        np.testing.assert_array_equal(np.cumsum(per_row), codes.sparse.row_ptr[1:])
        np.testing.assert_array_equal(features, codes.sparse.features)
        np.testing.assert_array_equal(values, codes.sparse.values)
    for rows in (None, np.array([3, 250])):
        torch.testing.assert_close(decoder.on_device(block, rows), decoder(x, codes, rows), atol=1e-4, rtol=1e-4)
    one, other = MetricSums(sae.d_out), MetricSums(sae.d_out)
    one.add(x, decoder(x, codes), 5, 2.0)
    other.take([part.numpy() for part in other.measure(x, decoder(x, codes))], 5, 2.0)
    assert one.values(48) == other.values(48)
