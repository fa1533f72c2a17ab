"""TopK that lets features compete by what they would add, and codes below 1."""

from __future__ import annotations

import pytest
import torch

from saescope.autoencoders.tanhrelu.module import TanhreluAutoencoder, TanhreluConfig
from saescope.autoencoders.topk.module import TopkAutoencoder, TopkConfig
from saescope.store.errors import UserError


def test_selection_by_contribution_leaves_codes_free_of_norms() -> None:
    torch.manual_seed(0)
    sae = TopkAutoencoder(TopkConfig(d_in=4, n_features=10, k=3, selects_by_contribution=True))
    with torch.no_grad():
        for parameter in sae.parameters():
            parameter.normal_()
        sae.W_dec *= torch.linspace(0.1, 5, 10).unsqueeze(1)
    x = torch.randn(50, 4)
    z = x @ sae.W_enc + sae.b_enc
    chosen = (z * sae.W_dec.norm(dim=1)).topk(3).indices
    expected = torch.zeros_like(z).scatter(1, chosen, z.gather(1, chosen).relu())
    torch.testing.assert_close(sae.encode(x), expected)
    by_size = torch.zeros_like(z).scatter(1, z.topk(3).indices, z.topk(3).values.relu())
    assert not torch.equal(expected != 0, by_size != 0)


def test_norms_do_not_count_twice() -> None:
    with pytest.raises(UserError, match="would count the norms twice"):
        TopkConfig(d_in=4, n_features=10, k=3, selects_by_contribution=True, rescale_by_decoder_norm=True)


def test_tanhrelu() -> None:
    torch.manual_seed(0)
    sae = TanhreluAutoencoder(TanhreluConfig(d_in=4, n_features=10))
    with torch.no_grad():
        for parameter in sae.parameters():
            parameter.normal_()
    x = torch.randn(50, 4)
    z = x @ sae.W_enc + sae.b_enc
    torch.testing.assert_close(sae.encode(x), torch.tanh(z.clamp(min=0)))
