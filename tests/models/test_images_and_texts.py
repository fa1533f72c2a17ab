"""Models of images and texts: names of places in the language model inside, and its logits for texts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from saescope.models import HookedModel, LoadedModel, ModelOptions, find_hook, hook_names, load_model
from saescope.models.families import find_blocks
from saescope.store.errors import UserError
from tests.models.images_and_texts import CAUSAL, D_MODEL, LAYERS, make
from tests.models.small_models import logits_with

IDS = torch.tensor([[5, 9, 11, 7], [8, 3, 4, 20]])


def whole(model: Any) -> LoadedModel:
    return LoadedModel(model, ModelOptions("small", dtype="float32", device="cpu"), "causal")


@pytest.mark.parametrize("name", [*CAUSAL, "paligemma"])
def test_prefixes_may_be_left_out_or_added(name: str) -> None:
    model = make(name)
    path = f"{find_blocks(model).path}.1"
    names = ["layers.1", "model.layers.1", "model.layers.1.output", "language_model.layers.1", path, f"{path}.output"]
    names += ["language_model.model.layers.1", "model.language_model.layers.1", "blocks.1.hook_resid_post"]
    expected = HookedModel(whole(model), "blocks.1.hook_resid_post").activations(IDS)
    for each in names:
        hooked = HookedModel(whole(model), each)
        assert (hooked.hook.module, hooked.hook.site) == (path, "resid_post")
        assert torch.equal(hooked.activations(IDS), expected)
    assert find_hook(model, "model.layers.1.input").site == "resid_pre"
    assert find_hook(model, "layers.1.mlp.down_proj.input").site == "mlp_hidden"
    assert f"blocks.{LAYERS - 1}.hook_mlp_out" in hook_names(model)


@pytest.mark.parametrize("name", [*CAUSAL, "paligemma"])
@pytest.mark.parametrize("hook", ["model.layers.1", "layers.1", "model.layers.1.output", "blocks.1.hook_resid_post"])
def test_layers_after_the_hook_and_the_vision_tower_do_not_run(name: str, hook: str) -> None:
    model = make(name)
    blocks = find_blocks(model)
    ran: list[str] = []
    for path, module in model.named_modules():
        if path == "lm_head" or "vision" in path or (path.startswith(f"{blocks.path}.") and path.count(".") == 3):
            module.register_forward_pre_hook(lambda _module, _args, path=path: ran.append(path))
    hooked = HookedModel(whole(model), hook)
    ran.clear()
    hooked.activations(IDS)
    assert ran == [f"{blocks.path}.0", f"{blocks.path}.1"]


def test_a_place_in_the_vision_tower_is_not_taken_for_one_of_the_language_model() -> None:
    model = make("gemma3")
    for name in ("vision_tower.layers.1", "vision_model.encoder.layers.1"):
        with pytest.raises(UserError, match=r"no such place|passes no activations on"):
            find_hook(model, name)


@pytest.mark.parametrize("name", CAUSAL)
def test_logits_of_texts(name: str, tmp_path: Path) -> None:
    make(name).save_pretrained(tmp_path)
    found = load_model(ModelOptions(str(tmp_path), device="cpu"))
    assert (found.kind, found.without_logits, found.d_model, found.n_layers) == ("causal", None, D_MODEL, LAYERS)
    hooked = HookedModel(found, "model.layers.1")
    seen = logits_with(hooked, IDS, {"clean": lambda x: x, "zero": torch.zeros_like})
    with torch.no_grad():
        torch.testing.assert_close(seen["clean"], found.model(input_ids=IDS).logits, atol=1e-5, rtol=1e-4)
    assert not torch.allclose(seen["zero"], seen["clean"], atol=1e-2)
    assert hooked.unembedding().weight.shape[1] == D_MODEL


def test_a_model_whose_text_is_not_read_in_order_says_why_it_gives_no_logits(tmp_path: Path) -> None:
    make("paligemma").save_pretrained(tmp_path)
    found = load_model(ModelOptions(str(tmp_path), device="cpu"))
    assert found.kind == "encoder"
    assert "looks ahead" in str(found.without_logits)
    assert found.describe()["without_logits"] == found.without_logits
    with pytest.raises(UserError, match="looks ahead"):
        HookedModel(found, "layers.1").unembedding()


def test_a_model_that_needs_a_picture_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="no stack of transformer blocks"):
        find_blocks(make("blip2"))
    make("llava").save_pretrained(tmp_path)

    def forward(_self: Any, input_ids: Any, pixel_values: Any, **_: Any) -> None:
        raise AssertionError("it was called without pixel_values")

    monkeypatch.setattr(transformers.LlavaForConditionalGeneration, "forward", forward)
    with pytest.raises(UserError, match="cannot be run on text alone"):
        load_model(ModelOptions(str(tmp_path), device="cpu"))
