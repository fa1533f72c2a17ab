"""The figure of the whole family, on few digits."""

from __future__ import annotations

import family_curves
import pytest


def test_members_and_classical_methods_are_measured_on_the_same_rows(capsys: pytest.CaptureFixture[str]) -> None:
    reached = family_curves.main(["--small", "--only", "topk", "undercomplete", "pca", "kmeans"])
    by_name = {name: [r for r in reached if r.name == name] for name in ("topk", "undercomplete", "pca", "kmeans")}
    assert [round(r.l0) for r in by_name["topk"]] == [2, 8]
    assert [r.n_features for r in by_name["undercomplete"]] == [2, 8]
    assert [r.l0 for r in by_name["pca"]] == [1, 2, 4, 8, 16, 32, 64]
    assert all(r.seconds > 0 for r in reached)
    assert all(0 <= r.fvu < 1.5 for r in reached)
    printed = capsys.readouterr().out
    assert all(r.row() in printed for r in reached)
