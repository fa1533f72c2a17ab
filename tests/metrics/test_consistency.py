"""Firings per item that a feature fires in, against a plain count, however a pass is cut into blocks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from saescope.evaluation import judge
from saescope.sources import SourceOptions, open_source
from tests.precompute.small_builds import codes_seen, make_sae
from tests.precompute.small_texts import MemoryTexts


@pytest.mark.parametrize("rows", [None, 3, 50])
@pytest.mark.parametrize("kind", ["patches", "texts"])
def test_against_a_plain_count(kind: str, rows: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    source: Any = MemoryTexts() if kind == "texts" else open_source(SourceOptions(images="embedded:digits", patch=4))
    sae = make_sae("topk", source)
    codes, _, items, _ = codes_seen(sae, source)
    fires = codes > 0
    expected = []
    for feature in np.flatnonzero(fires.any(0)):
        where = items[fires[:, feature]]
        expected.append(len(where) / len(set(where.tolist())))
    if rows is not None:
        monkeypatch.setattr("saescope.precompute.one_pass.run.block_rows", lambda *_: rows)
    found = judge(sae, source, n_ce_positions=0).metrics["consistent_activation"]
    assert found == pytest.approx(np.mean(expected), rel=1e-3 if rows else 1e-9)
    assert found is not None
    assert found > 1


def test_items_of_one_position_have_none() -> None:
    source: Any = open_source(SourceOptions(images="embedded:digits"))
    assert "consistent_activation" not in judge(make_sae("topk", source), source).metrics
