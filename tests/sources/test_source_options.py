from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pytest

from saescope.cli.source_options import source_flags
from saescope.sources import DataOptions, SourceOptions, has_splits, open_source
from saescope.sources.activations.options import ActivationOptions
from saescope.sources.hooked.options import VisionOptions
from saescope.sources.images.options import PatchOptions, PixelOptions
from saescope.sources.kinds import KINDS
from saescope.sources.texts.options import TextOptions
from saescope.sources.toy.options import ToyOptions
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
        ({"images": "a", "image_mode": "sepia"}, "image_mode is 'sepia', expected grey or colour"),
        ({"images": "a", "split": "tset"}, "split is 'tset', expected train, test, validation or all"),
        ({"images": "a", "layout": "hwc"}, "layout is 'hwc', expected nhw, nhwc or nchw"),
        ({"images": "a", "value_range": (1.0, 1.0)}, "the lower one first"),
        (
            {"images": "a", "value_range": (0.0, float("inf"))},
            "value_range is (0.0, inf), expected 2 values",
        ),
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
        ({**TEXTS, "packing": "loose"}, "packing is 'loose', expected pieces or packed"),
        ({**TEXTS, "exclude_norm": 0.5}, "exclude_norm is 0.5"),
        ({**TEXTS, "exclude_norm": float("nan")}, "exclude_norm is nan"),
        ({**TEXTS, "dtype": "float64"}, "dtype is 'float64', expected auto, float32, bfloat16 or float16"),
        ({**TEXTS, "cache": "maybe"}, "cache is 'maybe', expected auto, on or off"),
        ({**TEXTS, "cache_dtype": "int8"}, "cache_dtype is 'int8', expected float32 or float16"),
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


@pytest.mark.parametrize(
    ("given", "cls", "kind"),
    [
        (TEXTS, TextOptions, "texts"),
        ({"images": "a"}, PixelOptions, "pixels"),
        ({"images": "a", "patch": 4}, PatchOptions, "pixels"),
        ({"images": "a", "model": "m", "hook": "h"}, VisionOptions, "vision"),
        ({"activations": "a"}, ActivationOptions, "activations"),
        ({"toy": "8x4"}, ToyOptions, "toy"),
    ],
)
def test_what_is_given_decides_the_kind(given: dict, cls: type, kind: str) -> None:
    options = SourceOptions(**given)
    assert type(options) is cls
    assert options.kind == kind
    assert options == cls(**given)


def test_what_means_nothing_for_a_kind_has_no_field() -> None:
    for cls, given in ((PixelOptions, {"stride": 4}), (PixelOptions, {"context": 64}), (VisionOptions, {"patch": 4})):
        with pytest.raises(TypeError, match="unexpected keyword"):
            cls(images="a", **given)
    with pytest.raises(TypeError, match="unexpected keyword argument 'colour'"):
        SourceOptions(images="a", colour=True)


def test_what_means_nothing_may_be_none_or_a_default() -> None:
    options = SourceOptions(images="a", patch=None, stride=None, hook=None, context=128, cache="auto", device="cuda")
    assert options == PixelOptions(images="a")


def test_a_new_kind_is_options_a_module_that_opens_them_and_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    @dataclass(frozen=True, kw_only=True)
    class SoundOptions(DataOptions):
        sounds: str
        """A folder of recordings."""
        rate: int = 16_000
        """Samples per second."""
        kind: ClassVar[str] = "sounds"
        data: ClassVar[str] = "sounds"
        called: ClassVar[str] = "the source is sounds"
        concern: ClassVar[str] = "sounds"

    (tmp_path / "sounds_opening.py").write_text(
        "def open_data(options, purpose, progress):\n    return options.path, options.rate, purpose\n"
        "def has_splits(options):\n    return True\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(KINDS, SoundOptions, "sounds_opening")
    options = SourceOptions(sounds="birds", rate=8000)
    assert open_source(options, "train") == ("birds", 8000, "train")
    assert has_splits(options)
    with pytest.raises(UserError, match="rate is given, but it concerns sounds and the source is pixels"):
        SourceOptions(images="a", rate=8000)
    assert source_flags()["rate"].text == "Sounds: samples per second."


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
