"""Jobs beside the main line of a build."""

from __future__ import annotations

import threading

import pytest

from saescope.precompute.beside import beside


def test_the_job_runs_beside_the_block_and_is_done_at_its_end() -> None:
    meet = threading.Barrier(2, timeout=10)
    done = []

    def job() -> None:
        meet.wait()  # passes only if the block runs at the same time
        done.append(True)

    with beside(job):
        meet.wait()
    assert done


def test_an_error_of_the_job_is_raised_at_the_end() -> None:
    def job() -> None:
        raise ValueError("no space")

    with pytest.raises(ValueError, match="no space"), beside(job):
        pass


def test_an_error_of_the_block_waits_for_the_job() -> None:
    go = threading.Event()
    done = []

    def job() -> None:
        go.wait(10)
        done.append(True)

    with pytest.raises(KeyError), beside(job):  # noqa: PT012 - the order of the two matters
        go.set()
        raise KeyError("block")
    assert done


def test_an_interruption_does_not_wait() -> None:
    go = threading.Event()
    with pytest.raises(KeyboardInterrupt), beside(lambda: go.wait(60) and None):
        raise KeyboardInterrupt
    go.set()
