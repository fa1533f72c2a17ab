from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from saescope.sources import SourceOptions, open_source
from tests.sources.hooked.test_vision import pictures, save, source_of
from tests.sources.texts.small_model import save_model

PAGE = Path(__file__).resolve().parents[2] / "docs" / "sources.md"


def test_every_recorded_key_is_documented(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "shards").mkdir()
    np.save(tmp_path / "shards" / "x.npy", np.zeros((2, 3)))
    path = str(tmp_path / "shards")
    recorded = set(open_source(SourceOptions(activations=path, targets=path)).describe())
    recorded |= set(open_source(SourceOptions(toy="8x4")).describe())
    for patch in (None, 4):
        recorded |= set(open_source(SourceOptions(images="embedded:digits", patch=patch)).describe())
    monkeypatch.setenv("SAESCOPE_CACHE", str(tmp_path / "cache"))
    recorded |= set(source_of(save("vit", tmp_path / "vit"), pictures(2)).describe())
    (tmp_path / "a.jsonl").write_text('{"input_ids": [5, 6, 7]}')
    model = save_model(tmp_path / "llama")
    texts = SourceOptions(texts=str(tmp_path / "a.jsonl"), model=str(model), hook="blocks.0.hook_resid_post", context=8)
    texts = replace(texts, hook_out="blocks.0.hook_mlp_out")
    recorded |= set(open_source(texts).describe())
    rows = PAGE.read_text(encoding="utf-8").split("## What is recorded")[1].splitlines()
    keys = [row.split("|")[1] for row in rows if row.startswith("| `")]
    assert set(re.findall(r"`(\w+)`", " ".join(keys))) == recorded
