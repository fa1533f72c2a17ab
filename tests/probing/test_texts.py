"""Prompts fire what the same texts fire in a source."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from saescope.models import load_tokenizer
from saescope.models.options import ModelOptions
from saescope.probing import Probe, ProbeResult
from saescope.sources import SourceOptions, open_source
from saescope.store.errors import UserError
from tests.probing.random_saes import write_sae
from tests.sources.texts.small_model import byte_level, save_model, texts


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAESCOPE_CACHE", str(tmp_path / "cache"))


def opened(tmp_path: Path, **options: Any) -> Any:
    """A source of short documents, one item each."""
    folder = tmp_path / "texts"
    folder.mkdir(exist_ok=True)
    for number, text in enumerate(texts(12)):
        (folder / f"{number:02d}.txt").write_text(text[:60])
    if not (tmp_path / "model").exists():
        save_model(tmp_path / "model")
    defaults = {"model": str(tmp_path / "model"), "hook": "blocks.1.hook_resid_post", "context": 64, "device": "cpu"}
    return open_source(SourceOptions(texts=str(folder), **{**defaults, **options}))


@pytest.mark.parametrize("bos", ["auto", "no"])
@pytest.mark.parametrize("architecture", ["topk", "relu"])
def test_a_document_as_prompt_fires_what_it_fires_in_the_source(tmp_path: Path, bos: str, architecture: str) -> None:
    source = opened(tmp_path, bos=bos, exclude_norm=1.05, exclude_tokens="special")
    sae = write_sae(tmp_path / "sae", source.d_in, architecture)
    probe = Probe.open(tmp_path / "sae", source.describe(), device="cpu")
    assert probe.takes == "text"
    left_out = 0
    for batch in source.batches(items_per_batch=1):
        (item,) = batch.item_ids
        ids, real, evaluated = source.contexts(batch.item_ids)
        n_real = int(real.sum())
        tokens = ids[0, :n_real].tolist()
        result = probe.text((tmp_path / "texts" / f"{item:02d}.txt").read_text())
        assert result.token_ids == tokens
        assert result.tokens == [source.vocabulary[token] for token in tokens]
        counts = batch.mask[0, :n_real].tolist()
        assert result.evaluated == counts
        left_out += int(evaluated[0].sum()) - sum(counts)
        codes = sae.encode(batch.activations[0, :n_real]).numpy()
        for position in np.flatnonzero(counts):
            fired, values = result.feature_ids[position], result.activations[position]
            # a batch of another shape rounds otherwise: by so much, codes near 0 may fire or not
            rounding = 1e-5 * np.abs(codes[position]).max()
            assert set(np.flatnonzero(np.abs(codes[position]) > rounding)) <= set(fired.tolist())
            np.testing.assert_allclose(values, codes[position][fired], rtol=1e-4, atol=rounding)
            assert (np.diff(np.abs(values)) <= 0).all()
    assert left_out > 0, "some positions are left out for their norm"


def _probe(tmp_path: Path) -> Probe:
    source = opened(tmp_path)
    write_sae(tmp_path / "sae", source.d_in)
    return Probe.open(tmp_path / "sae", source.describe())


def test_prompts_that_cannot_be_read(tmp_path: Path) -> None:
    probe = _probe(tmp_path)
    with pytest.raises(UserError, match="prompt is empty"):
        probe.text("")
    with pytest.raises(UserError, match="tokens; at most"):
        probe.text("word " * 10_000)
    with pytest.raises(UserError, match="takes texts, not pictures"):
        probe.picture(Image.new("L", (4, 4)))


def test_a_special_token_in_a_prompt_does_not_count(tmp_path: Path) -> None:
    probe = _probe(tmp_path)
    special = load_tokenizer(ModelOptions(str(tmp_path / "model"))).eos_token
    result: ProbeResult = probe.text(f"one{special}two")
    assert result.tokens is not None
    at = result.tokens.index(special, 1)
    assert not result.evaluated[at]
    assert result.evaluated[at - 1]


def test_another_tokenizer_or_model_is_refused(tmp_path: Path) -> None:
    source = opened(tmp_path)
    about = source.describe()
    write_sae(tmp_path / "sae", source.d_in)
    write_sae(tmp_path / "wide", source.d_in + 1)
    with pytest.raises(UserError, match="takes activations of width"):
        Probe.open(tmp_path / "wide", about)
    with pytest.raises(UserError, match="other weights"):
        Probe.open(tmp_path / "sae", {**about, "fingerprint": "1"})
    byte_level(size=300).save_pretrained(tmp_path / "model")
    with pytest.raises(UserError, match=r"tokenizer of .* is not the one"):
        Probe.open(tmp_path / "sae", about)
