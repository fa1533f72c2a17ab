"""Entries of models that denoise: items at several levels, measured by scikit-image, beside classical denoisers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from sklearn.datasets import load_digits

from saescope.autoencoders.settings.corruption import CorruptionSettings
from saescope.checkpoints import load_sae
from saescope.denoising.classical import FILTERS
from saescope.precompute.denoised_pictures import levels_of
from saescope.sources.images.options import PatchOptions, PixelOptions
from saescope.sources.split import held_out
from saescope.store import Entry, FeatureStore
from saescope.store.check.verification import verify
from saescope.training import TrainingConfig
from saescope.workflows import SweepPlan, build, sweep, train

DIGITS = load_digits().images.astype(np.float32) / 16
NOISE: dict[str, Any] = {"corruption": "gaussian", "noise": (0.0, 0.4), "noise_range": (0.0, 1.0)}
SMALL: dict[str, Any] = {"n_features": 64, "k": 8, "steps": 200, "batch_size": 128}
EMBEDDED = PixelOptions(images="embedded:digits")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Entry]:
    folder = tmp_path_factory.mktemp("denoiser")
    train(EMBEDDED, TrainingConfig("topk", **SMALL, **NOISE, noise_conditioning=True), folder / "run")
    build(folder / "run", EMBEDDED, folder / "store", sae_id="digits")
    assert verify(folder / "store") == []
    with FeatureStore(folder / "store") as store:
        yield store["digits"]


def test_items_are_held_out_ones_at_levels_of_the_trained_range_and_one_beyond(built: Entry) -> None:
    assert built.noise_levels() == pytest.approx([0.05 * i for i in range(10)])
    items = built.denoised_item_ids()
    assert len(items) == 16
    assert held_out(1797, 0, 0.1)[items].all()
    methods = [name for f in FILTERS for name in (f.name, f"{f.name}+curve")]
    assert set(built.denoised(items[0], built.noise_levels()[3])["method"].to_pylist()) == {
        "corrupted",
        "model",
        *methods,
    }


def test_rows_are_what_the_methods_give_and_scikit_image_measures(built: Entry) -> None:
    sae = load_sae(built.paths.checkpoint)
    item, level = built.denoised_item_ids()[2], built.noise_levels()[6]
    rows = {row["method"]: row for row in built.denoised(item, level).to_pylist()}
    noisy = np.array(rows["corrupted"]["values"], np.float32)
    assert noisy.min() == 0
    assert noisy.max() <= 1
    with torch.no_grad():
        x = torch.cat([torch.from_numpy(noisy), torch.tensor([level])])[None].float()
        expected = sae(x).reconstruction.clamp(0, 1)[0].numpy()
    np.testing.assert_allclose(rows["model"]["values"], expected, atol=1e-5)
    for row in rows.values():
        found, clean = np.array(row["values"]).reshape(8, 8), DIGITS[item].astype(np.float64)
        assert row["psnr"] == pytest.approx(peak_signal_noise_ratio(clean, found, data_range=1.0), abs=1e-4)
        assert row["ssim"] == pytest.approx(structural_similarity(clean, found, data_range=1.0), abs=1e-4)
    untouched = {row["method"]: row for row in built.denoised(item, 0.0).to_pylist()}["corrupted"]
    np.testing.assert_allclose(untouched["values"], DIGITS[item].ravel(), atol=1e-6)
    assert untouched["psnr"] is None


def test_means_are_over_held_out_items_and_name_the_parameters(built: Entry) -> None:
    table = built.denoising_metrics()
    assert table is not None
    rows = {(round(row["level"], 6), row["method"]): row for row in table.to_pylist()}
    assert {row["n_items"] for row in rows.values()} == {180}
    model, corrupted = rows[0.4, "model"], rows[0.4, "corrupted"]
    assert model["psnr"] > corrupted["psnr"] + 2
    assert rows[0.4, "gaussian"]["parameters"].startswith("sigma=")
    assert rows[0.4, "median+curve"]["psnr"] > rows[0.4, "median"]["psnr"]
    assert rows[0.0, "corrupted"]["psnr"] is None
    assert model["parameters"] == ""


def test_a_build_is_not_made_twice(built: Entry, tmp_path: Path) -> None:
    root = built.paths.root.parents[2]
    assert build(root.parent / "run", EMBEDDED, root, sae_id="digits").version == built.version


def test_entries_of_a_sweep_share_their_classical_denoisers(tmp_path: Path) -> None:
    training = {name: v for name, v in {**SMALL, **NOISE, "steps": 20}.items() if name != "noise"}
    training["architecture"] = "topk"
    plan = SweepPlan(name="levels", source=EMBEDDED, training=training, values=(0.1, 0.3), vary="noise")
    entries = sweep(plan, tmp_path / "store", note=lambda text: None)
    with FeatureStore(tmp_path / "store") as store:
        first, second = (store[entry.sae_id] for entry in entries)
        assert first.noise_levels() == pytest.approx([0.025 * i for i in range(7)])
        tables: list[pa.Table | None] = [entry.denoising_metrics() for entry in (first, second)]
        shared = [
            {
                row["method"]: (row["parameters"], row["psnr"])
                for row in (table or pa.table({})).to_pylist()
                if row["level"] == pytest.approx(0.15) and row["method"] != "model"
            }
            for table in tables
        ]
        assert shared[0] == shared[1]
        assert len(shared[0]) == 15


@pytest.mark.parametrize("case", ["plain", "patches"])
def test_others_have_no_such_tables(case: str, tmp_path: Path) -> None:
    source = EMBEDDED if case == "plain" else PatchOptions(images="embedded:digits", patch=4)
    fields = {} if case == "plain" else NOISE
    train(source, TrainingConfig("topk", **{**SMALL, "steps": 5}, **fields), tmp_path / "run")
    build(tmp_path / "run", source, tmp_path / "store", sae_id="digits")
    with FeatureStore(tmp_path / "store") as store:
        assert "denoising" not in store["digits"].tables
        assert "denoising_metrics" not in store["digits"].tables


def test_items_that_were_trained_on_are_not_measured(tmp_path: Path) -> None:
    """The training split itself, evaluated: nothing is left to judge by."""
    np.savez(tmp_path / "digits.npz", x_train=DIGITS[:300], x_test=DIGITS[300:400])
    options = PixelOptions(images=str(tmp_path / "digits.npz"))
    train(options, TrainingConfig("topk", **{**SMALL, "steps": 5}, **NOISE), tmp_path / "run")
    for split, kept in (("train", False), ("test", True)):
        build(
            tmp_path / "run",
            replace(options, split=split),
            tmp_path / "store",
            sae_id=split,
            note=lambda text: None,
        )
        with FeatureStore(tmp_path / "store") as store:
            assert store[split].has_table("denoising") == kept


@pytest.mark.parametrize(
    ("fields", "levels"),
    [
        ({"corruption": "gaussian", "noise": (0.0, 0.8)}, [0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9]),
        ({"corruption": "gaussian", "noise": (0.4,)}, [0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6]),
        ({"corruption": "blur", "noise": (1.0, 3.0)}, [0.75, 1, 1.25, 1.5, 1.75, 2, 2.25, 2.5, 2.75, 3, 3.25]),
        ({"corruption": "masking", "noise": (0.8,)}, [0, 0.2, 0.4, 0.6, 0.8, 1.0]),
    ],
)
def test_levels_span_the_trained_ones_and_a_little_more(fields: dict[str, Any], levels: list[float]) -> None:
    assert levels_of(CorruptionSettings(**fields)) == pytest.approx(levels)
