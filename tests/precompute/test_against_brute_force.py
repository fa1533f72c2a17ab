"""Every table of a built entry against plain NumPy over all codes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from saescope.autoencoders import architecture
from saescope.precompute import BuildOptions, build_entry
from saescope.store import FeatureStore
from saescope.store.errors import StoreError
from tests import reference
from tests.precompute.small_builds import SAES, codes_seen, digits, make_sae, save_sae
from tests.precompute.small_texts import VOCABULARY, MemoryTexts

CASES = [(name, patch) for name in SAES for patch in (None, 4)]
CASES += [(name, "texts") for name in ("topk", "relu", "jumprelu", "abstopk")]
OPTIONS = BuildOptions(n_top=7, n_samples=3, n_neighbours=6, n_coactivations=5, n_sample_items=9)


class Built:
    """One entry, its tables as rows, and the codes that the pass saw."""

    def __init__(self, name: str, patch: int | str | None, folder: Path) -> None:
        self.source: Any = MemoryTexts() if patch == "texts" else digits(patch)
        self.sae = make_sae(name, self.source)
        checkpoint = save_sae(self.sae, folder / "sae")
        build_entry(checkpoint, self.source, folder / "store", sae_id="it", options=OPTIONS)
        self.entry = FeatureStore(folder / "store")["it"]
        self.tables = {t: self.entry.table(t).to_pylist() for t in self.entry.tables}
        self.codes, self.x, self.items, self.positions = codes_seen(self.sae, self.source)
        self.threshold = self.sae.config.firing_threshold
        self.edges = self.entry.manifest.histogram_edges

    def of(self, table: str, feature: int) -> list[dict[str, Any]]:
        return [row for row in self.tables[table] if row["feature_id"] == feature]


@pytest.fixture(scope="module", params=CASES, ids=lambda c: f"{c[0]}-{c[1] or 'whole'}")
def built(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Built:
    return Built(*request.param, tmp_path_factory.mktemp("built"))


def test_codes_equal_a_direct_encode(built: Built) -> None:
    direct = built.sae.encode(torch.from_numpy(built.x)).numpy()
    np.testing.assert_allclose(built.codes, direct, rtol=1e-5, atol=1e-5 * np.abs(direct).max())


def has_atoms(built: Built) -> bool:
    return built.sae.has_linear_decoder


def test_signed_codes_are_there(built: Built) -> None:
    signed = built.sae.config.architecture in ("abstopk", "undercomplete") or getattr(built.sae.config, "signed", False)
    assert (built.codes < 0).any() == signed
    assert (built.codes > 0).any()


def test_the_manifest_says_what_the_code_may_not_do(built: Built) -> None:
    assert built.entry.manifest.constraint == architecture(built.sae.config.architecture).constraint != ""


def test_features(built: Built) -> None:
    expected = reference.feature_statistics(built.codes, built.edges, built.threshold)
    assert any(row["is_dead"] for row in expected)
    for row, want in zip(built.tables["features"], expected, strict=True):
        for exact in ("feature_id", "n_firing", "density", "is_dead", "is_dense", "max_activation", "hist_counts"):
            assert row[exact] == want[exact], exact
        for close in ("mean_activation", "std_activation"):
            near = None if row["is_dead"] else pytest.approx(want[close], rel=1e-6, abs=1e-9)
            assert row[close] == near, close
        assert row["encoder_bias"] == float(built.sae.encoder_bias[row["feature_id"]])
    norms = [row["decoder_norm"] for row in built.tables["features"]]
    if has_atoms(built):
        np.testing.assert_allclose(norms, built.sae.atoms.norm(dim=1).numpy(), rtol=1e-6)
        np.testing.assert_allclose(built.entry.atoms(), built.sae.atoms.numpy(), rtol=1e-6)
    else:
        assert norms == [None] * len(norms)
        with pytest.raises(StoreError, match="has no atoms"):
            built.entry.atoms()


def test_intervals(built: Built) -> None:
    for row in built.tables["features"]:
        lower = row["interval_lower"]
        assert sum(row["interval_counts"]) == row["n_firing"]
        if row["is_dead"]:
            assert lower == []
            continue
        assert row["interval_counts"] == reference.interval_counts(
            built.codes[:, row["feature_id"]], lower, built.threshold
        )
        assert lower[-1] == built.threshold
        assert lower == sorted(lower, reverse=True)
        assert all(bound in built.edges for bound in lower[:-1])
        assert all(count > 0 for count in row["interval_counts"])


def test_top_examples(built: Built) -> None:
    expected = reference.top_examples(built.codes, built.items, built.positions, OPTIONS.n_top, built.threshold)
    for feature, want in enumerate(expected):
        rows = [r for r in built.of("examples", feature) if r["kind"] == "top"]
        assert [r["rank"] for r in rows] == list(range(len(want)))
        assert [(r["item_id"], r["position"], r["activation"]) for r in rows] == want
        assert all(r["interval"] is None for r in rows)


def splitmix(h: int) -> int:
    """The finaliser of splitmix64 on Python's integers."""
    h = ((h ^ (h >> 30)) * 0xBF58476D1CE4E5B9) % 2**64
    h = ((h ^ (h >> 27)) * 0x94D049BB133111EB) % 2**64
    return h ^ (h >> 31)


def sampling_hash(seed: int, feature: int, item: int, position: int) -> int:
    golden = 0x9E3779B97F4A7C15
    key = splitmix((splitmix((seed + golden) % 2**64) + feature * golden) % 2**64)
    row = splitmix((splitmix((item + golden) % 2**64) + position * 0xD1B54A32D192ED03) % 2**64)
    return splitmix(key ^ row)


def test_interval_samples_are_the_smallest_hashes_of_their_interval(built: Built) -> None:
    for row in built.tables["features"]:
        feature, lower = row["feature_id"], row["interval_lower"]
        firing: dict[int, list[tuple[int, int, int, float]]] = {i: [] for i in range(len(lower))}
        for r in np.flatnonzero(np.abs(built.codes[:, feature]) > built.threshold):
            value, item, position = float(built.codes[r, feature]), int(built.items[r]), int(built.positions[r])
            h = sampling_hash(OPTIONS.seed, feature, item, position)
            firing[reference.interval_of(value, lower)].append((h, item, position, value))
        for interval, members in firing.items():
            chosen = sorted(members)[: OPTIONS.n_samples]
            want = sorted(((i, p, v) for _, i, p, v in chosen), key=lambda e: (-abs(e[2]), e[0], e[1]))
            rows = [e for e in built.of("examples", feature) if e["interval"] == interval]
            assert [(e["item_id"], e["position"], e["activation"]) for e in rows] == want
            assert [e["rank"] for e in rows] == list(range(len(want)))


def test_windows_hold_the_feature_at_every_position(built: Built) -> None:
    for row in built.tables["examples"]:
        if built.source.positions_per_item == 1:
            assert row["window_start"] is None
            assert row["window_activations"] is None
            continue
        mine = built.items == row["item_id"]
        codes = built.codes[mine, row["feature_id"]]
        whole = len(built.source.rows[row["item_id"]]) if built.source.kind == "tokens" else len(codes)
        expected = np.zeros(whole, np.float32)  # positions that do not count hold 0
        expected[built.positions[mine]] = np.where(np.abs(codes) > built.threshold, codes, 0)
        assert row["window_start"] == 0
        assert row["window_activations"] == expected.tolist()


def test_coactivations(built: Built) -> None:
    expected = reference.coactivations(built.codes, OPTIONS.n_coactivations, built.threshold)
    for feature, want in enumerate(expected):
        rows = built.of("coactivations", feature)
        assert [(r["other_id"], r["n_both"], r["jaccard"]) for r in rows] == want
        assert [r["rank"] for r in rows] == list(range(len(want)))


def test_neighbours(built: Built) -> None:
    assert ("neighbours" in built.tables) == has_atoms(built)
    if not has_atoms(built):
        return
    atoms = built.sae.atoms.numpy()
    for feature, every in enumerate(reference.neighbours(atoms, len(atoms))):
        rows = built.of("neighbours", feature)
        want = every[: OPTIONS.n_neighbours]
        np.testing.assert_allclose([r["cosine"] for r in rows], [c for _, c in want], atol=1e-6)
        assert all(r["cosine"] == pytest.approx(dict(every)[r["neighbour_id"]], abs=1e-6) for r in rows)


def test_effects(built: Built) -> None:
    assert ("effects" in built.tables) != has_atoms(built)
    if has_atoms(built):
        with pytest.raises(StoreError, match="has no effects"):
            built.entry.effects([0])
        return
    weights = {name: t.numpy().astype(np.float64) for name, t in built.sae.tensors().items()}
    W_0, b_0, W_1, b_1 = (weights[name] for name in ("W_dec_0", "b_dec_0", "W_dec_1", "b_dec_1"))

    below = 0.01 if getattr(built.sae.config, "activation", "relu") == "leaky_relu" else 0.0

    def decode(z: np.ndarray) -> np.ndarray:
        h = z @ W_0 + b_0
        return np.where(h > 0, h, below * h) @ W_1 + b_1

    ids, mean = np.arange(built.codes.shape[1]), built.codes.mean(0, dtype=np.float64)
    deviation = built.codes.std(0, dtype=np.float64)
    steps = np.ones(len(ids)) if built.sae.config.has_sparse_code else np.where(deviation > 0, deviation, 1)
    unit = np.diag(steps)
    effects = {kind: {e.feature_id: e for e in built.entry.effects(ids, kind)} for kind in ("mean", "item", "jacobian")}
    strongest = {r["feature_id"]: r for r in built.tables["examples"] if r["kind"] == "top" and r["rank"] == 0}
    assert effects["item"].keys() == strongest.keys()
    assert len(strongest) < len(ids)  # one is dead
    for i in ids:
        slope = (W_0[i] * np.where(mean @ W_0 + b_0 > 0, 1, below)) @ W_1
        np.testing.assert_allclose(effects["jacobian"][i].values, slope, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(effects["mean"][i].values, decode(mean + unit[i]) - decode(mean), atol=1e-4)
        assert effects["mean"][i].step == pytest.approx(steps[i], rel=1e-4)
        assert (effects["mean"][i].item_id, effects["jacobian"][i].step) == (None, None)
    for i, row in strongest.items():
        place = (built.items == row["item_id"]) & (built.positions == row["position"])
        f = built.codes[place][0].astype(np.float64)
        np.testing.assert_allclose(effects["item"][i].values, decode(f + unit[i]) - decode(f), atol=1e-4)
        assert (effects["item"][i].item_id, effects["item"][i].position) == (row["item_id"], row["position"])


def test_metrics(built: Built) -> None:
    rebuilt = built.sae.reconstruct(torch.from_numpy(built.x), torch.from_numpy(built.codes)).numpy()
    expected = reference.metrics(built.codes, built.x, rebuilt, built.threshold)
    for name, value in expected.items():
        assert built.entry.metrics[name] == pytest.approx(value, rel=1e-6), name
    rows = {row["name"]: row for row in built.tables["metrics"]}
    assert set(expected) <= set(rows)
    assert all(rows[name]["n_positions"] == len(built.codes) for name in expected)
    assert all(row["formula"] for row in rows.values())


def labels_of(built: Built) -> list[tuple[str, np.ndarray]]:
    """Every candidate with the positions that it describes, in the order that ties go by."""
    candidates = []
    if built.source.kind == "tokens":
        tokens = built.source.token_ids(built.items, built.positions)
        written = [w.replace("\n", "\\n").replace("\t", "\\t").replace("\u200b", "\\u200b") for w in VOCABULARY]
        candidates = [(f"fires on `{written[t]}`", tokens == t) for t in sorted(set(tokens))]
    column = "kind" if built.source.kind == "tokens" else "label"
    values = np.array(built.source.metadata()[column].to_pylist())
    per_row = values[built.items]
    word = "kind" if built.source.kind == "tokens" else "digit"
    return candidates + [(f"{word} {value}", per_row == value) for value in sorted(set(values))]


def test_labels(built: Built) -> None:
    candidates = labels_of(built)
    labelled = []
    for row in built.tables["features"]:
        fires = np.abs(built.codes[:, row["feature_id"]]) > built.threshold
        best = None
        for name, inside in candidates:
            n, n_items = int(fires.sum()), len(set(built.items[fires & inside]))
            if n < 20 or n_items < 20:
                continue
            precision, base = (fires & inside).sum() / n, inside.mean()
            if precision < 2 * base:
                continue
            z = 1.959964
            root = z * np.sqrt(precision * (1 - precision) / n + z * z / (4 * n * n))
            wilson = (precision + z * z / (2 * n) - root) / (1 + z * z / n)
            if best is None or wilson > best[0]:
                best = (wilson, name, precision, (fires & inside).sum() / inside.sum(), base)
        if best is None:
            assert row["auto_label"] is None
            assert row["label_precision"] is None
            continue
        labelled.append(best[1])
        assert row["auto_label"] == best[1]
        shown = [row["label_precision"], row["label_recall"], row["label_base_rate"]]
        np.testing.assert_allclose(shown, best[2:], rtol=1e-12)
    assert labelled or not built.sae.config.has_sparse_code  # what fires everywhere tells no items apart
    if built.source.kind == "tokens":
        assert any(name.startswith("fires on") for name in labelled)


def test_item_codes(built: Built) -> None:
    rows = built.tables["item_codes"]
    sampled = {row["item_id"] for row in rows}
    assert len(sampled) == OPTIONS.n_sample_items
    assert len(rows) == np.isin(built.items, list(sampled)).sum()
    for row in rows:
        codes = built.codes[(built.items == row["item_id"]) & (built.positions == row["position"])][0]
        fires = [int(f) for f in np.flatnonzero(np.abs(codes) > built.threshold)]
        fires.sort(key=lambda f: (-abs(codes[f]), f))
        assert row["feature_ids"] == fires
        assert row["activations"] == codes[fires].tolist()


def test_reconstructions(built: Built) -> None:
    assert ("reconstructions" in built.tables) == (built.source.kind != "tokens")
    if built.source.kind == "tokens":
        return
    about = built.source.describe()
    shape, patch = about["input_shape"], about["patch"]
    for row in built.tables["reconstructions"]:
        mine = built.items == row["item_id"]
        pieces = built.sae.reconstruct(torch.from_numpy(built.x[mine]), torch.from_numpy(built.codes[mine])).numpy()
        assert row["mse"] == pytest.approx(float(((built.x[mine] - pieces) ** 2).mean()), rel=1e-5)
        image = np.array(row["reconstruction"], np.float32).reshape(shape)
        if patch is None:
            np.testing.assert_allclose(image.reshape(-1), pieces[0], rtol=1e-5, atol=1e-6)
            continue
        (n_rows, n_columns), stride = about["grid"], about["stride"]
        for y, x in np.ndindex(*shape[:2]):
            over = [
                pieces[i * n_columns + j].reshape(patch, patch, -1)[y - i * stride, x - j * stride]
                for i in range(n_rows)
                for j in range(n_columns)
                if 0 <= y - i * stride < patch and 0 <= x - j * stride < patch
            ]
            np.testing.assert_allclose(image[y, x], np.mean(over, axis=0) if over else np.nan, rtol=1e-5, atol=1e-5)


def test_items_are_those_that_examples_and_samples_refer_to(built: Built) -> None:
    tables = [built.tables.get(t, []) for t in ("examples", "item_codes", "reconstructions")]
    referred = {row["item_id"] for table in tables for row in table}
    assert {r["item_id"] for r in built.tables["items"]} == referred
