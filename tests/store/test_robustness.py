"""Kills, full disks, permissions, races and damage: what is published stays readable and verified."""

from __future__ import annotations

import errno
import itertools
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import duckdb
import pytest

from saescope.store import Entry, FeatureStore, StoreError, UnknownEntry, UserError
from saescope.store.check.verification import verify
from saescope.store.errors import StorageError
from saescope.store.format.paths import StorePaths
from saescope.store.read import index
from saescope.store.write.writer import EntryWriter
from tests.store.tiny import SAE_ID, publish, write_parts

PUBLISHER = """
import os, random, signal, sys, time
from pathlib import Path
import duckdb, pyarrow.parquet
import saescope.store.write.writer
pyarrow.array([1])  # imports what it takes, once
from tests.store.tiny import publish
root, parts = Path(sys.argv[1]), [Path(p) for p in sys.argv[2:4]]
for line in sys.stdin:
    delay, n = float(line.split()[0]), int(line.split()[1])
    child = os.fork()
    if not child:
        while True:
            publish(root, parts[n % 2], f"k{n}")
            n += 1
    time.sleep(delay)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    print("killed", flush=True)
"""


def summary(entry: Entry) -> tuple[int, int, str]:
    """Reads through every door of an entry."""
    examples = sum(len(entry.examples(i)) for i in range(entry.n_features))
    assert len(entry.search("")) == entry.n_features == len(entry.atoms())
    return entry.n_features, examples, entry.feature(3).auto_label or ""


@pytest.mark.slow
def test_kill_9_at_any_moment_leaves_a_verified_store(tmp_path: Path, parts: list[Path]) -> None:
    root = tmp_path / "store"
    publish(root, parts[0], "k-2")
    started = time.monotonic()
    publish(root, parts[1], "k-1")
    took = time.monotonic() - started  # what moments there are depends on how busy the machine is
    expected = [summary(FeatureStore(p.parents[2])[SAE_ID]) for p in parts]
    rng = random.Random(0)
    command = [sys.executable, "-W", "ignore", "-c", PUBLISHER, str(root), *map(str, parts)]
    seen, cut = set(), 0
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as driver:
        assert driver.stdin is not None
        assert driver.stdout is not None
        n = 0
        for _ in range(20):
            driver.stdin.write(f"{rng.uniform(0.1, 4.0) * took} {n}\n")
            driver.stdin.flush()
            assert driver.stdout.readline() == "killed\n"
            assert [str(f) for f in verify(root)] == []
            with FeatureStore(root) as store:
                entry = store[SAE_ID]
                assert summary(entry) == expected[entry.n_features == 12]
                if entry.version not in seen:
                    seen.add(entry.version)
                    n = int(entry.manifest.build_key.removeprefix("k")) + 1  # what was cut off is resumed
            cut += any(p.name.startswith(".building") for p in StorePaths(root).entry(SAE_ID).leftovers())
        driver.stdin.close()
    assert len(seen) > 3  # the publisher did publish
    assert cut > 3  # and was cut off in the middle
    version = publish(root, parts[0], "last")
    assert FeatureStore(root)[SAE_ID].version == version
    assert list(StorePaths(root).entry(SAE_ID).leftovers()) == []
    assert verify(root) == []


@contextmanager
def failing(monkeypatch: pytest.MonkeyPatch, at: int, number: int) -> Iterator[list[int]]:
    """Let the `at`-th fsync fail as a full disk would."""
    calls = [0]
    real = os.fsync

    def fsync(descriptor: int) -> None:
        calls[0] += 1
        if calls[0] == at + 1:
            raise OSError(number, os.strerror(number))
        real(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fsync)
        yield calls


def test_a_full_disk_at_any_step_is_told_and_harmless(
    tmp_path: Path, parts: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = publish(tmp_path, parts[0], "one")
    told = []
    for at in itertools.count():
        with failing(monkeypatch, at, errno.ENOSPC) as calls:
            try:
                publish(tmp_path, parts[1], f"k{at}")
            except StorageError as error:
                told.append(error)
        if calls[0] <= at:
            break  # there is no such step any more
        assert verify(tmp_path) == []
        assert FeatureStore(tmp_path)[SAE_ID].n_features in (8, 12)
        if at % 5 == 0:  # running it again completes it
            version = publish(tmp_path, parts[1], f"k{at}")
            assert FeatureStore(tmp_path)[SAE_ID].version == version != first
    assert len(told) > 20
    assert all("the disk is full" in error.message and error.hint for error in told)


def test_a_limit_on_file_size_is_told(tmp_path: Path, parts: list[Path]) -> None:
    """The kernel itself refuses: a real failed write inside the Parquet and DuckDB libraries."""
    publish(tmp_path, parts[0], "one")
    script = f"""
import resource, signal, sys
from pathlib import Path
import duckdb, pyarrow.parquet
from saescope.store import UserError
from tests.store.tiny import publish
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
for limit in (0, 500, 3000, 20000):
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    try:
        publish(Path({str(tmp_path)!r}), Path({str(parts[1])!r}), "two")
    except UserError as error:
        print("told:", error.message.splitlines()[0])
"""
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("told: cannot ") == 4, done.stdout
    assert verify(tmp_path) == []
    publish(tmp_path, parts[1], "two")
    assert verify(tmp_path) == []


@contextmanager
def unprivileged() -> Iterator[None]:
    """Permissions bind root only when it steps down."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_no_permission_is_told(tmp_path: Path, parts: list[Path]) -> None:
    tmp_path.chmod(0o500)
    with unprivileged(), pytest.raises(UserError, match="permission denied"):
        publish(tmp_path / "store", parts[0], "one")
    with unprivileged(), pytest.raises(UserError, match=r"there is no store|permission denied"):
        FeatureStore(tmp_path / "store")
    tmp_path.chmod(0o700)


def _copy(digits_store: Path, root: Path) -> Path:
    """A copy of a store without its indexes."""
    shutil.copytree(digits_store, root, ignore=lambda folder, names: {n for n in names if n.startswith("index-")})
    return root


def test_a_read_only_store_is_read_with_its_index_elsewhere(digits_store: Path) -> None:
    script = """
import os, sys
import duckdb, pyarrow.parquet, saescope.store.read.reader
from saescope.store import FeatureStore, UserError
if os.geteuid() == 0:  # permissions bind root only when it steps down
    os.seteuid(65534)
with FeatureStore(sys.argv[1]) as store:
    entry = store["digits-relu"]
    print(len(entry.search("id < 10")), len(entry.examples(3)) > 0, entry.annotation(3).label)
    try:
        entry.label(3, "x")
    except UserError as error:
        print("told:", error.message)
"""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        root, cache = _copy(digits_store, Path(folder) / "store"), Path(folder) / "cache"
        cache.mkdir()
        cache.chmod(0o777)
        folders = [root, *(p for p in root.rglob("*") if p.is_dir())]
        for path in folders:
            path.chmod(0o555)
        command = [sys.executable, "-c", script, str(root)]
        environment = os.environ | {"XDG_CACHE_HOME": str(cache)}
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
        for path in folders:
            path.chmod(0o755)
        assert done.returncode == 0, done.stderr
        lines = done.stdout.splitlines()
        assert lines[0] == "10 True None"
        assert lines[1].startswith("told: cannot write")
        assert list(root.rglob("index-*")) == []
        assert len(list(cache.rglob("index-*.duckdb"))) == 1


@pytest.mark.parametrize("content", [b"", b"not a database", b"\0" * 20_000])
def test_a_damaged_index_is_rebuilt(digits_store: Path, tmp_path: Path, content: bytes) -> None:
    root = _copy(digits_store, tmp_path / "store")
    store = FeatureStore(root)
    entry = store["digits-relu"]
    before = entry.feature(3)
    store.close()
    (path,) = entry.paths.root.glob("index-*.duckdb")
    path.chmod(0o644)
    path.write_bytes(content)
    again = FeatureStore(root)["digits-relu"]
    assert again.feature(3) == before
    assert len(again.examples(3)) > 0


def _with_damaged_blocks(digits_store: Path, root: Path) -> Path:
    """A copy of a store; in an index blocks are overwritten that DuckDB reads only when it is asked for their rows."""
    entry = FeatureStore(_copy(digits_store, root))["digits-relu"]
    entry.feature(3)
    size = entry.sql("SELECT block_size FROM pragma_database_size()")["block_size"][0].as_py()
    used = "SELECT DISTINCT block_id FROM pragma_storage_info('{}') WHERE block_id >= 0"
    ids = [i for name in ("features", "examples") for i in entry.sql(used.format(name))["block_id"].to_pylist()]
    (path,) = entry.paths.root.glob("index-*.duckdb")
    content = bytearray(path.read_bytes())
    for i in ids:
        start = 3 * 4096 + i * size + size // 2
        content[start : start + 100] = bytes(255 - byte for byte in content[start : start + 100])
    path.unlink()  # the file itself is open still
    path.write_bytes(content)
    return root


def test_a_damaged_block_of_an_index_is_rebuilt(digits_store: Path, tmp_path: Path) -> None:
    root = _with_damaged_blocks(digits_store, tmp_path / "store")
    path = next((root / "saes" / "digits-relu").rglob("index-*.duckdb"))
    with duckdb.connect(str(path), read_only=True) as damaged, pytest.raises(duckdb.Error, match="Corrupt"):
        damaged.execute("SELECT * FROM features").fetchall()
    sound = FeatureStore(digits_store)["digits-relu"]
    with FeatureStore(root) as store:
        entry = store["digits-relu"]
        assert entry.examples(3) == sound.examples(3)
        assert entry.feature(3) == sound.feature(3)
        assert entry.sql("SELECT * FROM features").equals(sound.sql("SELECT * FROM features"))
        with pytest.raises(duckdb.BinderException):  # a wrong statement is no damage
            entry.sql("SELECT nothing FROM features")
    with duckdb.connect(str(path), read_only=True) as rebuilt:
        assert len(rebuilt.execute("SELECT * FROM features").fetchall()) == sound.n_features


def test_threads_that_find_one_index_damaged(digits_store: Path, tmp_path: Path) -> None:
    root = _with_damaged_blocks(digits_store, tmp_path / "store")
    sound = FeatureStore(digits_store)["digits-relu"]
    with FeatureStore(root) as store, ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda i: store["digits-relu"].examples(i), [3] * 8))
    assert found == [sound.examples(3)] * 8


def test_an_index_that_stays_damaged_is_told(
    digits_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = _with_damaged_blocks(digits_store, tmp_path / "store")
    monkeypatch.setattr(index, "build_index", lambda *_: None)
    with FeatureStore(root) as store, pytest.raises(StoreError, match="cannot read the index") as caught:
        store["digits-relu"].examples(3)
    assert "delete its index-*.duckdb" in str(caught.value.hint)


def test_an_incomplete_index_is_rebuilt(digits_store: Path, tmp_path: Path) -> None:
    root = _copy(digits_store, tmp_path / "store")
    entry = FeatureStore(root)["digits-relu"]
    path = entry.paths.index(index.fingerprint(entry.manifest))
    index.build_index(entry.paths, entry.manifest, ["features"], path)
    assert len(entry.examples(3)) > 0


def test_damaged_parquet_is_told(digits_store: Path, tmp_path: Path) -> None:
    root = _copy(digits_store, tmp_path / "store")
    entry = FeatureStore(root)["digits-relu"]
    path = entry.paths.table("features")
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[:1000])
    for read in (lambda: entry.table("features"), lambda: entry.feature(3), lambda: entry.search("x")):
        with pytest.raises(StoreError, match=r"features.parquet|cannot build the index") as caught:
            read()
        assert "verify" in (caught.value.hint or "")
    assert len(FeatureStore(root)["digits-topk-k4"].search("")) > 0


@pytest.mark.parametrize("damage", ["empty", "header", "huge header", "short", "overlong", "json", "dtype"])
def test_damaged_weights_are_told(digits_store: Path, tmp_path: Path, damage: str) -> None:
    root = _copy(digits_store, tmp_path / "store")
    path = FeatureStore(root)["digits-relu"].paths.weights
    data = path.read_bytes()
    n = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + n])

    def with_header(text: bytes) -> bytes:
        return len(text).to_bytes(8, "little") + text + data[8 + n :]

    wrong = {
        "empty": b"",
        "header": data[:5],
        "huge header": (2**60).to_bytes(8, "little") + data[8:],
        "short": data[:-4],
        "json": with_header(b"[" * n),
        "overlong": with_header(
            json.dumps(header | {"W_dec": header["W_dec"] | {"data_offsets": [0, 2**40]}}).encode()
        ),
        "dtype": with_header(json.dumps(header | {"W_dec": header["W_dec"] | {"dtype": "F8_E4M3"}}).encode()),
    }
    path.chmod(0o644)
    path.write_bytes(wrong[damage])
    entry = FeatureStore(root)["digits-relu"]
    with pytest.raises(StoreError, match=r"sae\.safetensors"):
        entry.atoms([0])
    assert not entry.has_atoms


def test_readers_see_a_new_version_without_restart(tmp_path: Path, parts: list[Path]) -> None:
    publish(tmp_path, parts[0], "one")
    with FeatureStore(tmp_path) as store:
        old = store[SAE_ID]
        assert old.feature(0).n_features == 8
        publish(tmp_path, parts[1], "two")
        assert old.feature(1).n_features == 8  # an entry keeps its version
        assert store[SAE_ID].feature(11).n_features == 12
        assert [e.n_features for e in store.entries()] == [12]
        publish(tmp_path, parts[0], "three")
        publish(tmp_path, parts[1], "four")  # the first version's files are gone by now
        assert old.feature(2).n_features == 8  # its index is still open
        with pytest.raises(StoreError, match="missing"):
            old.table("features")


def test_a_version_that_is_gone_says_so(tmp_path: Path, parts: list[Path]) -> None:
    publish(tmp_path, parts[0], "one")
    with FeatureStore(tmp_path) as store:
        old = store[SAE_ID]
        publish(tmp_path, parts[1], "two")
        publish(tmp_path, parts[0], "three")
        with pytest.raises(StoreError, match=r"is gone.*\n.*open the entry again: store\['tiny'\]"):
            old.feature(0)


def test_readers_never_fail_while_versions_are_published(tmp_path: Path, parts: list[Path]) -> None:
    publish(tmp_path, parts[0], "start")
    done = threading.Event()

    def read(store: FeatureStore) -> int:
        n = 0
        while not done.is_set() or not n:
            entry = store[SAE_ID]
            assert entry.n_features in (8, 12)
            try:
                assert entry.feature(7).n_features == entry.n_features
            except StoreError as error:  # only for a reader that slept through two publications
                assert "open the entry again" in (error.hint or "")  # noqa: PT017
            n += 1
        return n

    with FeatureStore(tmp_path) as store, ThreadPoolExecutor(3) as pool:
        readers = [pool.submit(read, store) for _ in range(3)]
        try:
            for i in range(5):
                publish(tmp_path, parts[(i + 1) % 2], f"k{i}")
        finally:
            done.set()
        assert all(reader.result() > 0 for reader in readers)


def test_one_damaged_entry_does_not_hide_the_others(digits_store: Path, tmp_path: Path) -> None:
    root = _copy(digits_store, tmp_path / "store")
    (StorePaths(root).entry("digits-relu").current).write_text("20990101t000000000000z-00000000\n")
    with FeatureStore(root) as store:
        assert "digits-relu" in store.ids()
        with pytest.raises(StoreError, match="which is not there"):
            store.entries()
        entries, faults = store.readable()
        assert [e.sae_id for e in entries] == [i for i in store.ids() if i != "digits-relu"]
        assert len(faults) == 1
        assert "which is not there" in faults[0].message
        assert [s.name for s in store.sweeps()] == ["digits", "digits-patches"]
        assert store["digits-patches"].feature(1).feature_id == 1


def test_a_new_entry_appears(tmp_path: Path, parts: list[Path]) -> None:
    publish(tmp_path, parts[0], "one")
    with FeatureStore(tmp_path) as store:
        with pytest.raises(UnknownEntry, match="no entry 'second'") as caught:
            store["second"]
        assert caught.value.hint == f"it holds {SAE_ID}"
        publish(tmp_path, parts[0], "one", sae_id="second")
        assert store.ids() == ["second", SAE_ID]
        assert store["second"].n_features == 8


def test_a_publication_cut_before_current_is_finished_by_the_next_run(tmp_path: Path, parts: list[Path]) -> None:
    publish(tmp_path, parts[0], "one")
    entry = StorePaths(tmp_path).entry(SAE_ID)
    before = entry.current.read_text()
    second = publish(tmp_path, parts[1], "two")
    entry.current.write_text(before)
    assert verify(tmp_path) == []
    assert FeatureStore(tmp_path)[SAE_ID].n_features == 8
    with EntryWriter(tmp_path, SAE_ID, "two") as writer:
        assert writer.published == second
    assert FeatureStore(tmp_path)[SAE_ID].n_features == 12


def test_eight_threads_read_the_same_as_one(digits_store: Path) -> None:
    with FeatureStore(digits_store) as store:
        names = store.ids()

        def read(job: int) -> tuple[object, ...]:
            entry = store[names[job % len(names)]]
            i = job % entry.n_features
            examples = entry.examples(i)
            items = entry.items([e.item_id for e in examples])
            found = tuple(f.feature_id for f in entry.search(f"#{i} or digit {i % 10}"))
            return entry.feature(i), examples, entry.neighbours(i), items.num_rows, found, entry.atoms([i]).tobytes()

        jobs = list(range(48))
        alone = [read(j) for j in jobs]
    with FeatureStore(digits_store) as store, ThreadPoolExecutor(8) as pool:
        assert list(pool.map(read, jobs * 2)) == alone * 2
        store.indexes._capacity = 3  # indexes are dropped and opened again while others read
        assert list(pool.map(read, jobs[:16])) == alone[:16]


def test_threads_racing_to_build_one_index(digits_store: Path, tmp_path: Path) -> None:
    root = _copy(digits_store, tmp_path / "store")
    barrier = threading.Barrier(4)

    def read(_: int) -> int:
        with FeatureStore(root) as store:  # four stores: each has its own pool
            barrier.wait()
            return store["digits-relu"].feature(3).n_firing

    with ThreadPoolExecutor(4) as pool:
        assert len(set(pool.map(read, range(4)))) == 1


def test_a_writer_that_dies_lets_go_of_the_lock(tmp_path: Path, parts: list[Path]) -> None:
    script = f"""
import os
from pathlib import Path
from saescope.store.write.writer import EntryWriter
writer = EntryWriter({str(tmp_path)!r}, {SAE_ID!r}, "one")
writer.state_path("x").write_text("half")
os.kill(os.getpid(), 9)
"""
    subprocess.run([sys.executable, "-c", script], check=False)
    with EntryWriter(tmp_path, SAE_ID, "one") as writer:
        assert writer.state_path("x").read_text() == "half"
        writer.publish(write_parts(writer, parts[0]))
    assert verify(tmp_path) == []
