"""The journal of what people add: append-only, shared by processes, kept by the weights' hash."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from saescope.store import FeatureStore, StoreError, UserError
from saescope.store.annotations import Annotations
from saescope.store.errors import StorageError

KEY = "ab" * 32


@pytest.fixture
def journal(tmp_path: Path) -> Annotations:
    return Annotations(tmp_path / "annotations.sqlite")


def test_the_current_state_is_the_latest(journal: Annotations) -> None:
    journal.label(KEY, 5, "first", author="ada")
    journal.label(KEY, 5, "  second  ", author="grace")
    journal.star(KEY, 5, author="ada")
    one = journal.comment(KEY, 5, "why?", author="ada")
    two = journal.comment(KEY, 5, "because", author="grace")
    journal.remove_comment(KEY, 5, one, author="ada")
    journal.add_to_list(KEY, 5, "hooks")
    journal.add_to_list(KEY, 5, "to check")
    journal.remove_from_list(KEY, 5, "hooks", author="grace")
    state = journal.state(KEY, 5)
    assert (state.label, state.starred, state.lists, state.author) == ("second", True, ["to check"], "grace")
    assert [(c.event_id, c.value, c.author) for c in state.comments] == [(two, "because", "grace")]
    assert state.updated_at is not None
    assert state.updated_at.endswith("+00:00")
    assert journal.lists(KEY) == {"to check": [5]}
    history = journal.history(KEY, 5)
    assert [e.kind for e in history] == [
        "label", "label", "star", "comment", "comment", "comment_removed", "list", "list", "list_removed",
    ]  # fmt: skip
    assert [e.event_id for e in history] == list(range(1, 10))
    journal.label(KEY, 5, None)
    journal.star(KEY, 5, False)
    state = journal.state(KEY, 5)
    assert (state.label, state.starred) == (None, False)
    assert journal.state(KEY, 6) == type(state)(6)
    assert set(journal.states(KEY)) == {5}
    assert journal.states("cd" * 32) == {}
    journal.close()


def test_nothing_is_made_by_reading(journal: Annotations, tmp_path: Path) -> None:
    assert journal.state(KEY, 1).label is None
    assert journal.states(KEY) == {}
    assert journal.revision() == 0
    assert list(tmp_path.iterdir()) == []


def test_the_journal_is_append_only(journal: Annotations, tmp_path: Path) -> None:
    journal.label(KEY, 5, "first")
    journal.close()
    with sqlite3.connect(tmp_path / "annotations.sqlite") as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        for statement in ("UPDATE events SET value = 'x'", "DELETE FROM events"):
            with pytest.raises(sqlite3.IntegrityError, match="append-only"):
                connection.execute(statement)
    connection.close()


@pytest.mark.parametrize("text", ["'; DROP TABLE events; --", "“déjà” 名\n<script>", "%s {0} ?"])
def test_text_is_kept_as_it_is(journal: Annotations, text: str) -> None:
    journal.label(KEY, 1, text, author=text)
    state = journal.state(KEY, 1)
    assert (state.label, state.author) == (text, text)
    journal.close()


def test_bad_values_are_refused(journal: Annotations) -> None:
    with pytest.raises(UserError, match="10,001 characters"):
        journal.label(KEY, 1, "x" * 10_001)
    with pytest.raises(UserError, match="null character"):
        journal.label(KEY, 1, "a\x00b")
    with pytest.raises(UserError, match="comment is empty"):
        journal.comment(KEY, 1, "  ")
    with pytest.raises(UserError, match="not a valid name of a list"):
        journal.add_to_list(KEY, 1, "")
    with pytest.raises(UserError, match="has no comment 7"):
        journal.remove_comment(KEY, 1, 7)
    with pytest.raises(UserError, match="no feature -1"):
        journal.star(KEY, -1)
    assert journal.revision() == 0


def test_readers_see_what_another_process_adds(journal: Annotations, tmp_path: Path) -> None:
    script = f"""
from pathlib import Path
from saescope.store.annotations import Annotations
journal = Annotations(Path({str(tmp_path)!r}) / "annotations.sqlite")
journal.label({KEY!r}, 3, "from outside", author="other")
journal.close()
"""
    assert journal.states(KEY) == {}
    subprocess.run([sys.executable, "-c", script], check=True)
    assert journal.states(KEY)[3].label == "from outside"
    journal.label(KEY, 3, "mine")
    subprocess.run([sys.executable, "-c", script], check=True)
    assert journal.states(KEY)[3].label == "from outside"
    journal.close()


def test_processes_and_threads_write_at_once(tmp_path: Path) -> None:
    script = f"""
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from saescope.store.annotations import Annotations
journal = Annotations(Path({str(tmp_path)!r}) / "annotations.sqlite")
with ThreadPoolExecutor(4) as pool:
    list(pool.map(lambda i: journal.star({KEY!r}, i, author=sys.argv[1]), range(50)))
journal.close()
"""
    with ThreadPoolExecutor(3) as pool:
        done = pool.map(lambda n: subprocess.run([sys.executable, "-c", script, f"w{n}"], check=True), range(3))
        assert len(list(done)) == 3
    journal = Annotations(tmp_path / "annotations.sqlite")
    assert journal.revision() == 150
    assert all(journal.state(KEY, i).starred for i in range(50))
    assert len(journal.history(KEY, 7)) == 3
    journal.close()


def test_many_processes_begin_one_file_at_the_same_moment(tmp_path: Path) -> None:
    script = f"""
import sys
from pathlib import Path
from saescope.store.annotations import Annotations
print("ready", flush=True)
for name in sys.stdin.readline().split():
    journal = Annotations(Path({str(tmp_path)!r}) / f"{{name}}.sqlite")
    journal.star({KEY!r}, 1, author=sys.argv[1])
    journal.close()
"""
    pipe = subprocess.PIPE
    names = [f"round{i}" for i in range(25)]
    running = [
        subprocess.Popen([sys.executable, "-c", script, f"w{n}"], stdin=pipe, stdout=pipe, stderr=pipe, text=True)
        for n in range(6)
    ]
    for process in running:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in running:
        assert process.stdin is not None
        process.stdin.write(" ".join(names) + "\n")
        process.stdin.flush()
    errors = [process.communicate(timeout=120)[1] for process in running]
    assert errors == [""] * len(running)
    for name in names:
        journal = Annotations(tmp_path / f"{name}.sqlite")
        assert journal.revision() == len(running)
        journal.close()


def test_labels_follow_the_weights(digits_store: Path, tmp_path: Path) -> None:
    shutil.copytree(digits_store, tmp_path / "store")
    with FeatureStore(tmp_path / "store") as store:
        store["digits-relu"].label(4, "a hook", author="ada")
        store["digits-relu"].star(4, author="ada")
    with FeatureStore(tmp_path / "store") as store:
        feature = store["digits-relu"].feature(4)
        assert (feature.user_label, feature.label, feature.is_starred) == ("a hook", "a hook", True)
        assert feature.label != feature.auto_label
        assert store["digits-topk-k4"].feature(4).user_label is None
        row = store["digits-relu"].features_page("id = 4").rows.to_pylist()[0]
        assert (row["user_label"], row["label"], row["is_starred"]) == ("a hook", "a hook", True)


@pytest.mark.parametrize("content", [b"not a database at all" * 100, b""])
def test_a_damaged_journal_is_told(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "annotations.sqlite"
    path.write_bytes(content)
    journal = Annotations(path)
    if content:
        for use in (lambda: journal.states(KEY), lambda: journal.star(KEY, 1)):
            with pytest.raises(StoreError, match="is damaged"):
                use()
    else:  # SQLite takes an empty file for a new database
        journal.star(KEY, 1)
        assert journal.state(KEY, 1).starred
    journal.close()


def test_a_newer_journal_is_refused(tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "annotations.sqlite")
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(StoreError, match="newer format"):
        Annotations(tmp_path / "annotations.sqlite").states(KEY)


def test_a_folder_in_its_place_is_told(tmp_path: Path) -> None:
    (tmp_path / "annotations.sqlite").mkdir()
    journal = Annotations(tmp_path / "annotations.sqlite")
    with pytest.raises(StorageError, match="cannot write"):
        journal.star(KEY, 1)
