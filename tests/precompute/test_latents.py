"""The tables of variational autoencoders against NumPy, their checks, and that a build is the same every time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from scipy import stats

from saescope.autoencoders.variational.module import VariationalAutoencoder, VariationalConfig
from saescope.precompute import BuildOptions, build_entry, latent_pass
from saescope.precompute.tables import latents
from saescope.store import FeatureStore
from saescope.store.check import latent_consistency
from saescope.store.check.verification import verify
from saescope.store.errors import OptionError, StoreError
from tests.precompute.small_builds import digits, make_sae, save_sae

N = 6


def make_vae(bernoulli: bool) -> VariationalAutoencoder:
    """Random; its last unit is the prior whatever comes in."""
    config = VariationalConfig(
        d_in=64, n_features=N, encoder_widths=(20,), decoder_widths=(20,), sigmoid_output=bernoulli
    )
    model = VariationalAutoencoder(config)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.2, generator=generator)
        for layer in (model.code_layer, model.variance_layer):
            layer.rows[-1], layer.bias[-1] = 0, 0
    return model.requires_grad_(False)


def built(folder: Path, bernoulli: bool = True, patch: int | None = None) -> Any:
    folder.mkdir(parents=True, exist_ok=True)
    sae = make_vae(bernoulli) if patch is None else _of_patches(patch)
    checkpoint = save_sae(sae, folder / "sae")
    build_entry(checkpoint, digits(patch), folder / "store", sae_id="it", options=BuildOptions(n_sample_items=40))
    assert verify(folder / "store") == []
    return sae, FeatureStore(folder / "store")["it"]


def _of_patches(patch: int) -> VariationalAutoencoder:
    model = VariationalAutoencoder(VariationalConfig(d_in=patch**2, n_features=N, encoder_widths=(8,)))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.3, generator=torch.Generator().manual_seed(parameter.numel()))
    return model.requires_grad_(False)


@pytest.mark.parametrize("bernoulli", [True, False])
def test_what_units_tell_and_the_bound(bernoulli: bool, tmp_path: Path) -> None:
    sae, entry = built(tmp_path, bernoulli)
    x = digits().table().rows(np.arange(1797))
    q = sae.posterior(x)
    mean, log_variance = q.mean.double().numpy(), q.log_variance.double().numpy()
    divergence = 0.5 * (mean**2 + np.exp(log_variance) - 1 - log_variance)
    table = entry.latents()
    np.testing.assert_allclose(table["kl"], divergence.mean(0), rtol=1e-4, atol=1e-7)
    np.testing.assert_allclose(table["variance_of_mean"], mean.var(0), rtol=1e-3, atol=1e-7)
    assert table["is_used"].to_pylist() == [True] * (N - 1) + [False]
    assert entry.metrics["n_used"] == N - 1
    assert entry.metrics["kl_prior"] == pytest.approx(divergence.sum(1).mean(), rel=1e-5)
    bounds = []
    for seed in range(20):  # other draws than the pass's: the mean of 1,797 hardly depends on them
        z = mean + np.exp(log_variance / 2) * np.random.default_rng(seed).normal(size=mean.shape)
        outputs = sae.outputs(torch.from_numpy(z).float()).double().numpy()
        if bernoulli:
            p = 1 / (1 + np.exp(-outputs))
            likelihood = (x.double().numpy() * np.log(p) + (1 - x.double().numpy()) * np.log(1 - p)).sum(1)
        else:
            scale = float((0.5 * sae.log_output_variance).exp())
            likelihood = stats.norm(outputs, scale).logpdf(x.double().numpy()).sum(1)
        bounds.append((likelihood - divergence.sum(1)).mean())
    assert entry.metrics["elbo"] == pytest.approx(np.mean(bounds), abs=6 * np.std(bounds))
    assert entry.metrics["elbo"] == pytest.approx(entry.metrics["log_likelihood"] - entry.metrics["kl_prior"], rel=1e-9)


def test_pictures_are_what_their_codes_decode_to(tmp_path: Path) -> None:
    sae, entry = built(tmp_path)
    sample = entry.sample_item_ids()
    codes = sae.encode(digits().table().rows(np.arange(1797)))
    order = np.argsort(-entry.latents()["kl"].to_numpy(), kind="stable")
    draws = torch.empty(64, N).normal_(generator=torch.Generator().manual_seed(0))
    assert entry.generated("sample").num_rows == 64
    for row, z in zip(entry.generated("sample").to_pylist(), draws, strict=True):
        np.testing.assert_allclose(row["values"], sae.decode(z[None])[0], rtol=1e-4, atol=1e-6)
    for kind, start in (("traversal_mean", codes.mean(0)), ("traversal_item", codes[sample[0]])):
        rows = entry.generated(kind).to_pylist()
        assert [row["coordinate"] for row in rows] == list(range(-3, 4)) * N
        assert [row["feature_id"] for row in rows] == np.repeat(order, 7).tolist()
        assert {row["item_id"] for row in rows} == {sample[0] if kind == "traversal_item" else None}
        for row in rows[::5]:
            moved = start.clone()
            moved[row["feature_id"]] = row["coordinate"]
            np.testing.assert_allclose(row["values"], sae.decode(moved[None])[0], rtol=1e-3, atol=1e-5)
    rows = entry.generated("interpolation").to_pylist()
    assert len(rows) == 8 * 6
    for row in rows[::4]:
        c = row["coordinate"]
        assert [row["item_id"], row["other_item_id"]] == sample[2 * row["series"] : 2 * row["series"] + 2]
        z = (1 - c) * codes[row["item_id"]] + c * codes[row["other_item_id"]]
        np.testing.assert_allclose(row["values"], sae.decode(z[None])[0], rtol=1e-3, atol=1e-5)


def test_a_build_is_the_same_every_time_in_whatever_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, once = built(tmp_path / "once")
    monkeypatch.setattr(latent_pass, "DECODED_VALUES", 640)
    _, again = built(tmp_path / "again")
    assert once.latents().equals(again.latents())
    assert once.metrics["elbo"] == pytest.approx(again.metrics["elbo"], rel=1e-6)
    assert once.table("generated").equals(again.table("generated"))


def test_wide_pictures_are_fewer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(latents, "MOST_VALUES", 64 * 112)
    _, entry = built(tmp_path)
    counts = {kind: entry.generated(kind).num_rows for kind in ("sample", "traversal_mean", "interpolation")}
    assert counts == {"sample": 16, "traversal_mean": 6 * 7, "interpolation": 2 * 6}


def test_patches_have_pictures_of_their_own_size(tmp_path: Path) -> None:
    _, entry = built(tmp_path, patch=4)
    assert {len(values) for values in entry.table("generated")["values"].to_pylist()} == {16}


def test_others_have_none_and_say_so(tmp_path: Path) -> None:
    source = digits()
    checkpoint = save_sae(make_sae("deep", source), tmp_path / "sae")
    build_entry(checkpoint, source, tmp_path / "store", sae_id="it", options=BuildOptions(n_sample_items=2))
    entry = FeatureStore(tmp_path / "store")["it"]
    assert entry.latents() is None
    with pytest.raises(StoreError, match="it has no generated pictures"):
        entry.generated("sample")


def test_faults_are_found(tmp_path: Path) -> None:
    _, entry = built(tmp_path)
    with pytest.raises(OptionError, match="no kind of generated pictures 'dream'"):
        entry.generated("dream")
    tables = {name: entry.table(name) for name in ("latents", "generated", "items")}

    def faults(name: str, column: str, values: pa.Array) -> str:
        at = tables[name].column_names.index(column)
        changed = {**tables, name: tables[name].set_column(at, tables[name].schema.field(at), values)}
        return "; ".join(getattr(latent_consistency, name)(changed, entry.manifest))

    n = tables["generated"].num_rows
    assert "the rows are not those of features 0 to 5" in faults("latents", "feature_id", pa.array([0] * N, pa.int32()))
    assert "kl is negative" in faults("latents", "kl", pa.array([-1.0] * N))
    assert "kind is none of" in faults("generated", "kind", pa.array(["dream"] * n))
    assert "coordinate is null where" in faults("generated", "coordinate", pa.array([0.5] * n))
    assert "feature_id is not within 0 to 5" in faults("generated", "feature_id", pa.array([9] * n, pa.int32()))
    assert "values has not the 64" in faults("generated", "values", pa.array([[0.0]] * n, pa.list_(pa.float32())))
    assert "item_id is not in items" in faults("generated", "item_id", pa.array([10**9] * n))
