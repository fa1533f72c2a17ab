"""Linear layers through oneDNN."""

from __future__ import annotations

import platform

import pytest
import torch
from torch import nn

from saescope.models.packing import SMALLEST, PackedLinear, pack_linear_layers, plain

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
