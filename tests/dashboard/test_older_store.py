"""Every page over the store that version 0.1.0 made."""

from __future__ import annotations

from pathlib import Path

import pytest

from saescope.store import FeatureStore
from tests.dashboard.pages import run_page, tables, texts

SAES = ("digits-topk-k2", "photos", "texts")


@pytest.mark.parametrize("page", ["library", "sparsity"])
def test_pages_of_the_store(older_store: Path, page: str) -> None:
    run_page(page, older_store)


@pytest.mark.parametrize("sae", SAES)
@pytest.mark.parametrize("page", ["features", "feature", "atoms", "reconstructions", "health", "probe"])
def test_pages_of_an_entry(older_store: Path, page: str, sae: str) -> None:
    run_page(page, older_store, sae=sae, feature="0")


def test_labels_are_shown_as_names_with_their_numbers(older_store: Path) -> None:
    with FeatureStore(older_store) as store:
        entry = store["digits-topk-k2"]
        feature = next(entry.feature(i) for i in range(entry.n_features) if entry.feature(i).label_precision)
    assert feature.auto_label is not None
    at = run_page("features", older_store, sae="digits-topk-k2", q=f'"{feature.auto_label}"')
    assert tables(at)
    assert ", recall " not in feature.auto_label
    assert feature.auto_label in texts(run_page("feature", older_store, sae="digits-topk-k2", feature="0"))
