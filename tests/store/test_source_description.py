"""The manifest's `source`: typed by kind, the same JSON in and out, and told by name where it is wrong."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from saescope.store import FeatureStore
from saescope.store.check.verification import verify
from saescope.store.errors import StoreError
from saescope.store.format import source as sources
from saescope.store.format.source import PatchDescription, SourceDescription, TextDescription, read_source

PATCHES: dict[str, Any] = {
    "kind": "patches", "path": "embedded:digits", "format": "embedded", "data_sha256": "ab", "split": None,
    "n_items": 1797, "n_positions": 7188, "positions_per_item": 4, "d_in": 16, "excluded": {},
    "label_words": {"label": "digit"}, "input_shape": [8, 8, 1], "image_mode": "grey", "value_range": [0.0, 1.0],
    "stored_range": [0.0, 16.0], "patch": 4, "stride": 4, "grid": [2, 2], "uncovered": [0, 0],
}  # fmt: skip


def test_what_is_read_is_what_is_written() -> None:
    described = read_source(PATCHES)
    assert isinstance(described, PatchDescription)
    assert (described.patch, described.grid, described.input_shape) == (4, (2, 2), (8, 8, 1))
    assert json.loads(json.dumps(described)) == described == PATCHES
    assert read_source(described) == described


def test_keys_that_are_null_or_left_out_stay_so() -> None:
    cached = sources.ActivationDescription(path="x.npy")
    assert cached["patch"] is None
    assert "targets" not in cached
    assert sources.ActivationDescription(path="x.npy", targets="y.npy")["targets"] == "y.npy"
    assert "uncovered" not in sources.PixelDescription(input_shape=(8, 8, 1))


def test_unknown_keys_and_kinds_are_kept() -> None:
    described = read_source({**PATCHES, "made_later": [1]})
    assert described["made_later"] == [1]
    sounds = read_source({"kind": "sounds", "n_items": 3, "rate": 44100})
    assert type(sounds) is SourceDescription
    assert (sounds.kind, sounds.n_items, sounds.further) == ("sounds", 3, {"rate": 44100})


def test_a_new_kind_is_a_class(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "KINDS", dict(sources.KINDS))

    @dataclass(frozen=True, kw_only=True, eq=False)
    class SoundDescription(SourceDescription):
        kind: str = "sounds"
        rate: int

    sounds = read_source({"kind": "sounds", "rate": 44100})
    assert isinstance(sounds, SoundDescription)
    assert sounds.rate == 44100


def test_old_manifests_lack_what_came_later() -> None:
    described = read_source({"kind": "tokens", "path": "embedded:python", "excluded": 0, "bos": "no", "n_items": 4})
    assert isinstance(described, TextDescription)
    assert (described.n_items, described.eos, described.excluded_norm) == (4, [], None)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"n_items": "many"}, "source.n_items is 'many', expected"),
        ({"n_items": -1}, "source.n_items is -1, expected a whole number of at least 0"),
        ({"input_shape": "8 x 8"}, "source.input_shape is '8 x 8', expected"),
        ({"input_shape": [8, 8]}, "source.input_shape is [8, 8], expected 3 values, each a whole number of at least 1"),
        ({"patch": 0}, "source.patch is 0, expected a whole number of at least 1"),
        ({"label_words": ["digit"]}, "source.label_words is ['digit'], expected an object"),
        ({"kind": 3}, "source.kind is 3, expected text"),
    ],
)
def test_a_wrong_source_is_told_by_name(digits_store: Path, tmp_path: Path, wrong: dict[str, Any], says: str) -> None:
    own_store = shutil.copytree(digits_store, tmp_path / "store")
    with FeatureStore(own_store) as store:
        path = store["digits-patches"].paths.manifest
    content = json.loads(path.read_text())
    content["source"] |= wrong
    path.chmod(0o644)
    path.write_text(json.dumps(content))
    with FeatureStore(own_store) as store, pytest.raises(StoreError) as caught:
        store["digits-patches"]
    assert says in caught.value.message
    assert [(f.sae_id, f.file) for f in verify(own_store)] == [("digits-patches", "manifest.json")]
    assert says in verify(own_store)[0].problem


def test_what_a_kind_needs_is_missed() -> None:
    with pytest.raises(StoreError, match=r"n_items is 'x', expected .*; stride is missing"):
        read_source({k: v for k, v in {**PATCHES, "n_items": "x"}.items() if k != "stride"})
