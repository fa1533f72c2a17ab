"""Architectures are found by themselves, and no part of one is imported before it is needed."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from saescope.autoencoders import Architecture, architecture, architectures, registry
from saescope.autoencoders.registry import settings_of, trainable
from saescope.autoencoders.settings.run import RunSettings
from saescope.store.errors import OptionError

ROOT = Path(__file__).parents[2]
SPARSE = {"abstopk", "batchtopk", "deep", "gated", "groupmax", "jumprelu", "kl", "matryoshka", "relu", "topk"}
TRAINED = SPARSE | {"contractive", "convolutional", "undercomplete", "variational"}
FITTED = {"ica", "kmeans", "lars", "neurons", "nmf", "omp", "pca", "random"}
NAMES = TRAINED | FITTED | {"tanhrelu"}


def test_all_of_ours_are_there_and_whole() -> None:
    assert set(architectures()) == NAMES
    assert set(trainable()) == TRAINED
    for name, each in architectures().items():
        assert each.config.architecture == name
        assert each.module is not None
        assert each.settings is None or each.objective is not None


def test_what_each_forbids_its_code_is_said_in_a_line_and_documented() -> None:
    text = (ROOT / "docs" / "autoencoders.md").read_text(encoding="utf-8")
    for name, each in architectures().items():
        words, _, formula = each.constraint.partition(": ")
        assert words, name
        assert formula, name
        assert len(each.constraint.splitlines()) == 1
        assert f"| `{name}` | {each.constraint.replace('|', chr(92) + '|')} |\n" in text


def test_what_is_unknown_or_not_trained_is_told() -> None:
    with pytest.raises(OptionError, match="unknown architecture 'topkk'\nknown: abstopk"):
        architecture("topkk")
    with pytest.raises(OptionError, match="'tanhrelu' cannot be trained\ntrainable: abstopk"):
        settings_of("tanhrelu")


def imported_by(program: str) -> set[str]:
    path = os.pathsep.join(str(ROOT / root) for root in ("backend", "store", "dashboard"))
    done = subprocess.run(
        [sys.executable, "-c", f"import sys\n{program}\nprint(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": path},
    )
    return set(done.stdout.split())


def test_settings_are_known_without_torch() -> None:
    modules = imported_by("import saescope.cli.train, saescope.cli.sweep")
    assert "saescope.autoencoders.topk" in modules
    assert not {"torch", "saescope.autoencoders.topk.module"} & modules


def test_loading_a_checkpoint_does_not_import_how_it_was_trained() -> None:
    modules = imported_by(
        "from saescope.checkpoints import load_sae\nfrom saescope.autoencoders import architectures\n"
        "[(a.config, a.module) for a in architectures().values()]"
    )
    assert "saescope.autoencoders.topk.module" in modules
    assert not [name for name in modules if name.endswith(".objective") or "autoencoders.objectives." in name]


OWN_TOPK = Architecture("topk", None, "a:B", "a:C")
STRANGER = Architecture("stranger", RunSettings, "a:B", "a:C")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (f"{__name__}:OWN_TOPK", "adds an architecture 'topk', but there is one of that name"),
        (f"{__name__}:STRANGER", "has settings that every run has: .*batch_size"),
        (f"{__name__}:NAMES", "is a set, expected a saescope Architecture"),
        ("no_such_module:ARCHITECTURE", "no_such_module:ARCHITECTURE cannot be imported: No module named"),
    ],
)
def test_an_entry_point_that_cannot_be_used_is_told(value: str, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "entry_points", lambda group: [EntryPoint("x", value, group)])
    with pytest.raises(OptionError, match=message):
        architectures.__wrapped__()
