from __future__ import annotations

import importlib.util

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits, load_sample_image

from saescope.sources import SourceOptions, has_splits, open_source
from saescope.sources.images.embedded_images import CROP


def everything(source) -> np.ndarray:
    return torch.cat([b.activations for b in source.batches()]).numpy()


def test_digits_are_scikit_learns() -> None:
    source = open_source(SourceOptions(images="embedded:digits"), "train")
    bunch = load_digits()
    np.testing.assert_array_equal(everything(source)[:, 0], (bunch.data / 16).astype(np.float32))
    assert source.metadata()["label"].to_pylist() == [str(d) for d in bunch.target]
    description = source.describe()
    assert description["label_words"] == {"label": "digit"}
    assert description["value_range"] == [0.0, 1.0]
    assert description["split"] is None
    assert not has_splits(SourceOptions(images="embedded:digits"))


@pytest.mark.parametrize("image_mode", [None, "grey"])
def test_photographs_are_cut_into_crops_that_do_not_overlap(image_mode) -> None:
    source = open_source(SourceOptions(images="embedded:photos", image_mode=image_mode))
    height, width, channels = source.describe()["input_shape"]
    assert (height, width, channels) == (CROP, CROP, 3 if image_mode is None else 1)
    names = source.metadata()["photograph"].to_pylist()
    assert len(names) == source.n_items
    assert {"china", "flower"} <= set(names)
    assert ("astronaut" in names) == (importlib.util.find_spec("skimage") is not None)
    if image_mode is None:
        china = load_sample_image("china.jpg")  # 427 x 640: 6 x 10 crops, 21 rows above the first
        crops = everything(source).reshape(-1, CROP, CROP, 3)
        for index, (row, column) in ((0, (0, 0)), (13, (1, 3)), (59, (5, 9))):
            top, left = 21 + row * CROP, column * CROP
            expected = china[top : top + CROP, left : left + CROP] / np.float32(255)
            np.testing.assert_array_equal(crops[index], expected)
    assert source.item_table(np.array([0])).schema.names == ["item_id", "image", "label", "photograph"]


def test_two_openings_yield_equal_bits() -> None:
    options = SourceOptions(images="embedded:photos", patch=8, stride=8)
    first, second = open_source(options), open_source(options)
    assert first.describe() == second.describe()
    np.testing.assert_array_equal(everything(first), everything(second))
