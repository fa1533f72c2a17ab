"""Each corruption against NumPy, SciPy or scikit-image on a small case, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy import ndimage, stats

from saescope.autoencoders.settings.run import RunSettings
from saescope.denoising.corruption import Corruption, shape_of
from saescope.store.errors import CheckpointError, OptionError

SHAPE = (9, 8, 3)
X = torch.rand(5, 9 * 8 * 3, generator=torch.Generator().manual_seed(1))


def corruption(kind: str, noise: tuple[float, ...] = (0.3,), **fields: Any) -> Corruption:
    found = Corruption.of(RunSettings(4, corruption=kind, noise=noise, **fields), SHAPE)
    assert found is not None
    return found


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


LEVELS = torch.tensor([0.0, 0.1, 0.3, 0.5, 0.8])
S = LEVELS[:, None].numpy()


def test_gaussian_noise_is_added_and_values_are_clipped_last() -> None:
    n = torch.randn(X.shape, generator=seeded()).numpy()
    expected = X.numpy() + S * n
    plain = corruption("gaussian").apply(X, LEVELS, seeded())
    np.testing.assert_allclose(plain, expected, rtol=1e-6, atol=1e-7)
    clipped = corruption("gaussian", noise_range=(0.0, 1.0)).apply(X, LEVELS, seeded())
    np.testing.assert_allclose(clipped, np.clip(expected, 0, 1), rtol=1e-6, atol=1e-7)
    assert stats.kstest(n.ravel(), "norm").pvalue > 1e-3


def test_masking_sets_a_fraction_of_values_to_zero() -> None:
    u = torch.rand(X.shape, generator=seeded()).numpy()
    np.testing.assert_array_equal(
        corruption("masking").apply(X, LEVELS, seeded()), np.where(u < S, np.float32(0), X.numpy())
    )


def test_salt_and_pepper_sets_half_of_them_to_each_end() -> None:
    u = torch.rand(X.shape, generator=seeded()).numpy()
    expected = np.where(u < S / 2, np.float32(-1), np.where(u < S, np.float32(2), X.numpy()))
    noisy = corruption("salt_and_pepper", noise_range=(-1.0, 2.0)).apply(X, LEVELS, seeded())
    np.testing.assert_array_equal(noisy, expected)


def test_blur_is_scipys_gaussian_filter_of_each_image_and_channel() -> None:
    levels = torch.tensor([0.0, 0.4, 0.9, 1.5, 2.6])
    blurred = corruption("blur", (0.0, 2.6)).apply(X, levels, seeded()).view(5, *SHAPE)
    for image, clean, sigma in zip(blurred, X.view(5, *SHAPE), levels.tolist(), strict=True):
        expected = clean.numpy()
        if sigma:
            expected = ndimage.gaussian_filter(expected, (sigma, sigma, 0), mode="nearest", truncate=3.0)
        np.testing.assert_allclose(image, expected, atol=2e-6)


def test_patches_hides_squares_of_all_channels_or_none_of_them() -> None:
    hidden = corruption("patches", noise_patch=3).apply(X, torch.full((5,), 0.5), seeded()).view(5, *SHAPE).numpy()
    u = torch.rand(5, 9, generator=seeded()).numpy().reshape(5, 3, 3)
    gone = np.kron(u < 0.5, np.ones((1, 3, 3), bool))[:, :9, :8, None]  # 3 x 3 squares, the last ones cut
    np.testing.assert_array_equal(hidden, np.where(gone, np.float32(0), X.view(5, *SHAPE).numpy()))
    assert 0 < gone.mean() < 1


def test_levels_are_drawn_alike_over_their_range() -> None:
    each = corruption("gaussian", (0.2, 0.8)).levels(4000, seeded()).numpy()
    assert stats.kstest(each, "uniform", (0.2, 0.6)).pvalue > 1e-3
    low = corruption("gaussian", (0.2, 0.8), noise_power=3.0).levels(4000, seeded()).numpy()
    np.testing.assert_allclose(low, 0.2 + 0.6 * ((each - 0.2) / 0.6) ** 3, atol=1e-6)
    batch = corruption("gaussian", (0.2, 0.8), noise_per="batch").levels(4000, seeded())
    assert len(batch.unique()) == 1
    assert 0.2 <= float(batch[0]) <= 0.8
    assert float(batch[0]) != float(corruption("gaussian", (0.2, 0.8), noise_per="batch").levels(1, seeded(1))[0])
    assert corruption("gaussian", (0.3,)).levels(3, seeded()).tolist() == pytest.approx([0.3] * 3)


def test_draws_follow_the_generator_alone() -> None:
    drawn = [corruption("gaussian", (0.0, 0.8)).draw(X, seeded(s)) for s in (4, 4, 5)]
    assert torch.equal(drawn[0][0], drawn[1][0])
    assert torch.equal(drawn[0][1], drawn[1][1])
    assert not torch.equal(drawn[0][0], drawn[2][0])


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"noise": (0.4,)}, "no corruption"),
        ({"noise_conditioning": True}, "no corruption"),
        ({"noise_range": (0.0, 1.0)}, "no corruption"),
        ({"corruption": "gaussian"}, "needs a level"),
        ({"corruption": "gaussian", "noise": (-0.1,)}, "at least 0"),
        ({"corruption": "gaussian", "noise": (0.5, 0.1)}, "the lower one first"),
        ({"corruption": "gaussian", "noise": (0.5, float("inf"))}, "one level, or the lowest and highest"),
        ({"corruption": "gaussian", "noise": (0.1, 0.2, 0.3)}, "one level, or the lowest and highest"),
        ({"corruption": "masking", "noise": (1.5,)}, "a fraction, 0 to 1"),
        ({"corruption": "gaussian", "noise": (0.4,), "noise_range": (1.0, 0.0)}, "least value comes first"),
        ({"corruption": "salt_and_pepper", "noise": (0.4,)}, "needs the least and greatest"),
        ({"corruption": "gaussian", "noise": (0.4,), "noise_conditioning": True}, "needs no telling"),
        ({"corruption": "gaussian", "noise": (0.4, 0.4), "noise_conditioning": True}, "needs no telling"),
        ({"corruption": "gaussian", "noise": (0.4,), "noise_power": 2.0}, "which is not drawn"),
        ({"noise_power": 2.0}, "no corruption"),
        ({"corruption": "gaussian", "noise": (0.0, 0.4), "noise_power": 0.0}, "noise_power"),
        ({"corruption": "speckle", "noise": (0.4,)}, "corruption"),
        ({"corruption": "patches", "noise": (0.4,), "noise_patch": 0}, "noise_patch"),
    ],
)
def test_what_does_not_go_together_is_refused(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(OptionError, match=words):
        RunSettings(4, **fields)


@pytest.mark.parametrize("kind", ["blur", "patches"])
def test_what_is_of_images_is_refused_for_other_activations(kind: str) -> None:
    with pytest.raises(OptionError, match="is of images"):
        Corruption.of(RunSettings(4, corruption=kind, noise=(0.5,)), None)


def test_a_square_that_hides_the_whole_image_is_refused() -> None:
    with pytest.raises(OptionError, match="a square of 8 x 6 pixels hides the whole image"):
        Corruption.of(RunSettings(4, corruption="patches", noise=(0.5,), noise_patch=8), (8, 6, 1))


@pytest.mark.parametrize("shape", [(28, 28), (28, 28, 0), "large", (28, 28, "x")])
def test_a_damaged_record_of_the_shape_is_refused(shape: object) -> None:
    with pytest.raises(CheckpointError, match="record of the images' shape is damaged"):
        shape_of({"input_shape": shape})


def test_the_shape_is_that_of_an_image_or_a_patch_alone() -> None:
    assert shape_of({"input_shape": (28, 28, 1)}) == (28, 28, 1)
    assert shape_of({"input_shape": (64, 48, 3), "patch": 8}) == (8, 8, 3)
    assert shape_of({"input_shape": (64, 48, 3), "model": "a-vision-model"}) is None
    assert shape_of({}) is None
