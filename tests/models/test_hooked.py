"""Logits with other activations in a hook's place, batches with padding, centring, and memory that runs out."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from saescope.models import HookedModel, LoadedModel
from saescope.models.splicing import runs_of
from saescope.store.errors import UserError
from tests.models.small_models import CAUSAL, D_MODEL, HEADS, LAYERS, SMALL, inputs_of, logits_with
from tests.models.test_hooks_by_hand import loaded

D_HEAD = D_MODEL // HEADS
GROUPED = ("llama", "qwen2", "gemma3")
"""Models whose heads share one key and value."""


def shifted(values: Tensor) -> Tensor:
    """An edit that changes every value."""
    return values * 0.5 + torch.linspace(-1, 1, values.shape[-1])


def logits_by_hand(name: str, whole: LoadedModel, ids: Tensor, hook: str, edit: Callable[[Tensor], Tensor]) -> Tensor:
    """A whole forward pass with one plain hook that edits on the way."""
    model = whole.model
    layer = int(hook.split(".")[1])
    block: Any = SMALL[name].blocks(model)[layer]
    step = hook.split(".", 2)[2]
    attention = block.get_submodule(SMALL[name].attention)
    project = {"gpt2": "c_proj", "pythia": "dense", "neox-sequential": "dense"}.get(name, "o_proj")
    down = {"gpt2": "c_proj", "pythia": "dense_4h_to_h", "neox-sequential": "dense_4h_to_h"}.get(name, "down_proj")
    is_gemma = name.startswith("gemma")
    kept: dict[str, Tensor] = {}

    def edit_input(_module: Any, args: Any, kwargs: Any) -> Any:
        return (edit(args[0]), *args[1:]), kwargs

    def edit_output(_module: Any, _args: Any, out: Any) -> Any:
        return (edit(out[0]), *out[1:]) if isinstance(out, tuple) else edit(out)

    def keep_input(_module: Any, args: Any) -> None:
        kept["x"] = args[0]

    def edit_middle(_module: Any, _args: Any, out: Any) -> Any:
        added = out[0] if isinstance(out, tuple) else out
        new = edit(kept["x"] + added) - kept["x"]
        return (new, *out[1:]) if isinstance(out, tuple) else new

    attended = block.post_attention_layernorm if is_gemma else attention
    handles = [block.register_forward_pre_hook(keep_input)]
    if step == "hook_resid_pre":
        handles.append(block.register_forward_pre_hook(edit_input, with_kwargs=True))
    elif step == "hook_resid_post":
        handles.append(block.register_forward_hook(edit_output))
    elif step == "hook_resid_mid":
        handles.append(attended.register_forward_hook(edit_middle))
    elif step == "hook_attn_out":
        handles.append(attended.register_forward_hook(edit_output))
    elif step == "hook_mlp_out":
        written = block.post_feedforward_layernorm if is_gemma else block.mlp
        handles.append(written.register_forward_hook(edit_output))
    elif step == "attn.hook_z":
        handles.append(getattr(attention, project).register_forward_pre_hook(edit_input, with_kwargs=True))
    elif step == "mlp.hook_post":
        handles.append(getattr(block.mlp, down).register_forward_pre_hook(edit_input, with_kwargs=True))
    elif step == "attn.hook_q" and name == "gpt2":
        columns = slice(0, D_MODEL)
        handles.append(block.attn.c_attn.register_forward_hook(edit_columns(columns, edit)))
    elif step == "attn.hook_q" and project == "dense":
        columns = [h * 3 * D_HEAD + i for h in range(HEADS) for i in range(D_HEAD)]
        handles.append(block.attention.query_key_value.register_forward_hook(edit_columns(columns, edit)))
    elif step == "attn.hook_q":
        handles.append(attention.q_proj.register_forward_hook(edit_output))
    elif step == "ln2.hook_normalized":
        norm = {"gpt2": "ln_2"}.get(name, "pre_feedforward_layernorm" if is_gemma else "post_attention_layernorm")
        handles.append(block.get_submodule(norm).register_forward_hook(edit_before_gain(edit)))
    elif step == "mlp.hook_in":
        handles.append(block.mlp.register_forward_pre_hook(edit_input, with_kwargs=True))
    else:
        raise AssertionError(step)
    logits = model(ids, use_cache=False).logits
    for handle in handles:
        handle.remove()
    return logits


def edit_columns(columns: Any, edit: Callable[[Tensor], Tensor]) -> Callable[..., Tensor]:
    """A hook that edits some columns of a module's output."""

    def hook(_module: Any, _args: Any, out: Tensor) -> Tensor:
        changed = out.clone()
        changed[..., columns] = edit(out[..., columns])
        return changed

    return hook


def edit_before_gain(edit: Callable[[Tensor], Tensor]) -> Callable[..., Tensor]:
    """A hook on a norm that edits what its gain is multiplied with."""

    def hook(norm: Any, _args: Any, out: Tensor) -> Tensor:
        gain = 1 + norm.weight if type(norm).__name__.startswith("Gemma") else norm.weight
        bias = getattr(norm, "bias", None)
        bias = torch.zeros_like(gain) if bias is None else bias
        return edit((out - bias) / gain) * gain + bias

    return hook


STEPS = (
    "hook_resid_pre",
    "hook_resid_mid",
    "hook_resid_post",
    "hook_attn_out",
    "hook_mlp_out",
    "attn.hook_z",
    "mlp.hook_post",
    "attn.hook_q",
    "ln2.hook_normalized",
    "mlp.hook_in",
)


@pytest.mark.parametrize("name", CAUSAL)
@pytest.mark.parametrize("layer", [0, LAYERS - 1])
def test_variants_are_whole_passes_with_one_edit(name: str, layer: int) -> None:
    whole = loaded(name)
    ids = inputs_of(whole.model)
    clean = whole.model(ids).logits
    for step in STEPS:
        if name == "pythia" and step == "hook_resid_mid":
            continue
        hook = f"blocks.{layer}.{step}"
        edits = {"clean": lambda x: x, "shifted": shifted, "zero": torch.zeros_like}
        seen = logits_with(HookedModel(whole, hook), ids, edits)
        assert list(seen) == list(edits)
        torch.testing.assert_close(seen["clean"], clean, atol=1e-5, rtol=1e-5)
        for edited in ("shifted", "zero"):
            expected = logits_by_hand(name, whole, ids, hook, edits[edited])
            torch.testing.assert_close(seen[edited], expected, atol=2e-5, rtol=1e-4)
            assert not torch.allclose(expected, clean, atol=1e-2) or (step, edited) == ("attn.hook_q", "shifted")


@pytest.mark.parametrize("name", ["gpt2", "pythia", "llama", "qwen2", "gemma3", "bert", "vit"])
@pytest.mark.parametrize("step", ["attn.hook_q", "attn.hook_k", "attn.hook_v", "attn.hook_z"])
def test_one_head_is_a_part_of_all(name: str, step: str) -> None:
    whole = loaded(name)
    inputs = inputs_of(whole.model)
    everything = HookedModel(whole, f"blocks.1.{step}").activations(inputs)
    n_heads = everything.shape[2] // D_HEAD
    assert n_heads == (1 if step in ("attn.hook_k", "attn.hook_v") and name in GROUPED else HEADS)
    for head in range(n_heads):
        one = HookedModel(whole, f"blocks.1.{step}", head)
        assert (one.width, one.describe()["head"]) == (D_HEAD, head)
        assert torch.equal(one.activations(inputs), everything[..., head * D_HEAD : (head + 1) * D_HEAD])
    with pytest.raises(UserError, match=f"{n_heads} heads"):
        HookedModel(whole, f"blocks.1.{step}", n_heads)


@pytest.mark.parametrize("name", ["gpt2", "pythia", "llama"])
def test_an_edit_of_one_head_leaves_the_others(name: str) -> None:
    whole = loaded(name)
    ids = inputs_of(whole.model)
    for step in ("attn.hook_v", "attn.hook_z"):
        every, one = HookedModel(whole, f"blocks.1.{step}"), HookedModel(whole, f"blocks.1.{step}", 0)

        def first(values: Tensor) -> Tensor:
            return torch.cat([shifted(values[..., :D_HEAD]), values[..., D_HEAD:]], -1)

        expected = logits_with(every, ids, {"one": first})["one"]
        torch.testing.assert_close(logits_with(one, ids, {"one": shifted})["one"], expected, atol=1e-5, rtol=1e-4)


def test_heads_are_refused_where_there_are_none() -> None:
    with pytest.raises(UserError, match=r"no attention heads side by side(.|\n)*blocks\.1\.attn\.hook_q"):
        HookedModel(loaded("llama"), "blocks.1.hook_resid_post", 0)
    by_path = HookedModel(loaded("llama"), "model.layers.1.self_attn.q_proj", 1)
    assert by_path.width == D_HEAD


@pytest.mark.parametrize("hook", ["hook_embed", "model.norm"])
def test_variants_outside_the_blocks(hook: str) -> None:
    whole = loaded("llama")
    ids = inputs_of(whole.model)
    hooked = HookedModel(whole, hook)
    seen = logits_with(hooked, ids, {"clean": lambda x: x, "shifted": shifted})
    torch.testing.assert_close(seen["clean"], whole.model(ids).logits, atol=0, rtol=0)
    if hook == "hook_embed":
        expected = whole.model(inputs_embeds=shifted(whole.model.model.embed_tokens(ids))).logits
    else:
        expected = whole.model.lm_head(shifted(whole.model.model(ids).last_hidden_state))
    torch.testing.assert_close(seen["shifted"], expected)


def test_blocks_below_the_hook_run_once_for_all_variants() -> None:
    whole = loaded("llama")
    hooked = HookedModel(whole, "blocks.1.hook_resid_post")
    ids = inputs_of(whole.model)
    logits_with(hooked, ids, {"clean": lambda x: x})  # what is tried once has been tried
    ran: list[int] = []
    for index, block in enumerate(whole.model.model.layers):
        block.mlp.register_forward_pre_hook(lambda _module, _args, i=index: ran.append(i))
    list(hooked.variants(ids, None, dict.fromkeys("abc", shifted)))
    assert ran == [0, 1, 2, 2, 2]
    assert "forward" not in vars(whole.model.model.layers[0]), "blocks are as they were"


def one_for_all(values: Tensor) -> Tensor:
    """An edit that leaves nothing of the texts."""
    return shifted(values[:1]).repeat(len(values), 1, 1)


@pytest.mark.parametrize("name", CAUSAL)
@pytest.mark.parametrize("step", STEPS)
def test_items_that_an_edit_makes_equal_run_once_where_nothing_goes_round_the_hook(name: str, step: str) -> None:
    if name == "pythia" and step == "hook_resid_mid":
        pytest.skip("has no stream between attention and MLP")
    whole = loaded(name)
    hook = f"blocks.1.{step}"
    hooked, ids = HookedModel(whole, hook), inputs_of(whole.model)
    mask = torch.ones_like(ids, dtype=torch.bool)
    mask[2, 4:] = False
    edits = {"clean": lambda x: x, "one": one_for_all}
    spliced = dict(hooked.variants(ids, mask, edits))
    assert spliced["clean"].run.tolist() == [0, 1, 2]
    if step in ("hook_resid_pre", "hook_resid_post"):
        assert spliced["one"].run.tolist() == [0, 0, 0]
        assert len(spliced["one"].states) == 1
    elif step != "hook_resid_mid":  # there it depends on rounding: the stream's change is added to what goes round
        assert spliced["one"].run.tolist() == [0, 1, 2]
    for variant, seen in logits_with(hooked, ids, edits, mask).items():
        expected = logits_by_hand(name, whole, ids, hook, edits[variant])
        torch.testing.assert_close(seen[mask], expected[mask], atol=1e-5, rtol=1e-4)


def test_texts_that_go_round_the_hook_are_not_taken_for_forgotten() -> None:
    """As in a model whose blocks are given each token's own embedding once more."""
    whole = loaded("llama")
    own = torch.randn(41, 16, generator=torch.Generator().manual_seed(2))
    for block in whole.model.model.layers:
        block.mlp.register_forward_hook(lambda _module, _args, out: out + own[seen_ids[-1]])
    seen_ids: list[Tensor] = []
    whole.model.register_forward_pre_hook(
        lambda _module, _args, kwargs: seen_ids.append(kwargs["input_ids"]), with_kwargs=True
    )
    hooked, ids = HookedModel(whole, "blocks.1.hook_resid_post"), inputs_of(whole.model)
    ((_, spliced),) = hooked.variants(ids, None, {"one": one_for_all})
    assert spliced.run.tolist() == [0, 1, 2]


def test_padding_at_the_start_keeps_every_item_its_own_run() -> None:
    whole = loaded("llama")
    hooked, ids = HookedModel(whole, "blocks.1.hook_resid_post"), inputs_of(whole.model)
    mask = torch.ones_like(ids, dtype=torch.bool)
    mask[0, :2] = False
    ((_, spliced),) = hooked.variants(ids, mask, {"one": one_for_all})
    assert spliced.run.tolist() == [0, 1, 2]


def test_runs_of_items_stand_for_what_is_a_part_of_them() -> None:
    values = torch.tensor([[1.0, 2, 9], [1, 2, 3], [7, 2, 3], [1, 2, 3.00001], [1, 8, 8]])[..., None]
    standing, run = runs_of(values, torch.tensor([2, 3, 3, 3, 1]))
    assert standing.tolist() == [1, 2]
    assert run.tolist() == [0, 0, 1, 0, 0]


def test_padding_at_the_end_changes_no_bit_of_what_stands_before() -> None:
    for name in ("llama", "gpt2", "gemma3"):
        whole = loaded(name)
        hooked = HookedModel(whole, "blocks.1.hook_resid_post")
        ids = inputs_of(whole.model)
        mask = torch.ones_like(ids, dtype=torch.bool)
        mask[0, 4:] = False
        together = hooked.activations(ids, mask)
        torch.testing.assert_close(together[1:], hooked.activations(ids)[1:], atol=0, rtol=0)
        torch.testing.assert_close(together[0, :4], hooked.activations(ids[:1, :4])[0], atol=1e-6, rtol=1e-6)


def test_padding_is_hidden_from_an_encoder_and_at_the_start() -> None:
    for name, real in (("bert", slice(0, 4)), ("llama", slice(3, 7))):
        whole = loaded(name)
        hooked = HookedModel(whole, "blocks.2.hook_resid_post")
        ids = inputs_of(whole.model)
        mask = torch.ones_like(ids, dtype=torch.bool)
        mask[0] = False
        mask[0, real] = True
        seen = hooked.activations(ids, mask)[0, real]
        changed = torch.where(mask, ids, (ids + 5) % 41)
        torch.testing.assert_close(seen, hooked.activations(changed, mask)[0, real], atol=1e-6, rtol=1e-6)
        if name == "bert":
            alone = hooked.activations(ids[:1, :4])[0]
            torch.testing.assert_close(seen, alone, atol=1e-5, rtol=1e-5)


def test_models_without_logits_say_so() -> None:
    hooked = HookedModel(loaded("bert"), "blocks.1.hook_mlp_out")
    with pytest.raises(UserError, match="no causal language model"):
        list(hooked.variants(inputs_of(hooked.loaded.model), None, {"clean": lambda x: x}))
    with pytest.raises(UserError, match="no logits"):
        hooked.unembedding()


# -- centring


WRITERS = {
    "gpt2": ("attn.c_proj", "mlp.c_proj"),
    "pythia": ("attention.dense", "mlp.dense_4h_to_h"),
    "vit": ("attention.o_proj", "mlp.fc2"),
}


def centred(name: str) -> LoadedModel:
    whole = loaded(name)
    return LoadedModel(whole.model, replace(whole.options, centred=True), whole.kind)


@pytest.mark.parametrize("name", ["gpt2", "pythia", "vit"])
def test_centring_equals_weights_that_write_centred(name: str) -> None:
    """TransformerLens subtracts the mean over the width from everything that writes to the residual stream."""
    whole = loaded(name)
    inputs = inputs_of(whole.model)
    model: Any = whole.model
    hooks = ["blocks.2.hook_resid_post", "blocks.1.hook_attn_out", "blocks.1.hook_mlp_out", "blocks.0.hook_resid_pre"]
    seen = {hook: HookedModel(centred(name), hook).activations(inputs) for hook in [*hooks, "blocks.1.attn.hook_z"]}
    plain_z = HookedModel(whole, "blocks.1.attn.hook_z").activations(inputs)
    logits = model(inputs).logits if name != "vit" else None
    if name == "gpt2":
        model.lm_head.weight = torch.nn.Parameter(model.lm_head.weight.clone(), requires_grad=False)  # untied
        written = [model.transformer.wpe.weight, model.transformer.wte.weight]
    elif name == "pythia":
        written = [model.gpt_neox.embed_in.weight]
    else:
        embeddings = model.embeddings
        projection = embeddings.patch_embeddings.projection
        projection.weight -= projection.weight.mean(0, keepdim=True)
        written = [embeddings.cls_token, embeddings.position_embeddings, projection.bias]
    for block in SMALL[name].blocks(model):
        for writer in map(block.get_submodule, WRITERS[name]):
            transposed = writer.weight if name == "gpt2" else writer.weight.T  # [in, out]
            written += [transposed, writer.bias]
    for tensor in written:
        tensor -= tensor.mean(-1, keepdim=True)
    for hook, values in seen.items():
        expected = HookedModel(whole, hook).activations(inputs)
        torch.testing.assert_close(values, expected, atol=1e-5, rtol=1e-5, msg=lambda m, h=hook: f"{h}: {m}")
    torch.testing.assert_close(seen["blocks.1.attn.hook_z"], plain_z, atol=1e-5, rtol=1e-5)
    if logits is not None:
        torch.testing.assert_close(model(inputs).logits, logits, atol=1e-4, rtol=1e-4)


def test_variants_of_a_centred_hook_keep_the_logits() -> None:
    whole = centred("gpt2")
    ids = inputs_of(whole.model)
    means: list[float] = []

    def look(values: Tensor) -> Tensor:
        means.append(float(values.mean(-1).abs().max()))
        return values

    seen = logits_with(HookedModel(whole, "blocks.1.hook_resid_post"), ids, {"clean": look})
    torch.testing.assert_close(seen["clean"], whole.model(ids).logits, atol=1e-5, rtol=1e-5)
    assert means[-1] < 1e-6


@pytest.mark.parametrize("name", ["llama", "gemma2", "bert"])
def test_centring_is_refused_where_it_would_change_the_model(name: str) -> None:
    with pytest.raises(UserError, match="norms do not subtract the mean"):
        HookedModel(centred(name), "blocks.1.hook_resid_pre")


# -- memory


def starve(whole: LoadedModel, most: int) -> list[int]:
    """Make the model run out of memory above `most` items; returns the batch sizes that come."""
    sizes: list[int] = []

    def check(_module: Any, args: Any, kwargs: Any) -> None:
        sizes.append(len(kwargs["input_ids"]))
        if sizes[-1] > most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")

    whole.model.register_forward_pre_hook(check, with_kwargs=True)
    return sizes


def test_memory_that_runs_out_halves_the_batch_aloud(caplog: pytest.LogCaptureFixture) -> None:
    plain, starved = loaded("llama"), loaded("llama")
    ids = inputs_of(plain.model, n_items=9)
    hooked = HookedModel(starved, "blocks.1.hook_attn_out")
    sizes = starve(starved, 3)
    with caplog.at_level(logging.WARNING, logger="saescope.models"):
        seen = hooked.activations(ids)
    torch.testing.assert_close(seen, HookedModel(plain, "blocks.1.hook_attn_out").activations(ids))
    assert sizes == [9, 4, 2, 2, 2, 2, 1]
    assert [r.getMessage() for r in caplog.records] == [
        "CUDA ran out of memory with 9 items at once; going on with 4 at once",
        "CUDA ran out of memory with 4 items at once; going on with 2 at once",
    ]
    edits = {"clean": lambda x: x, "shifted": shifted}
    parted = logits_with(HookedModel(starved, "blocks.1.hook_attn_out"), ids, edits)
    torch.testing.assert_close(parted, logits_with(HookedModel(plain, "blocks.1.hook_attn_out"), ids, edits))


def test_memory_for_not_even_one_item_is_the_users_matter() -> None:
    whole = loaded("llama")
    hooked = HookedModel(whole, "blocks.1.hook_attn_out")
    starve(whole, 0)
    with pytest.raises(UserError, match="even with one item"):
        hooked.activations(inputs_of(whole.model))


# -- unembedding


@pytest.mark.parametrize("name", CAUSAL)
def test_the_unembedding_turns_the_last_residual_into_logits(name: str) -> None:
    whole = loaded(name)
    ids = inputs_of(whole.model)
    last = HookedModel(whole, f"blocks.{LAYERS - 1}.hook_resid_post")
    u = last.unembedding()
    x = last.activations(ids)
    x = x - x.mean(-1, keepdim=True) if u.centres else x
    normed = u.gain * x / torch.sqrt(x.square().mean(-1, keepdim=True) + u.eps)
    normed = normed if u.bias is None else normed + u.bias
    logits = normed @ u.weight.T
    if u.softcap:
        logits = u.softcap * torch.tanh(logits / u.softcap)
    torch.testing.assert_close(logits, whole.model(ids).logits, atol=1e-4, rtol=1e-4)
    assert u.norm == ("layer" if name in ("gpt2", "pythia", "neox-sequential") else "rms")
    assert u.is_tied == (name in ("gpt2", "llama", "gemma2", "gemma3"))
    assert (u.softcap is not None) == (name == "gemma2")
    direction = torch.randn(2, 16, generator=torch.Generator().manual_seed(1))
    expected = (direction - direction.mean(-1, keepdim=True) if u.centres else direction) * u.gain
    torch.testing.assert_close(u.through_norm(direction), expected)
