"""Pages under test: run in this process (AppTest), or served to a real Chromium."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from streamlit.testing.v1 import AppTest

from saescope.dashboard import navigation, server

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

APP = Path(server.__file__).with_name("app.py")
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
CHROMIUMS = ("/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome")


@pytest.fixture
def own_store(digits_store: Path, tmp_path: Path) -> Path:
    """A copy of it that a test may change."""
    return shutil.copytree(digits_store, tmp_path / "store")


OpenPage = Callable[..., AppTest]


@pytest.fixture
def open_page(monkeypatch: pytest.MonkeyPatch) -> OpenPage:
    """`open_page(store, "feature", sae=..., feature=...)`: the app, run once at that address.

    AppTest cannot follow a path, so the page is made the home page.
    """

    def run(store: Path, page: str, /, **parameters: object) -> AppTest:
        monkeypatch.setattr(navigation, "HOME", page)
        monkeypatch.setenv(server.STORE_VARIABLE, str(store))
        app = AppTest.from_file(str(APP), default_timeout=60)
        for name, value in parameters.items():
            app.query_params[name] = str(value)
        return app.run()

    return run


def texts(app: AppTest) -> str:
    """All Markdown and captions of a page's main part, for looking things up; nothing may have failed."""
    assert not app.exception
    return "\n".join(str(element.value) for kind in ("title", "markdown", "caption") for element in app.main.get(kind))


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """Debian's Chromium or the one that CHROMIUM names; skips where it or playwright is missing."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    named = os.environ.get("CHROMIUM")
    found = next((path for path in ([named] if named else CHROMIUMS) if Path(path).exists()), None)
    if found is None:
        pytest.skip(f"no Chromium at {named or ' or '.join(CHROMIUMS)}; set CHROMIUM")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def browser_page(chromium: Browser) -> Iterator[Page]:
    """A fresh page, 1280 x 900; an error in its console fails the test."""
    context = chromium.new_context(viewport={"width": 1280, "height": 900})
    page = context.new_page()
    page.set_default_timeout(60_000)
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    yield page
    context.close()
    assert not errors


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


Serve = Callable[[Path], str]


@pytest.fixture(scope="session")
def serve_store() -> Iterator[Serve]:
    """`serve_store(path)`: the address of a running dashboard over that store; one server per store and session."""
    running: list[subprocess.Popen[bytes]] = []
    addresses: dict[Path, str] = {}

    def start(store: Path) -> str:
        if store in addresses:
            return addresses[store]
        port = _free_port()
        process = subprocess.Popen(
            server.command("127.0.0.1", port),
            env={**os.environ, server.STORE_VARIABLE: str(store)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        running.append(process)
        deadline = time.monotonic() + 60
        while True:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/_stcore/health", timeout=5):
                    addresses[store] = f"http://127.0.0.1:{port}"
                    return addresses[store]
            except (urllib.error.URLError, OSError):
                assert process.poll() is None, "the server ended"
                assert time.monotonic() < deadline, "the server did not start"
                time.sleep(0.2)

    yield start
    for process in running:
        process.terminate()
        process.wait(timeout=30)
