"""A second hook for targets: both are read in one forward pass, and are what plain hooks see."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from saescope.sources import flat_positions
from saescope.sources.hooked import rows as streamed_rows
from saescope.sources.hooked import windows
from saescope.sources.targets import PairedTable, flat_targets
from saescope.sources.texts.source import HookedTexts
from saescope.store.errors import UserError
from saescope.training.data import StreamedTable
from tests.sources.texts.conftest import Open

MLP = {"hook": "model.layers.0.mlp.input", "hook_out": "blocks.0.hook_mlp_out"}


@pytest.fixture(autouse=True)
def small_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(windows, "POSITIONS", {"cpu": (512, 200)})


def both(source: HookedTexts, **given: Any) -> tuple[torch.Tensor, torch.Tensor]:
    batches = list(source.batches(**given))
    targets = [flat_targets(b) for b in batches]
    return torch.cat([flat_positions(b)[0] for b in batches]), torch.cat([t for t in targets if t is not None])


def test_targets_are_what_plain_hooks_see(opened: Open) -> None:
    source = opened(**MLP, exclude_norm=1.3)
    model, seen = source.hooked.loaded.model, {}
    mlp = model.model.layers[0].mlp
    handle = mlp.register_forward_hook(lambda _m, given, out: seen.update(x=given[0], y=out))
    n_checked = 0
    for batch in source.batches():
        assert batch.targets is not None
        assert batch.mask is not None
        for at in range(0, len(batch.item_ids), 7):
            ids, _, _ = source.contexts(batch.item_ids[at : at + 1])
            with torch.no_grad():
                model(torch.from_numpy(ids))
            counts = batch.mask[at][: ids.shape[1]]
            for values, name in ((batch.activations, "x"), (batch.targets, "y")):
                mine = values[at][: ids.shape[1]][counts]
                torch.testing.assert_close(mine, seen[name][0][counts], atol=1e-4, rtol=1e-4)
            n_checked += int(counts.sum())
    handle.remove()
    assert n_checked > 500


def test_inputs_and_their_mask_are_those_of_the_hook_alone(opened: Open) -> None:
    alone, paired = opened(hook=MLP["hook"], exclude_norm=1.3), opened(**MLP, exclude_norm=1.3)
    for one, other in zip(alone.batches(), paired.batches(), strict=True):
        assert one.mask is not None
        assert other.mask is not None
        assert torch.equal(one.mask, other.mask)
        assert torch.equal(one.activations[one.mask], other.activations[other.mask])
        assert one.targets is None
    assert not np.array([b.mask.all() for b in paired.batches() if b.mask is not None]).all()


def test_the_target_may_come_first_and_be_of_another_width(opened: Open) -> None:
    source = opened(hook="blocks.1.hook_resid_post", hook_out="blocks.0.mlp.hook_post")
    x, y = both(source)
    assert (x.shape[1], y.shape[1], source.d_in, source.d_target) == (16, 32, 16, 32)
    torch.testing.assert_close(y, both(opened(hook="blocks.0.hook_resid_pre", hook_out="blocks.0.mlp.hook_post"))[1])
    assert source.hooked_out.hook.name == "blocks.0.mlp.hook_post"
    assert opened().hooked_out.hook.name == "blocks.1.hook_resid_post"


def test_tables_hold_the_same_pairs_from_the_disk_and_streamed(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streamed_rows, "CHUNK_VALUES", 32 * 32 * 100)
    source = opened(**MLP)
    x, y = both(source)
    table, streamed = source.table(), opened(**MLP, cache="off").table()
    rows = np.random.default_rng(0).integers(0, table.n_rows, 400)
    for each in (table, streamed):
        assert isinstance(each, PairedTable)
        assert (each.n_rows, each.d_in, each.d_out) == (len(x), 16, 16)
        inputs, targets = each.pairs(rows)
        torch.testing.assert_close(inputs, x[rows], atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(targets, y[rows], atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(each.rows(rows), inputs)
    assert isinstance(streamed, StreamedTable)
    assert not isinstance(table, StreamedTable)
    from_disk = both(opened(**MLP), start_item=5, items_per_batch=3)
    at = len(x) - len(from_disk[0])
    assert torch.equal(from_disk[0], x[at:])
    assert torch.equal(from_disk[1], y[at:])


def test_the_description_and_the_cache_tell_the_hooks_apart(opened: Open) -> None:
    paired, alone = opened(**MLP).describe(), opened(hook=MLP["hook"]).describe()
    assert paired["hook_out"] == "blocks.0.hook_mlp_out"
    assert (paired["hook_out_module"], paired["hook_out_side"], paired["d_target"]) == (
        "model.layers.0.mlp",
        "output",
        16,
    )
    assert "hook_out" not in alone
    assert paired["activations_key"] != alone["activations_key"]
    assert paired["data_sha256"] == alone["data_sha256"]


def test_a_hook_that_is_not_there(opened: Open) -> None:
    with pytest.raises(UserError, match=r"blocks\.7\.hook_mlp_out"):
        opened(**{**MLP, "hook_out": "blocks.7.hook_mlp_out"})
