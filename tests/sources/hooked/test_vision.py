"""Vision models as sources: values, positions, masks and pictures against what is worked out beside them."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
import transformers
from PIL import Image

from saescope.progress import SILENT, Progress
from saescope.sources import SourceOptions, flat_positions, open_source
from saescope.sources.hooked.vision import HookedImages, open_vision
from saescope.sources.hooked.windows import POSITIONS
from saescope.sources.images.image_data import ImageSet
from saescope.sources.images.image_stack import ArrayStack
from saescope.sources.options import Split
from saescope.store.errors import UserError
from tests.models.small_models import VISION, make

HOOK = "blocks.1.hook_resid_post"
WINDOW = 8
PREFIX = {"vit": 1, "clip-vision": 1, "dinov2": 1, "dinov2-registers": 3}


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAESCOPE_CACHE", str(tmp_path / "cache"))


def save(name: str, folder: Path, **settings: Any) -> Path:
    """A small model with an image processor of its family; pictures of 12 x 12 pass through it unresized."""
    make(name).save_pretrained(folder)
    if name == "vit":
        processor = transformers.ViTImageProcessorPil(size={"height": 12, "width": 12}, **settings)
    elif name == "clip-vision":
        crop = {"height": 12, "width": 12}
        processor = transformers.CLIPImageProcessorPil(size={"shortest_edge": 12}, crop_size=crop, **settings)
    else:
        crop = {"height": 12, "width": 12}
        processor = transformers.BitImageProcessorPil(size={"shortest_edge": 12}, crop_size=crop, **settings)
    processor.save_pretrained(folder)
    return folder


def small_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows of `WINDOW` pictures of 10 positions, and batches of 4."""
    monkeypatch.setitem(POSITIONS, "cpu", (WINDOW * 10, 40))


def pictures(n_items: int, height: int = 12, width: int = 12, channels: int = 3) -> np.ndarray:
    return np.random.default_rng(4).integers(0, 256, (n_items, height, width, channels), dtype=np.uint8)


@dataclass(frozen=True)
class Given:
    """Images in memory, as data."""

    images: ImageSet
    format: str = "npy"
    splits: tuple[()] = ()
    uses: frozenset[str] = frozenset()

    def load(self, split: Split | None, progress: Progress = SILENT) -> ImageSet:
        return self.images


def source_of(model: Path, images: np.ndarray, **settings: Any) -> HookedImages:
    labels = pa.array([f"class {i % 3}" for i in range(len(images))])
    data = Given(ImageSet(ArrayStack(images, (0.0, 255.0)), labels, label_words={"label": "class"}))
    options = SourceOptions(images="pictures", model=str(model), device="cpu", **{"hook": HOOK, **settings})
    return open_vision(options, data, None)


def values_by_hand(model: Any, images: np.ndarray, mean: list[float], std: list[float]) -> torch.Tensor:
    """The hidden states after block 1, from pixels normalised here."""
    scaled = (torch.from_numpy(images).float() / 255 - torch.tensor(mean)) / torch.tensor(std)
    pixel_values = scaled.permute(0, 3, 1, 2)
    hidden = model(pixel_values, output_hidden_states=True).hidden_states
    return hidden[2]


@pytest.mark.parametrize("name", VISION)
def test_activations_are_the_models_over_its_processors_pictures(tmp_path: Path, name: str) -> None:
    options = save(name, tmp_path / "m", image_mean=[0.4, 0.5, 0.6], image_std=[0.2, 0.3, 0.4])
    images = pictures(5)
    source = source_of(options, images)
    (batch,) = source.batches()
    expected = values_by_hand(make(name), images, [0.4, 0.5, 0.6], [0.2, 0.3, 0.4])
    torch.testing.assert_close(batch.activations, expected, atol=1e-5, rtol=1e-5)
    prefix = PREFIX[name]
    assert (source.kind, source.d_in, source.positions_per_item) == ("vision", 16, prefix + 9)
    assert batch.mask is not None
    assert batch.mask.tolist() == [[False] * prefix + [True] * 9] * 5
    told = json.loads(json.dumps(source.describe()))
    assert told["kind"] == "vision"
    assert (told["input_shape"], told["patch"], told["stride"], told["grid"]) == ([12, 12, 3], 4, 4, [3, 3])
    assert (told["prefix_positions"], told["special_positions"]) == (prefix, "out")
    assert (told["n_positions"], told["excluded"]) == (45, {"CLS and register tokens": 5 * prefix})
    assert (told["model"], told["hook"], told["dtype"]) == (str(tmp_path / "m"), HOOK, "float32")


@pytest.mark.parametrize("name", VISION)
def test_each_position_after_the_prefix_is_its_own_region_of_the_picture(tmp_path: Path, name: str) -> None:
    options = save(name, tmp_path / "m")
    images = np.repeat(pictures(1), 10, axis=0)
    for patch in range(9):
        row, column = divmod(patch, 3)
        images[patch + 1, row * 4 : row * 4 + 4, column * 4 : column * 4 + 4] ^= 255
    (batch,) = source_of(options, images, hook="blocks.0.hook_resid_pre").batches()
    differs = (batch.activations[1:] - batch.activations[0]).abs().amax(dim=2) > 1e-3
    expected = torch.zeros(9, PREFIX[name] + 9, dtype=torch.bool)
    expected[range(9), PREFIX[name] + torch.arange(9)] = True
    assert torch.equal(differs, expected)


def test_special_positions_may_count(tmp_path: Path) -> None:
    source = source_of(save("dinov2-registers", tmp_path / "m"), pictures(4), special_positions="in")
    (batch,) = source.batches()
    assert batch.mask is not None
    assert bool(batch.mask.all())
    told = source.describe()
    assert (told["n_positions"], told["excluded"], told["prefix_positions"]) == (4 * 12, {}, 3)
    assert source.table().n_rows == 48


@pytest.mark.parametrize("cache", ["on", "off"])
@pytest.mark.parametrize("special", ["in", "out"])
def test_rows_are_the_evaluated_positions_in_order(
    tmp_path: Path, special: str, cache: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_windows(monkeypatch)
    n_items = 2 * WINDOW + 1
    model = save("dinov2-registers", tmp_path / "m")
    source = source_of(model, pictures(n_items), special_positions=special, cache=cache)
    flat = torch.cat([flat_positions(batch)[0] for batch in source.batches()])
    table = source.table()
    assert (table.n_rows, table.d_in) == (len(flat), 16)
    indices = np.random.default_rng(0).integers(0, len(flat), 200)
    torch.testing.assert_close(table.rows(indices), flat[torch.from_numpy(indices)], atol=1e-6, rtol=1e-5)
    assert table.rows(np.empty(0, dtype=np.int64)).shape == (0, 16)
    with pytest.raises(IndexError):
        table.rows(np.array([len(flat)]))
    chosen = np.arange(n_items) % 4 == 1
    items = np.concatenate([flat_positions(b)[1] for b in source.batches()])
    some = source.table(chosen)
    expected = flat[torch.from_numpy(np.isin(items, np.flatnonzero(chosen)))]
    torch.testing.assert_close(some.rows(np.arange(some.n_rows)), expected, atol=1e-6, rtol=1e-5)


def test_bits_do_not_depend_on_where_a_run_starts_or_how_it_is_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_windows(monkeypatch)
    n_items = 2 * WINDOW + 5
    source = source_of(save("vit", tmp_path / "m"), pictures(n_items))
    whole = torch.cat([batch.activations for batch in source.batches()])
    again = source_of(save("vit", tmp_path / "again"), pictures(n_items))
    for start, size in ((0, 7), (5, None), (WINDOW + 3, 100), (n_items - 1, 1)):
        parts = list(again.batches(start, size))
        assert torch.equal(torch.cat([p.activations for p in parts]), whole[start:])
        assert np.concatenate([p.item_ids for p in parts]).tolist() == list(range(start, n_items))
    with pytest.raises(UserError):
        next(source.batches(-1))


def test_items_show_the_picture_as_the_model_sees_it(tmp_path: Path) -> None:
    images = pictures(3)
    table = source_of(save("vit", tmp_path / "m"), images).item_table(np.array([0, 2]))
    shown = [np.asarray(Image.open(io.BytesIO(png.as_py()))) for png in table["image"]]
    np.testing.assert_array_equal(shown, images[[0, 2]])
    assert table["label"].to_pylist() == ["class 0", "class 2"]
    wide = pictures(2, height=24, width=60)
    source = source_of(save("clip-vision", tmp_path / "clip"), wide)
    (png,) = source.item_table(np.array([1]))["image"].to_pylist()
    resized = Image.fromarray(wide[1]).resize((30, 12), Image.Resampling.BICUBIC)
    expected = np.asarray(resized.crop((9, 0, 21, 12)))
    np.testing.assert_allclose(np.asarray(Image.open(io.BytesIO(png))).astype(int), expected.astype(int), atol=1)
    assert source.describe()["input_shape"] == [12, 12, 3]
    assert source.describe()["stored_shape"] == [24, 60, 3]


def test_grey_pictures_are_shown_to_the_model_as_colour(tmp_path: Path) -> None:
    options = save("vit", tmp_path / "m")
    grey = pictures(3, channels=1)
    (one,) = source_of(options, grey).batches()
    (other,) = source_of(options, np.repeat(grey, 3, axis=3)).batches()
    assert torch.equal(one.activations, other.activations)


def test_the_data_has_the_hash_of_its_pixels(tmp_path: Path) -> None:
    np.save(tmp_path / "pictures.npy", pictures(4))
    pixels = open_source(SourceOptions(images=str(tmp_path / "pictures.npy")))
    assert source_of(save("vit", tmp_path / "m"), pictures(4)).data_sha256 == pixels.data_sha256
    assert source_of(save("vit", tmp_path / "n"), pictures(4), hook="layers.0").data_sha256 == pixels.data_sha256


def test_metadata_is_kept(tmp_path: Path) -> None:
    source = source_of(save("vit", tmp_path / "m"), pictures(4))
    assert source.metadata()["label"].to_pylist() == ["class 0", "class 1", "class 2", "class 0"]
    assert source.describe()["label_words"] == {"label": "class"}


def test_models_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    make("llama").save_pretrained(tmp_path / "llama")
    with pytest.raises(UserError, match="reads texts, not images"):
        source_of(tmp_path / "llama", pictures(2))
    make("vit").save_pretrained(tmp_path / "bare")
    with pytest.raises(UserError, match="image processor of"):
        source_of(tmp_path / "bare", pictures(2))
    large = save("vit", tmp_path / "large")
    transformers.ViTImageProcessorPil(size={"height": 16, "width": 16}).save_pretrained(tmp_path / "large")
    with pytest.raises(UserError, match="does not take pictures of 16 x 16"):
        source_of(large, pictures(2))
    with pytest.raises(UserError, match="nearest"):
        source_of(save("vit", tmp_path / "m"), pictures(2), hook="blocks.1.hook_resid_pots")


def test_images_of_any_kind_are_opened_with_a_model(tmp_path: Path) -> None:
    model = save("vit", tmp_path / "m")
    options = SourceOptions(images="embedded:digits", model=str(model), hook=HOOK, device="cpu")
    source = open_source(options)
    batch = next(source.batches(3, 2))
    digits = open_source(SourceOptions(images="embedded:digits"))
    assert (source.kind, source.n_items, source.data_sha256) == ("vision", 1797, digits.data_sha256)
    assert batch.activations.shape == (2, 10, 16)
    assert source.describe()["label_words"] == {"label": "digit"}
    with pytest.raises(UserError, match="patch is given, but it concerns images and the source is a model"):
        SourceOptions(images="embedded:digits", model=str(model), hook=HOOK, patch=4)
    with pytest.raises(UserError, match="concerns models that look at images"):
        SourceOptions(images="embedded:digits", special_positions="in")


@pytest.mark.parametrize("name", ["vit", "clip-vision", "dinov2"])
def test_pictures_of_unequal_size_are_brought_to_the_models(tmp_path: Path, name: str) -> None:
    """As the processor brings each by itself; DINOv2's resizes to more than it crops, and must not do so twice."""
    model = save(name, tmp_path / "m")
    if name == "dinov2":
        crop = {"height": 12, "width": 12}
        transformers.BitImageProcessorPil(size={"shortest_edge": 16}, crop_size=crop).save_pretrained(model)
    folder = tmp_path / "pictures"
    sizes = [(12, 12), (40, 25), (30, 90), (13, 14)]
    drawn = [pictures(1, height, width)[0] for height, width in sizes]
    drawn[2][..., 1:] = drawn[2][..., :1]  # grey, among coloured ones
    for number, pixels in enumerate(drawn):
        path = folder / ("even" if number % 2 == 0 else "odd") / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)
    source = open_source(SourceOptions(images=str(folder), model=str(model), hook=HOOK, device="cpu"))
    (batch,) = source.batches()
    table = source.item_table(np.arange(4))
    processor = transformers.AutoImageProcessor.from_pretrained(model)
    whole = make(name)
    for place, file in enumerate(table["file"].to_pylist()):
        pixels = drawn[int(Path(file).stem)]
        values = processor(images=[Image.fromarray(pixels)], return_tensors="pt")["pixel_values"]
        expected = whole(values, output_hidden_states=True).hidden_states[2]
        torch.testing.assert_close(batch.activations[place : place + 1], expected, atol=1e-4, rtol=1e-4)
        with Image.open(io.BytesIO(table["image"][place].as_py())) as picture:
            assert picture.size == (12, 12)
    assert table["label"].to_pylist() == ["even", "even", "odd", "odd"]
    assert source.describe()["stored_shape"] is None
    assert source.describe()["input_shape"] == [12, 12, 3]
    with pytest.raises(UserError, match="unequal size"):
        open_source(SourceOptions(images=str(folder)))
