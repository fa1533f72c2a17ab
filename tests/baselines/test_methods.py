"""Every method against scikit-learn's own calls, and its numbers against NumPy."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from scipy.optimize import nnls
from sklearn.cluster import MiniBatchKMeans
from sklearn.datasets import load_digits
from sklearn.decomposition import NMF, PCA, FastICA, MiniBatchDictionaryLearning, SparseCoder
from sklearn.linear_model import lars_path

from saescope.baselines import METHODS, baseline_rows, fitted
from saescope.baselines.fitting import autoencoder
from saescope.baselines.method import Atoms
from saescope.baselines.registry import chosen, method
from saescope.progress import SILENT
from saescope.store.errors import DataError, OptionError
from saescope.store.format.schema import schema_of
from tests.baselines.rows_in_memory import Rows

DIGITS = (load_digits().data / 16).astype(np.float32)
TRAIN, TEST = DIGITS[:1500], DIGITS[1500:]
WIDE = TEST.astype(np.float64)

Rebuilt = Callable[[np.ndarray], np.ndarray]


def by_pca(x: np.ndarray) -> np.ndarray:
    found = PCA(7, svd_solver="full").fit(TRAIN.astype(np.float64))
    return found.inverse_transform(found.transform(x))


def by_largest_of_pca(x: np.ndarray) -> np.ndarray:
    found = PCA(7, svd_solver="full").fit(TRAIN.astype(np.float64))
    codes = found.transform(x)
    small = np.argsort(np.abs(codes), axis=1)[:, :-3]
    np.put_along_axis(codes, small, 0.0, axis=1)
    return found.inverse_transform(codes)


def by_omp(x: np.ndarray, atoms: np.ndarray) -> np.ndarray:
    return SparseCoder(atoms, transform_algorithm="omp", transform_n_nonzero_coefs=3).transform(x)


def by_lars(x: np.ndarray, atoms: np.ndarray) -> np.ndarray:
    return np.stack([lars_path(atoms.T, row, method="lasso", max_iter=3)[2][:, -1] for row in x])


def learned(code: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> Rebuilt:
    def rebuilt(x: np.ndarray) -> np.ndarray:
        rows = TRAIN[:300].astype(np.float64)
        mean = rows.mean(0)
        rows = rows - mean
        rows /= np.linalg.norm(rows, axis=1).mean()
        atoms = MiniBatchDictionaryLearning(12, alpha=1.2 / 8, batch_size=256, max_iter=5, random_state=0)
        unit = atoms.fit(rows).components_
        unit = unit / np.linalg.norm(unit, axis=1, keepdims=True)
        return code(x - mean, unit) @ unit + mean

    return rebuilt


def by_nmf(x: np.ndarray) -> np.ndarray:
    found = NMF(7, init="nndsvda", max_iter=200, random_state=0).fit(TRAIN.astype(np.float64))
    return np.stack([nnls(found.components_.T, row)[0] @ found.components_ for row in x])


def by_kmeans(x: np.ndarray) -> np.ndarray:
    found = MiniBatchKMeans(7, batch_size=4096, n_init=3, random_state=0).fit(TRAIN.astype(np.float64))
    return found.cluster_centers_[found.predict(x)]


def by_neurons(x: np.ndarray) -> np.ndarray:
    mean = TRAIN.astype(np.float64).mean(0)
    away = x - mean
    np.put_along_axis(away, np.argsort(np.abs(away), axis=1)[:, :-3], 0.0, axis=1)
    return mean + away


CASES: list[tuple[str, dict[str, Any], Rebuilt]] = [
    ("pca", {"n_components": 7}, by_pca),
    ("pca", {"n_components": 7, "k": 3}, by_largest_of_pca),
    ("ica", {"n_components": 7}, by_pca),  # of all components it is the same plane
    ("omp", {"n_components": 12, "k": 3}, learned(by_omp)),
    ("lars", {"n_components": 12, "k": 3}, learned(by_lars)),
    ("nmf", {"n_components": 7}, by_nmf),
    ("kmeans", {"n_components": 7}, by_kmeans),
    ("neurons", {"k": 3}, by_neurons),
]


@pytest.mark.parametrize(("name", "settings", "by_library"), CASES)
def test_reconstructions_equal_the_library_s(name: str, settings: dict[str, Any], by_library: Rebuilt) -> None:
    few = name in ("omp", "lars")  # which take long
    sae, _ = fitted(method(name), Rows(TRAIN[:300] if few else TRAIN), method(name).settings(**settings))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = by_library(WIDE)
    out = sae(torch.from_numpy(TEST))
    np.testing.assert_allclose(out.reconstruction.detach().numpy(), expected, atol=2e-5)
    assert sae.config.architecture == name
    if "k" in settings:
        assert int((out.codes != 0).sum(1).max()) <= settings["k"]


def test_least_angle_regression_only_gets_closer_with_more_steps() -> None:
    """With atoms that depend on each other too."""
    kind = method("lars")
    found = kind.fit(Rows(TRAIN[:300]), kind.settings(n_components=64), SILENT)
    x, missed = torch.from_numpy(TEST), []
    for k in (8, 16, 32, 48):
        sae = autoencoder(kind, found, kind.settings(n_components=64, k=k))
        missed.append(float((sae(x).reconstruction.detach() - x).square().sum()))
        assert sae(x[:1]).codes.shape == (1, 64)
    assert missed == sorted(missed, reverse=True)


def test_nmf_codes_are_those_of_its_transform() -> None:
    """NMF's own solver stops when little changes; exact least squares are no further from the data."""
    sae, found = fitted(method("nmf"), Rows(TRAIN), method("nmf").settings(n_components=7))
    library = NMF(7, init="nndsvda", max_iter=2000, tol=1e-8, random_state=0).fit(TRAIN.astype(np.float64))
    library.components_ = found.atoms
    rebuilt = library.inverse_transform(library.transform(WIDE))
    ours = sae(torch.from_numpy(TEST)).reconstruction.detach().numpy()
    assert ((ours - WIDE) ** 2).sum() <= ((rebuilt - WIDE) ** 2).sum() * (1 + 1e-6)
    np.testing.assert_allclose(ours, rebuilt, atol=5e-3)


def test_independent_components_are_those_of_fast_ica() -> None:
    some = TRAIN[:, 2:6]  # whose first dimension varies, as FastICA's whitening needs
    sae, _ = fitted(method("ica"), Rows(some), method("ica").settings(n_components=3))
    library = FastICA(3, max_iter=200, random_state=0, whiten_solver="eigh").fit(some.astype(np.float64))
    norms = np.linalg.norm(library.mixing_, axis=0)
    order = np.argsort(-norms)
    expected = (library.transform(some.astype(np.float64)) * norms)[:, order]
    codes = sae.encode(torch.from_numpy(some)).detach().numpy()
    np.testing.assert_allclose(np.abs(codes), np.abs(expected), atol=1e-4)
    np.testing.assert_allclose(np.abs(sae.atoms.numpy()), np.abs((library.mixing_ / norms).T[order]), atol=1e-4)


@pytest.mark.parametrize("n", [20, 100])
def test_random_directions_are_coded_by_least_squares_of_the_largest(n: int) -> None:
    sae, found = fitted(method("random"), Rows(TRAIN), method("random").settings(n_components=n, k=4))
    atoms, mean = found.atoms, found.offset
    if n <= 64:
        np.testing.assert_allclose(atoms @ atoms.T, np.eye(n), atol=1e-12)
    for row, rebuilt in zip(WIDE[:20], sae(torch.from_numpy(TEST[:20])).reconstruction.detach().numpy(), strict=True):
        some = np.sort(np.argsort(-np.abs(atoms @ (row - mean)))[:4])
        codes = np.linalg.lstsq(atoms[some].T, row - mean)[0]
        np.testing.assert_allclose(rebuilt, mean + codes @ atoms[some], atol=1e-5)


def test_nearest_centres_are_weighed_by_constrained_least_squares() -> None:
    """With a trace's ten thousandth on the diagonal, solved here with the constraint as one more equation."""
    sae, found = fitted(method("kmeans"), Rows(TRAIN), method("kmeans").settings(n_components=20, k=3))
    codes = sae.encode(torch.from_numpy(TEST[:20])).numpy()
    np.testing.assert_allclose(codes.sum(1), 1.0, atol=1e-6)
    for row, code in zip(WIDE[:20], codes, strict=True):
        near = np.argsort(((found.atoms - row) ** 2).sum(1))[:3]
        assert set(np.flatnonzero(code)) == set(near)
        away = found.atoms[near] - row
        system = np.zeros((4, 4))
        system[:3, :3] = away @ away.T + 1e-4 * (away**2).sum() * np.eye(3)
        system[3, :3] = system[:3, 3] = 1
        np.testing.assert_allclose(code[near], np.linalg.solve(system, [0, 0, 0, 1])[:3], atol=1e-5)


@pytest.mark.parametrize("name", METHODS)
def test_the_same_seed_gives_the_same_bits_and_another_another_draw(name: str) -> None:
    kind = method(name)
    settings: dict[str, Any] = {} if name == "neurons" else {"n_components": 6}
    if name != "nmf":
        settings["k"] = 2
    if name != "pca":
        settings |= {"fit_rows": 300, "seed": 3}

    def weights(**changed: int) -> torch.Tensor:
        sae, _ = fitted(kind, Rows(TRAIN), kind.settings(**{**settings, **changed}))
        return torch.cat([t.flatten() for t in sae.tensors().values()])

    assert torch.equal(weights(), weights())
    if name != "pca":
        assert not torch.equal(weights(), weights(seed=4))


def test_rows_equal_metrics_in_numpy() -> None:
    few = Rows(TRAIN[:200])
    table = baseline_rows(chosen(list(METHODS)), few, Rows(TEST), 8)
    assert table.schema.names[:5] == schema_of("baselines").names
    found = table.to_pylist()
    assert {row["name"] for row in found} == set(METHODS)
    assert found == sorted(found, key=lambda row: (row["name"], row["n_components"]))
    assert len({(row["name"], row["n_components"]) for row in found}) == len(found)
    variance = ((WIDE - WIDE.mean(0)) ** 2).sum()
    atoms: dict[tuple[str, int], Atoms] = {}
    for row in found:
        assert row["note"] == "fitted on 200 of 200 training rows, measured on 297 of 297"
        assert row["seconds"] >= 0
        assert row["l0"] <= row["n_components"] <= 64
        kind = method(row["name"])
        bounded = {} if row["name"] == "nmf" else {"k": row["n_components"]}
        settings = kind.settings(n_components=row["n_atoms"], **bounded)
        key = (kind.fit_at, row["n_atoms"])
        if key not in atoms:
            atoms[key] = kind.fit(few, settings, SILENT)
        sae = autoencoder(kind, atoms[key], settings)
        codes, rebuilt = sae(torch.from_numpy(TEST))
        squared = ((rebuilt.detach().numpy().astype(np.float64) - WIDE) ** 2).sum()
        assert row["fvu"] == pytest.approx(squared / variance, rel=1e-4, abs=1e-9), row
        assert row["mse"] == pytest.approx(squared / WIDE.size, rel=1e-4, abs=1e-9)
        if row["name"] != "pca":
            assert row["l0"] == pytest.approx(float((codes != 0).sum()) / len(TEST))


def test_whitened_fvu_is_measured_behind_the_matrix() -> None:
    matrix = np.diag(np.linspace(0.1, 2, 64))
    [row, *_] = baseline_rows(chosen(["neurons"]), Rows(TRAIN), Rows(TEST), 32, whitening=matrix).to_pylist()
    white, rebuilt = WIDE @ matrix, _neurons(1) @ matrix
    expected = ((rebuilt - white) ** 2).sum() / ((white - white.mean(0)) ** 2).sum()
    assert row["fvu_transformed"] == pytest.approx(expected, rel=1e-5)


def _neurons(k: int) -> np.ndarray:
    sae, _ = fitted(method("neurons"), Rows(TRAIN), method("neurons").settings(k=k))
    return sae(torch.from_numpy(TEST)).reconstruction.detach().numpy().astype(np.float64)


def test_rows_say_what_they_were_drawn_from(monkeypatch: pytest.MonkeyPatch) -> None:
    from saescope.baselines.settings import KmeansSettings

    monkeypatch.setattr(KmeansSettings, "measured_rows", 100)
    table = baseline_rows(chosen(["kmeans"]), Rows(TRAIN), Rows(TEST), 8)
    assert set(table["note"].to_pylist()) == {"fitted on 1,500 of 1,500 training rows, measured on 100 of 297"}


def test_methods_that_do_not_go_with_the_data_are_left_out_with_the_reason() -> None:
    said: list[str] = []
    table = baseline_rows(chosen(["nmf", "neurons"]), Rows(TRAIN - 0.5), Rows(TEST - 0.5), 8, skipped=said.append)
    assert set(table["name"].to_pylist()) == {"neurons"}
    [text] = said
    assert "baseline nmf" in text
    assert "go down to -0.5" in text


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("pca", {"n_components": 65}, "at most 64, the data's width"),
        ("ica", {"n_components": 65}, "at most 64, the data's width"),
        ("kmeans", {"n_components": 1501}, "on 1500 training rows"),
        ("omp", {"n_components": 500, "k": 2, "fit_rows": 400}, "on 400 training rows"),
        ("neurons", {"n_components": 9, "k": 2}, "there are 64, one per dimension"),
        ("neurons", {}, "needs --k"),
        ("omp", {"n_components": 9}, "needs --k"),
        ("omp", {"k": 9}, "needs --n-components"),
        ("lars", {"n_components": 100, "k": 70}, "no more than 64 atoms of 64 dimensions"),
        ("nmf", {"n_components": 9, "k": 2}, "nothing bounds the codes of nmf"),
    ],
)
def test_settings_that_do_not_go_with_the_data_are_told(name: str, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        fitted(method(name), Rows(TRAIN), method(name).settings(**settings))


def test_k_beyond_the_components_is_told() -> None:
    with pytest.raises(OptionError, match="k is 9, but there are only 4 atoms"):
        method("omp").settings(n_components=4, k=9)


@pytest.mark.parametrize("name", METHODS)
def test_data_that_never_varies_or_is_not_finite_is_told(name: str) -> None:
    kind = method(name)
    settings: dict[str, Any] = {"n_components": 3} | ({} if name == "nmf" else {"k": 2})
    with pytest.raises(DataError, match="all 9 activations are equal"):
        fitted(kind, Rows(np.full((9, 3), 0.5)), kind.settings(**settings))
    broken = np.eye(9, 3)
    broken[4, 1] = np.nan
    with pytest.raises(DataError, match="NaN or infinite"):
        fitted(kind, Rows(broken), kind.settings(**settings))


def test_data_of_few_directions_is_told() -> None:
    flat = TRAIN.copy()
    flat[:, 3:] = 0
    with pytest.raises(DataError, match="vary in 2 directions only"):  # the first pixel is always black
        fitted(method("ica"), Rows(flat), method("ica").settings(n_components=5))


def test_an_unknown_method_is_told() -> None:
    with pytest.raises(OptionError, match="no baseline 'svd'\nknown: pca, omp"):
        chosen(["pca", "svd"])
