"""Codes and reconstructions of every architecture against plain NumPy."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from saescope.autoencoders import architecture, architectures
from saescope.autoencoders.abstopk.module import AbstopkConfig
from saescope.autoencoders.groupmax.module import GroupmaxConfig, largest_of_groups
from saescope.autoencoders.kl.module import KlConfig
from saescope.autoencoders.largest_entries import GROUP, any_largest, largest, largest_in_groups
from saescope.autoencoders.linear import LinearAutoencoder
from saescope.autoencoders.topk.module import TopkConfig
from saescope.store.errors import UserError

D_IN, N_FEATURES, BATCH = 7, 20, 33
OWN_FIELDS: dict[str, dict[str, object]] = {
    "topk": {"k": 4},
    "topk signed": {"k": 14, "signed": True},
    "abstopk": {"k": 4},
    "groupmax": {"k": 5},
}


def filled(name: str, **fields: object) -> LinearAutoencoder:
    kind = architecture(name.split()[0])
    model = kind.module(kind.config(d_in=D_IN, n_features=N_FEATURES, **OWN_FIELDS.get(name, {}), **fields))
    assert isinstance(model, LinearAutoencoder)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(generator=generator)
    return model


def inputs() -> torch.Tensor:
    return torch.randn(BATCH, D_IN, generator=torch.Generator().manual_seed(1))


def numpy_codes(name: str, z: np.ndarray, threshold: np.ndarray | None = None) -> np.ndarray:
    if name == "kl":
        return 1 / (1 + np.exp(-z))
    codes = np.maximum(z, 0)
    if name == "jumprelu":
        assert threshold is not None
        codes[z <= threshold] = 0
    if name == "topk":
        kth = np.sort(z, axis=1)[:, -4][:, None]
        codes[z < kth] = 0
    if name == "topk signed":
        return np.where(z >= np.sort(z, axis=1)[:, -14][:, None], z, 0)
    if name == "abstopk":
        return np.where(np.abs(z) >= np.sort(np.abs(z), axis=1)[:, -4][:, None], z, 0)
    if name == "groupmax":
        for group in range(5):
            own = codes[:, 4 * group : 4 * group + 4]
            own[own < own.max(axis=1, keepdims=True)] = 0
    return codes


@pytest.mark.parametrize("name", ["relu", "kl", "topk", "topk signed", "abstopk", "groupmax", "jumprelu"])
@pytest.mark.parametrize("subtract", [False, True])
@pytest.mark.parametrize("tied", [False, True])
def test_encode_and_decode_follow_the_formulas(name: str, subtract: bool, tied: bool) -> None:
    model = filled(name, apply_b_dec_to_input=subtract, tied=tied)
    x = inputs()
    out = model(x)
    t = {key: value.detach().double().numpy() for key, value in model.tensors().items()}
    z = (x.double().numpy() - subtract * t["b_dec"]) @ t["W_enc"] + t["b_enc"]
    expected = numpy_codes(name, z, t.get("threshold"))
    np.testing.assert_allclose(out.codes.detach().numpy(), expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(
        out.reconstruction.detach().numpy(), expected @ t["W_dec"] + t["b_dec"], rtol=1e-4, atol=1e-4
    )
    if tied:
        assert np.array_equal(t["W_enc"], t["W_dec"].T)


@pytest.mark.parametrize("name", ["topk", "topk signed", "abstopk", "groupmax"])
def test_selection_is_the_code(name: str) -> None:
    model = filled(name)
    x = inputs()
    codes, chosen = model.encode(x), model.select(x)
    assert chosen is not None
    assert torch.equal(torch.zeros_like(codes).scatter(1, chosen.indices, chosen.values), codes)
    torch.testing.assert_close(model.decode_selection(chosen), model.decode(codes))


def test_others_do_not_select() -> None:
    assert filled("relu").select(inputs()) is None
    assert filled("kl").select(inputs()) is None


def test_ties_go_to_the_lowest_index() -> None:
    z = torch.zeros(3, 50)
    z[0, 10:40] = 2.0
    z[1, 49], z[1, 5:9] = 3.0, 1.0
    z[2] = -1.0
    chosen = largest(z, 3)
    firing = [{int(i) for i, v in zip(*row, strict=True) if v > 0} for row in zip(*chosen, strict=True)]
    assert firing == [{10, 11, 12}, {49, 5, 6}, set()]


def test_ties_of_signed_codes_go_to_the_lowest_index() -> None:
    z = torch.full((1, 9), -2.0)
    z[0, 4] = 5.0
    chosen = largest(z, 3, signed=True)
    assert {int(i): float(v) for i, v in zip(chosen.indices[0], chosen.values[0], strict=True)} == {4: 5, 0: -2, 1: -2}
    model = filled("abstopk")
    with torch.no_grad():
        model.encoder.zero_()
        model.b_enc.copy_(torch.tensor([-1.0, 1.0] * (N_FEATURES // 2)))
    assert torch.equal(model.encode(inputs())[0], torch.tensor([-1.0, 1, -1, 1] + [0] * (N_FEATURES - 4)))


def test_equal_pre_activations_of_a_group() -> None:
    chosen = largest_of_groups(torch.tensor([[3.0, 3, -1, -1, 0, 2]]), 3)
    assert chosen.indices.tolist() == [[0, 2, 5]]
    assert chosen.values.tolist() == [[3, 0, 2]]
    with pytest.raises(UserError, match="20 features do not divide into 3 groups"):
        GroupmaxConfig(d_in=3, n_features=20, k=3)


def test_a_row_does_not_depend_on_its_batch() -> None:
    z = torch.randn(64, 200, generator=torch.Generator().manual_seed(2)).round(decimals=1)
    together = largest(z, 8)
    for row in range(64):
        alone = largest(z[row : row + 1], 8)
        assert torch.equal(alone.indices[0], together.indices[row])


def test_k_may_equal_the_number_of_features() -> None:
    z = torch.randn(5, 6, generator=torch.Generator().manual_seed(3))
    chosen = largest(z, 6)
    assert torch.equal(torch.zeros_like(z).scatter(1, chosen.indices, chosen.values), z.clamp(min=0))


def test_architectures_are_found_by_themselves() -> None:
    assert {"relu", "kl", "topk", "abstopk", "groupmax", "jumprelu"} <= set(architectures())
    with pytest.raises(UserError, match="unknown architecture 'reluu'"):
        architecture("reluu")


@pytest.mark.parametrize("k", [0, 20])
@pytest.mark.parametrize("kind", [TopkConfig, AbstopkConfig, GroupmaxConfig])
def test_k_out_of_range_is_refused(k: int, kind: type) -> None:
    with pytest.raises(UserError, match="k is"):
        kind(d_in=3, n_features=19, k=k)


def test_sigmoid_codes_fire_above_one_half() -> None:
    assert KlConfig(d_in=3, n_features=4).firing_threshold == 0.5
    with pytest.raises(UserError, match="stays below 1"):
        KlConfig(d_in=3, n_features=4, firing_threshold=1.0)


def test_a_pre_activation_at_its_threshold_does_not_pass_and_negative_thresholds_leave_relu() -> None:
    model = filled("jumprelu")
    with torch.no_grad():
        model.encoder.zero_()
        model.b_enc.copy_(torch.linspace(-2, 2, N_FEATURES))
        model.threshold.copy_(torch.full((N_FEATURES,), -1.0))
        model.threshold[-1] = 2.0
        model.threshold[-2] = 0.5
    expected = model.b_enc.clamp(min=0).detach().clone()
    assert expected[-2] > 0.5
    expected[-1] = 0
    assert torch.equal(model.encode(inputs())[0], expected)


def test_no_features_are_refused() -> None:
    with pytest.raises(UserError, match="n_features is 0"):
        architecture("relu").config(d_in=3, n_features=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("n", "k"), [(16 * GROUP, 3), (40 * GROUP + 17, 8), (4 * GROUP + 1, 4), (64 * GROUP, 1)])
def test_the_largest_of_groups_are_those_that_a_stable_sort_gives_first(dtype: torch.dtype, n: int, k: int) -> None:
    z = torch.randn(30, n, generator=torch.Generator().manual_seed(n))
    z[10:20] = z[10:20].round()  # equal ones, also across groups
    z[20:25] = -z[20:25].abs().clamp(min=1) * (torch.arange(n) % 5 != 0)  # 0.0 and -0.0 beside negative ones
    z = z.to(dtype)
    expected = torch.sort(z, dim=1, descending=True, stable=True)
    found = largest_in_groups(z, k)
    assert torch.equal(found, expected.indices[:, :k])
    assert torch.equal(any_largest(z, k).values.sort(1, descending=True).values, expected.values[:, :k])


def test_a_nan_is_among_the_largest_of_groups_whatever_its_sign() -> None:
    z = torch.randn(2, 8 * GROUP + 5, generator=torch.Generator().manual_seed(0))
    z[0, 300] = float("nan")
    z[1, 8 * GROUP + 2] = -torch.tensor(float("nan"))
    assert torch.signbit(z[1, 8 * GROUP + 2])
    assert largest_in_groups(z, 2)[:, 0].tolist() == [300, 8 * GROUP + 2]
