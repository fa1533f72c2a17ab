"""Every hook of every family yields what is worked out by hand from the model's own modules."""

from __future__ import annotations

import pytest
import torch
import transformers

from saescope.models import HookedModel, LoadedModel, ModelOptions, find_hook, hook_names
from saescope.store.errors import UserError
from tests.models.small_models import CAUSAL, LAYERS, SMALL, VISION, inputs_of, make, steps_by_hand


def loaded(name: str) -> LoadedModel:
    model = make(name)
    kind = "causal" if name in CAUSAL else "vision" if name in VISION else "encoder"
    return LoadedModel(model, ModelOptions("small", dtype="float32", device="cpu"), kind)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", SMALL)
def test_every_hook_yields_what_is_worked_out_by_hand(name: str) -> None:
    whole = loaded(name)
    inputs = inputs_of(whole.model)
    for layer in range(LAYERS):
        steps = steps_by_hand(name, whole.model, inputs, layer)
        del steps["block"]
        assert {n for n in hook_names(whole.model) if n.startswith(f"blocks.{layer}.")} == {
            f"blocks.{layer}.{step}" for step in steps
        }
        for step, expected in steps.items():
            hooked = HookedModel(whole, f"blocks.{layer}.{step}")
            seen = hooked.activations(inputs)
            assert (hooked.width, hooked.hook.layer) == (expected.shape[2], layer)
            torch.testing.assert_close(seen, expected, atol=2e-5, rtol=1e-5, msg=lambda m, s=step: f"{s}: {m}")
            assert seen.std() > 1e-3, "values that hardly differ from nought test nothing"


PATHS = {
    "gpt2": {
        "transformer.h.1": "hook_resid_post",
        "h.1": "hook_resid_post",
        "transformer.h.1.input": "hook_resid_pre",
        "h.1.attn": "hook_attn_out",
        "h.1.mlp.output": "hook_mlp_out",
        "h.1.mlp.act": "mlp.hook_post",
    },
    "pythia": {"gpt_neox.layers.1": "hook_resid_post", "layers.1.attention": "hook_attn_out"},
    "llama": {
        "model.layers.1": "hook_resid_post",
        "layers.1": "hook_resid_post",
        "model.layers.1.output": "hook_resid_post",
        "model.layers.1.self_attn.o_proj.input": "attn.hook_z",
        "model.layers.1.self_attn": "hook_attn_out",
        "model.layers.1.mlp": "hook_mlp_out",
    },
    "gemma2": {
        "model.layers.1.post_feedforward_layernorm.output": "hook_mlp_out",
        "model.layers.1.self_attn.o_proj.input": "attn.hook_z",
    },
    "bert": {
        "encoder.layer.1": "hook_normalized_resid_post",
        "bert.encoder.layer.1": "hook_normalized_resid_post",
        "encoder.layer.1.output": "hook_normalized_resid_post",
        "encoder.layer.1.output.dense": "hook_mlp_out",
        "encoder.layer.1.output.LayerNorm.input": "hook_resid_post",
        "encoder.layer.1.input": "hook_resid_pre",
    },
    "vit": {"layers.1": "hook_resid_post", "vit.layers.1": "hook_resid_post", "layers.1.attention": "hook_attn_out"},
    "clip-vision": {"vision_model.encoder.layers.1": "hook_resid_post", "encoder.layers.1.mlp": "hook_mlp_out"},
    "dinov2": {"encoder.layer.1": "hook_resid_post", "dinov2.encoder.layer.1": "hook_resid_post"},
}


@pytest.mark.parametrize(("name", "path", "meant"), [(n, p, s) for n, paths in PATHS.items() for p, s in paths.items()])
def test_paths_of_modules_mean_the_same_places(name: str, path: str, meant: str) -> None:
    whole = loaded(name)
    inputs = inputs_of(whole.model)
    by_path, by_name = HookedModel(whole, path), HookedModel(whole, f"blocks.1.{meant}")
    assert by_path.hook.site == by_name.hook.site
    torch.testing.assert_close(by_path.activations(inputs), by_name.activations(inputs), atol=0, rtol=0)


def test_paths_that_no_site_has_are_read_too() -> None:
    whole = loaded("llama")
    inputs = inputs_of(whole.model)
    block = whole.model.model.layers[1]
    steps = steps_by_hand("llama", whole.model, inputs, 1)
    hooked = HookedModel(whole, "model.layers.1.post_attention_layernorm")
    torch.testing.assert_close(hooked.activations(inputs), block.post_attention_layernorm(steps["hook_resid_mid"]))
    assert (hooked.hook.site, hooked.hook.is_residual) == (None, False)


def test_the_last_block_is_read_before_the_final_norm() -> None:
    whole = loaded("llama")
    inputs = inputs_of(whole.model)
    last = HookedModel(whole, f"blocks.{LAYERS - 1}.hook_resid_post").activations(inputs)
    normed = whole.model(inputs, output_hidden_states=True).hidden_states[-1]
    torch.testing.assert_close(whole.model.model.norm(last), normed)
    assert not torch.allclose(last, normed)


@pytest.mark.parametrize("name", CAUSAL)
def test_hidden_states_of_transformers_agree(name: str) -> None:
    whole = loaded(name)
    inputs = inputs_of(whole.model)
    hidden = whole.model(inputs, output_hidden_states=True).hidden_states
    for layer in range(LAYERS):
        seen = HookedModel(whole, f"blocks.{layer}.hook_resid_pre").activations(inputs)
        torch.testing.assert_close(seen, hidden[layer], atol=0, rtol=0)


def test_the_embedding_is_the_scaled_one_for_gemma() -> None:
    whole = loaded("gemma2")
    inputs = inputs_of(whole.model)
    seen = HookedModel(whole, "hook_embed").activations(inputs)
    torch.testing.assert_close(seen, whole.model.model.embed_tokens.weight[inputs] * 4.0)  # sqrt(16)


def test_blocks_after_the_hook_do_not_run() -> None:
    whole = loaded("llama")
    ran: list[int] = []
    for index, block in enumerate(whole.model.model.layers):
        block.register_forward_pre_hook(lambda _module, _args, i=index: ran.append(i))
    hooked = HookedModel(whole, "blocks.1.hook_resid_post")
    ran.clear()
    hooked.activations(inputs_of(whole.model))
    assert ran == [0, 1]


@pytest.mark.parametrize(
    ("name", "hook", "told", "near"),
    [
        ("llama", "blocks.1.hook_resid_pst", "no such place", "blocks.1.hook_resid_post"),
        ("llama", "blocks.3.hook_resid_post", "3 blocks, 0 to 2", "blocks.2.hook_resid_post"),
        ("llama", "model.layer.1", "no such place", "model.layers.1"),
        ("llama", "nonsense", "no such place", "blocks.1.hook_resid_post"),
        ("llama", "model.layers", "passes no activations on", "model.layers.1"),
        ("pythia", "blocks.1.hook_resid_mid", "read the same input", "blocks.1.hook_resid_pre"),
        ("vit", "embeddings.patch_embeddings.projection", "shape [1, 16, 3, 3]", "nearest"),
        ("vit", "hook_embed", "no such place", "nearest"),
    ],
)
def test_a_hook_that_is_not_there_is_refused_with_the_nearest_names(name: str, hook: str, told: str, near: str) -> None:
    with pytest.raises(UserError) as caught:
        find_hook(make(name), hook)
    assert told in caught.value.message
    assert near in (caught.value.hint or "")


def test_blocks_that_are_built_otherwise_have_their_inputs_and_outputs() -> None:
    """BEiT scales what it adds by weights of the block, Granite by a number: what is added is no module's output."""
    sizes = {"num_hidden_layers": 2, "num_attention_heads": 2, "hidden_size": 16, "intermediate_size": 24}
    beit = transformers.BeitModel(transformers.BeitConfig(**sizes, image_size=12, patch_size=4))
    granite = transformers.GraniteConfig(
        **sizes, vocab_size=41, num_key_value_heads=2, residual_multiplier=0.5, bos_token_id=1, eos_token_id=2
    )
    for model in (beit, transformers.GraniteForCausalLM(granite)):
        names = [name for name in hook_names(model) if name != "hook_embed"]
        assert names == [f"blocks.{i}.hook_resid_{which}" for i in range(2) for which in ("pre", "post")]


def test_blocks_of_one_model_may_differ() -> None:
    config = transformers.Qwen3MoeConfig(
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        hidden_size=16,
        head_dim=8,
        intermediate_size=24,
        vocab_size=41,
        num_experts=2,
        num_experts_per_tok=1,
        moe_intermediate_size=8,
        mlp_only_layers=[0],
        bos_token_id=1,
        eos_token_id=2,
    )
    model = transformers.Qwen3MoeForCausalLM(config)
    names = hook_names(model)
    assert "blocks.0.mlp.hook_post" in names
    assert "blocks.1.mlp.hook_post" not in names
    assert "blocks.1.hook_mlp_out" in names
    with pytest.raises(UserError, match="no such place"):
        find_hook(model, "blocks.1.mlp.hook_post")
