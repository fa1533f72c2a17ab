from __future__ import annotations

import json
from pathlib import Path

import pytest

from saescope.sources import SourceOptions, open_source
from saescope.store.errors import UserError

TEXTS = {"texts": "a", "model": "m", "hook": "blocks.0.hook_resid_post"}


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({}, "no source is given"),
        ({"images": "a", "activations": "b"}, "both images and activations"),
        ({"images": ""}, "path of the source is empty"),
        ({"images": "a", "stride": 2}, "without a patch size"),
        ({"images": "a", "patch": 0}, "patch is 0"),
        ({"images": "a", "patch": 4, "stride": 0}, "stride is 0"),
        ({"images": "a", "patch": 4, "stride": -1}, "stride is -1"),
        ({"images": "a", "patch": 2.5}, "patch is 2.5"),
        ({"images": "a", "patch": True}, "patch is True"),
        ({"images": "a", "image_mode": "sepia"}, "unknown image_mode 'sepia'"),
        ({"images": "a", "split": "tset"}, "unknown split 'tset'; expected one of: train, test, all"),
        ({"images": "a", "layout": "hwc"}, "unknown layout"),
        ({"images": "a", "value_range": (1.0, 1.0)}, "the lower one first"),
        ({"images": "a", "value_range": (0.0, float("inf"))}, "expected finite numbers"),
        ({"activations": "a", "patch": 4}, "patch is given, but it concerns images"),
        ({"activations": "a", "image_mode": "grey"}, "image_mode is given"),
        ({"texts": "a", "images": "b"}, "both images and texts"),
        ({"texts": "a", "images": "b", "activations": "c"}, "images and texts and activations are given"),
        ({"texts": "a"}, "texts are given without a model"),
        ({"texts": "a", "model": "m"}, "a model is given without a hook point"),
        ({"texts": "a", "model": "", "hook": "h"}, "the model's name is empty"),
        ({"texts": "", "model": "m", "hook": "h"}, "path of the source is empty"),
        ({"images": "a", "model": "m"}, "a model is given without a hook point"),
        ({"activations": "a", "model": "m", "hook": "h"}, "cached activations need no model"),
        ({"images": "a", "context": 64}, "context is given, but it concerns texts and the source is pixels"),
        ({"images": "a", "cache": "off"}, "cache is given, but it concerns models"),
        ({"images": "a", "model": "m", "hook": "h", "patch": 4}, "a model that looks at images"),
        ({"activations": "a", "text_key": "body"}, "text_key is given"),
        ({**TEXTS, "patch": 4}, "patch is given, but it concerns images and the source is texts"),
        ({**TEXTS, "data_key": "text"}, "data_key is given, but it concerns arrays"),
        ({**TEXTS, "context": 0}, "context is 0"),
        ({**TEXTS, "context": None}, "context is None"),
        ({**TEXTS, "context_stride": -1}, "context_stride is -1"),
        ({**TEXTS, "context_stride": 129}, "context_stride 129 exceeds the context of 128"),
        ({**TEXTS, "max_tokens": 0}, "max_tokens is 0"),
        ({**TEXTS, "packing": "loose"}, "unknown packing 'loose'"),
        ({**TEXTS, "exclude_norm": 0.5}, "exclude_norm is 0.5"),
        ({**TEXTS, "exclude_norm": float("nan")}, "exclude_norm is nan"),
        ({**TEXTS, "dtype": "float64"}, "unknown dtype"),
        ({**TEXTS, "cache": "maybe"}, "unknown cache 'maybe'"),
        ({**TEXTS, "cache_dtype": "int8"}, "unknown cache_dtype"),
    ],
)
def test_bad_combinations_are_refused(given: dict, says: str) -> None:
    with pytest.raises(UserError) as caught:
        SourceOptions(**given)
    assert says in caught.value.message


def test_options_take_paths_and_become_json() -> None:
    options = SourceOptions(images=Path("a") / "b", patch=4, value_range=(0, 1))
    assert options.images == str(Path("a") / "b")
    assert SourceOptions(**json.loads(json.dumps(options.to_dict()))) == options


def test_no_norm_is_excluded_by_zero_or_none() -> None:
    assert SourceOptions(**TEXTS, exclude_norm=0) == SourceOptions(**TEXTS, exclude_norm=None)
    assert SourceOptions(**TEXTS).exclude_norm == 10


def test_kinds_of_sources() -> None:
    assert SourceOptions(**TEXTS).kind == "texts"
    assert SourceOptions(images="a").kind == "pixels"
    assert SourceOptions(images="a", model="m", hook="h").kind == "vision"
    assert SourceOptions(activations="a").kind == "activations"
    assert SourceOptions(toy="8x4").kind == "toy"


def test_options_that_mean_nothing_for_the_data_are_refused() -> None:
    for given in ({"layout": "nhw"}, {"value_range": (0, 1)}, {"data_key": "x"}, {"label_key": "y"}):
        with pytest.raises(UserError, match="it means nothing for embedded:digits"):
            open_source(SourceOptions(images="embedded:digits", **given))


def test_missing_empty_and_unknown_paths(tmp_path: Path) -> None:
    def told(path: Path, **given: str) -> str:
        with pytest.raises(UserError) as caught:
            open_source(SourceOptions(**(given or {"images": str(path)})))
        assert str(path) in caught.value.message
        assert caught.value.hint
        return caught.value.message

    assert "no such file or folder" in told(tmp_path / "none")
    (tmp_path / "folder").mkdir()
    assert "the folder is empty" in told(tmp_path / "folder")
    (tmp_path / "folder" / "notes.txt").write_text("hello")
    assert "holds no images (found notes.txt)" in told(tmp_path / "folder")
    assert "not a file of images that is known" in told(tmp_path / "folder" / "notes.txt")
    (tmp_path / "empty.png").touch()
    assert "is empty" in told(tmp_path / "empty.png")
    assert "no such file" in told(tmp_path / "a.npy", activations=str(tmp_path / "a.npy"))
    assert "is a folder" in told(tmp_path / "folder", activations=str(tmp_path / "folder"))
    (tmp_path / "empty.npy").touch()
    assert "is empty" in told(tmp_path / "empty.npy", activations=str(tmp_path / "empty.npy"))
    with pytest.raises(UserError, match="expected embedded:digits or embedded:photos"):
        open_source(SourceOptions(images="embedded:cats"))
