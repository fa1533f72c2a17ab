"""Linear layers through oneDNN."""

from __future__ import annotations

import platform

import pytest
import torch
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM

from saescope.models.packed_linear import (
    SMALLEST,
    PackedLinear,
    head_in_place,
    pack_linear_layers,
    packed_head,
    plain,
)

pytestmark = pytest.mark.skipif(
    platform.machine().lower() not in ("x86_64", "amd64") or not torch.backends.mkldnn.is_available(),
    reason="layers are packed on x86 CPUs, with oneDNN",
)


def model() -> nn.Sequential:
    torch.manual_seed(0)
    width = 320
    assert width**2 >= SMALLEST
    return nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, width, bias=False), nn.Linear(width, 8))


def test_large_layers_give_the_same_but_for_rounding():
    plain_model, packed = model().eval(), model().eval().requires_grad_(False)
    pack_linear_layers(packed)
    assert [type(layer) for layer in packed] == [PackedLinear, nn.GELU, PackedLinear, nn.Linear]
    x = torch.randn(3, 7, 320)
    with torch.no_grad():
        torch.testing.assert_close(packed(x), plain_model(x), rtol=1e-5, atol=1e-5)


def test_the_state_is_kept_to_the_bit():
    before, packed = model().state_dict(), model()
    pack_linear_layers(packed)
    after = packed.state_dict()
    assert after.keys() == before.keys()
    assert all(torch.equal(plain(after[name]), before[name]) for name in before)


def test_what_is_to_be_kept_and_other_types_stay_as_they_are():
    packed = model()
    packed[2] = packed[2].to(torch.bfloat16)
    pack_linear_layers(packed, keep=packed[0])
    assert [type(layer) for layer in packed] == [nn.Linear, nn.GELU, nn.Linear, nn.Linear]


@pytest.mark.parametrize("n_rows", [0, 1, 3, 512, 700])
def test_any_number_of_inputs_in_any_order_of_memory(n_rows: int) -> None:
    layer = nn.Linear(300, 257)
    packed, x = PackedLinear(layer), torch.randn(2, n_rows, 300)
    with torch.inference_mode():
        torch.testing.assert_close(packed(x), layer(x), rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(packed(x.transpose(0, 1)), layer(x.transpose(0, 1)), rtol=1e-5, atol=1e-5)


def test_a_packed_head_stands_in_for_a_while() -> None:
    torch.manual_seed(0)
    sizes = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 1, "num_attention_heads": 4}
    tied = LlamaForCausalLM(LlamaConfig(vocab_size=1500, tie_word_embeddings=True, **sizes)).eval()
    head, ids = tied.get_output_embeddings(), torch.arange(20)[None]
    packed = packed_head(tied)
    assert packed is not None
    with torch.inference_mode():
        expected = tied(ids).logits
        with head_in_place(tied, packed):
            assert tied.get_output_embeddings() is packed
            torch.testing.assert_close(tied(ids).logits, expected, rtol=1e-4, atol=1e-4)
        with pytest.raises(RuntimeError), head_in_place(tied, packed):
            raise RuntimeError
        with head_in_place(tied, None):
            assert tied.get_output_embeddings() is head
    assert tied.get_output_embeddings() is head
    assert head.weight is tied.get_input_embeddings().weight
    assert packed_head(tied.to(torch.bfloat16)) is None
