"""kill -9 at many random moments: nothing published is harmed, and running it again completes it, bit for bit."""

from __future__ import annotations

import multiprocessing
import random
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors.numpy import load_file

from saescope.store import FeatureStore, atomic
from saescope.store.check.verification import verify
from tests.killed import jobs
from tests.precompute.test_cut_and_resumed import assert_equal

N_KILLS = 8
context = multiprocessing.get_context("forkserver")
context.set_forkserver_preload(["tests.killed.jobs"])


def run(job: Callable[..., None], folder: Path, kill_after: float | None = None) -> float | None:
    """Seconds that the job worked, or None where it was killed `kill_after` seconds from its start."""
    started = folder / "started"
    started.unlink(missing_ok=True)
    process = context.Process(target=job, args=(folder, started))
    process.start()
    while not started.exists() and process.is_alive():
        time.sleep(0.002)
    begun = time.monotonic()
    process.join(kill_after)
    if process.is_alive():
        process.kill()
        process.join()
        return None
    assert process.exitcode == 0, "the job failed by itself"
    return time.monotonic() - begun


def check_store(folder: Path) -> None:
    """Whatever is published is whole: verified, and every table can be read."""
    if not (folder / "store" / "store.json").exists():
        return
    faults = verify(folder / "store")
    assert not faults, faults
    with FeatureStore(folder / "store") as store:
        for entry in store.entries():
            assert entry.table("features").num_rows == entry.n_features


def kill_and_finish(job: Callable[..., None], root: Path, seconds: float) -> list[Path]:
    """Kill the job `N_KILLS` times at random moments of its `seconds`, and run it again each time.

    Whenever it comes to its end all the same, it begins anew in another folder. Returns all folders, finished.
    """
    rng = random.Random(0)
    folders = [new_folder(root, 0)]
    kills = 0
    for _ in range(20 * N_KILLS):
        if kills == N_KILLS:
            break
        if run(job, folders[-1], rng.uniform(0, 0.8 * seconds)) is None:
            kills += 1
            check_store(folders[-1])
        else:
            folders.append(new_folder(root, len(folders)))
    assert kills == N_KILLS
    run(job, folders[-1])
    check_store(folders[-1])
    return folders


def new_folder(root: Path, number: int) -> Path:
    folder = root / f"killed{number}"
    folder.mkdir()
    jobs.make_checkpoint(folder)
    return folder


def run_whole(job: Callable[..., None], root: Path) -> tuple[Path, float]:
    """The job, never cut: its folder, and the seconds that it took."""
    folder = root / "whole"
    folder.mkdir()
    jobs.make_checkpoint(folder)
    seconds = run(job, folder)
    assert seconds is not None
    return folder, seconds


@pytest.mark.slow
def test_killed_training_ends_in_the_same_weights(tmp_path: Path) -> None:
    whole, seconds = run_whole(jobs.train_job, tmp_path)
    expected = load_file(whole / "trained" / "sae.safetensors")
    for folder in kill_and_finish(jobs.train_job, tmp_path, seconds):
        weights = load_file(folder / "trained" / "sae.safetensors")
        assert weights.keys() == expected.keys()
        assert all((weights[name] == expected[name]).all() for name in expected)


@pytest.mark.slow
@pytest.mark.parametrize("job", [jobs.build_job, jobs.texts_job, jobs.sweep_job])
def test_killed_builds_end_in_the_same_tables(tmp_path: Path, job: Callable[..., None]) -> None:
    whole, seconds = run_whole(job, tmp_path)
    for folder in kill_and_finish(job, tmp_path, seconds):
        with FeatureStore(whole / "store") as expected, FeatureStore(folder / "store") as store:
            assert store.ids() == expected.ids()
            for entry in expected.entries():
                other = store[entry.sae_id]
                assert_equal({n: entry.table(n) for n in entry.tables}, {n: other.table(n) for n in other.tables})
                assert entry.weights_sha256 == other.weights_sha256
                assert not [p for p in other.paths.root.parent.iterdir() if p.name.startswith(".building")]


def files(folder: Path) -> dict[str, bytes]:
    """Everything below a folder but temporary files, which a killed writer leaves and a later run removes once they are
    old: until then another process might be writing them."""
    found = sorted(path for path in folder.rglob("*") if path.is_file() and not atomic.is_temporary(path))
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


@pytest.mark.slow
def test_killed_caching_goes_on_and_ends_in_the_same_bytes(tmp_path: Path) -> None:
    jobs.make_texts(tmp_path)
    whole, seconds = run_whole(jobs.cache_job, tmp_path)
    expected = files(whole / "cache" / "activations")
    assert len([name for name in expected if name.endswith(".bin")]) > 5
    for folder in kill_and_finish(jobs.cache_job, tmp_path, seconds):
        assert files(folder / "cache" / "activations") == expected


@pytest.mark.slow
def test_killed_training_on_streamed_activations_ends_in_the_same_weights(tmp_path: Path) -> None:
    jobs.make_texts(tmp_path)
    whole, seconds = run_whole(jobs.streamed_job, tmp_path)
    expected = load_file(whole / "trained" / "sae.safetensors")
    for folder in kill_and_finish(jobs.streamed_job, tmp_path, seconds):
        weights = load_file(folder / "trained" / "sae.safetensors")
        assert all((weights[name] == expected[name]).all() for name in expected)


@pytest.mark.parametrize("limit", [4_000, 30_000, 150_000, 250_000])
def test_a_full_disk_harms_nothing(tmp_path: Path, limit: int) -> None:
    """A limit on the size of files stands in for the full disk: writes fail at whatever moment they reach it."""
    jobs.make_checkpoint(tmp_path)
    first = context.Process(target=jobs.build_job, args=(tmp_path,))
    first.start()
    first.join()
    assert first.exitcode == 0
    before = FeatureStore(tmp_path / "store")["it"].version
    jobs.save_sae(jobs.make_sae("relu", jobs.digits(4), seed=1), tmp_path / "sae")
    process = context.Process(target=jobs.full_disk_job, args=(tmp_path, limit))
    process.start()
    process.join()
    assert process.exitcode == 7
    assert not verify(tmp_path / "store")
    assert FeatureStore(tmp_path / "store")["it"].version == before
    again = context.Process(target=jobs.build_job, args=(tmp_path,))
    again.start()
    again.join()
    assert again.exitcode == 0
    assert FeatureStore(tmp_path / "store")["it"].version != before
    assert not verify(tmp_path / "store")
