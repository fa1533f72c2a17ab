"""Errors by cause, and several faults as one."""

from __future__ import annotations

import pytest

import saescope.store
from saescope.store import FeatureStore, UnknownItem
from saescope.store.errors import CheckpointError, CheckpointFaults, FaultsError, StoreError, StoreFaults, UserError

CAUSES = ("CheckpointError", "DataError", "DeviceError", "OptionError", "QueryError", "StorageError", "StoreError")


@pytest.mark.parametrize("name", CAUSES)
def test_a_cause_is_told_from_every_other(name: str) -> None:
    cause = getattr(saescope.store, name)
    assert issubclass(cause, UserError)
    assert not any(issubclass(cause, getattr(saescope.store, other)) for other in CAUSES if other != name)


@pytest.mark.parametrize(("faults", "cause"), [(StoreFaults, StoreError), (CheckpointFaults, CheckpointError)])
def test_several_faults_have_a_cause_and_one_message(faults: type[FaultsError], cause: type[UserError]) -> None:
    with pytest.raises(cause) as caught:
        raise faults("manifest.json", ["d_in is missing", "seed is 'x'"], "build it again")
    assert isinstance(caught.value, FaultsError)
    assert caught.value.faults == ("d_in is missing", "seed is 'x'")
    assert caught.value.message == "manifest.json: d_in is missing; seed is 'x'"
    assert caught.value.hint == "build it again"


def test_an_item_that_is_not_kept_is_no_damage(store: FeatureStore) -> None:
    with pytest.raises(UnknownItem, match="does not keep item"):
        store["digits-relu"].item(10**9)
