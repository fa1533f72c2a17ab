"""Starting and stopping the server as a child process."""

from __future__ import annotations

import socket
import urllib.request
from pathlib import Path

import pytest

from saescope.dashboard import server
from saescope.store.errors import StoreError, UserError


@pytest.fixture
def port() -> int:
    """One that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        number: int = probe.getsockname()[1]
    return number


def test_a_port_in_use_is_told_before_anything_starts(digits_store: Path, port: int) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", port))
        taken.listen()
        with pytest.raises(UserError, match=f"port {port} on 127.0.0.1 is in use") as caught:
            server.start(digits_store, "127.0.0.1", port)
    assert caught.value.hint is not None


@pytest.mark.parametrize(("host", "port"), [("127.0.0.1", 0), ("127.0.0.1", 70_000), ("no such host", 8600)])
def test_addresses_that_cannot_be_are_told(host: str, port: int) -> None:
    with pytest.raises(UserError):
        server.check_port(host, port)


def test_a_store_that_is_none_is_told_before_anything_starts(tmp_path: Path, port: int) -> None:
    with pytest.raises(StoreError):
        server.start(tmp_path / "nothing", "127.0.0.1", port)


@pytest.mark.parametrize(
    ("given", "clean"), [("", ""), ("/", ""), ("/tools/sae-scope/", "tools/sae-scope"), ("a//b", "a/b")]
)
def test_base_paths_are_cleaned(given: str, clean: str) -> None:
    assert server.clean_base_path(given) == clean


@pytest.mark.parametrize("given", ["../up", "a b", "x?y", "a/./b", "é"])
def test_bad_base_paths_are_told(given: str) -> None:
    with pytest.raises(UserError, match="not a base path"):
        server.clean_base_path(given)


@pytest.mark.parametrize(
    ("host", "base", "url"),
    [
        ("127.0.0.1", "", "http://127.0.0.1:8600/"),
        ("0.0.0.0", "tools", "http://127.0.0.1:8600/tools/"),
        ("::", "", "http://[::1]:8600/"),
        ("::1", "", "http://[::1]:8600/"),
    ],
)
def test_the_address_can_be_opened(host: str, base: str, url: str) -> None:
    assert server.address(host, 8600, base) == url


def test_it_serves_below_a_base_path_and_stops(digits_store: Path, port: int) -> None:
    running = server.start(digits_store, "127.0.0.1", port, "/tools/scope/")
    try:
        assert server.is_healthy("127.0.0.1", port, "tools/scope")
        with urllib.request.urlopen(server.address("127.0.0.1", port, "tools/scope"), timeout=30) as answer:
            assert b"<html" in answer.read(2000)
        with pytest.raises(UserError, match="in use"):
            server.start(digits_store, "127.0.0.1", port)
    finally:
        server.stop(running)
    assert running.returncode is not None
    assert not server.is_healthy("127.0.0.1", port, "tools/scope")
    server.check_port("127.0.0.1", port)
