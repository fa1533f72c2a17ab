"""Starting the dashboard's server: flags, health, one line with the address, a clean stop.

The server is a child process (`python -m streamlit run app.py`), so that the command line stays free of Streamlit's
import and signal handling.
"""

from __future__ import annotations

import errno
import http.client
import os
import signal
import socket
import subprocess
import sys
import time
import webbrowser
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from saescope.store import FeatureStore
from saescope.store.errors import OptionError, SaescopeError

APP = Path(__file__).with_name("app.py")
THEME = Path(__file__).with_name("theme.toml")
STORE_VARIABLE = "SAESCOPE_STORE"

SETTINGS: dict[str, str] = {
    "browser.gatherUsageStats": "false",
    "client.showErrorDetails": "none",
    "client.showSidebarNavigation": "false",
    "client.toolbarMode": "minimal",
    "global.developmentMode": "false",
    "logger.level": "warning",
    "logger.enableRich": "false",
    "logger.hideWelcomeMessage": "true",
    "runner.magicEnabled": "false",
    "server.enableCORS": "true",
    "server.enableStaticServing": "false",
    "server.enableXsrfProtection": "true",
    "server.fileWatcherType": "none",
    "server.headless": "true",
    "server.maxUploadSize": "10",
    "server.runOnSave": "false",
}
"""Streamlit's settings for a served dashboard: no telemetry, no developer's tools, no file watching."""

LOOPBACK = ("127.0.0.1", "localhost", "::1")
"""A server on the loopback answers to these names alone (against DNS rebinding), unless the environment says more."""


def clean_base_path(base_path: str) -> str:
    """'/tools/saescope/' -> 'tools/saescope'; raises `OptionError` for anything but letters, digits and . _ ~ - /"""
    parts = [part for part in base_path.split("/") if part]
    for part in parts:
        if part in (".", "..") or not all(c.isascii() and (c.isalnum() or c in "._~-") for c in part):
            raise OptionError(f"not a base path: {base_path!r}", "give a path such as /saescope")
    return "/".join(parts)


def command(host: str, port: int, base_path: str = "", extra: dict[str, str] | None = None) -> list[str]:
    """The server's command line; `extra` settings (name -> value) go last and win."""
    settings = {
        **SETTINGS,
        "theme.base": str(THEME),
        "server.address": host,
        "server.port": str(port),
        **({"server.baseUrlPath": base_path} if base_path else {}),
        **(extra or {}),
    }
    flags = [f"--{name}={value}" for name, value in settings.items()]
    if host in LOOPBACK and "STREAMLIT_SERVER_ALLOWED_HOSTS" not in os.environ:
        flags += [f"--server.allowedHosts={name}" for name in LOOPBACK]
    return [sys.executable, "-m", "streamlit", "run", str(APP), *flags]


def check_port(host: str, port: int) -> None:
    """Raise `OptionError` unless this process could listen on (host, port)."""
    fault = port_fault(host, port)
    if fault:
        raise fault


def port_fault(host: str, port: int) -> OptionError | None:
    """What keeps this process from listening on (host, port); None where nothing does."""
    if not 1 <= port <= 65535:
        return OptionError(f"not a port: {port}", "ports are 1 to 65535")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except socket.gaierror:
        return OptionError(f"not an address of this machine: {host!r}", "use 127.0.0.1, or 0.0.0.0 for all")
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            return OptionError(f"port {port} on {host} is in use", f"try --port {port + 1}")
        if error.errno == errno.EACCES:
            return OptionError(f"not allowed to listen on port {port}", "use a port above 1023")
        return OptionError(f"cannot listen on {host}:{port}: {error.strerror}")
    return None


def address(host: str, port: int, base_path: str = "") -> str:
    """The URL for a browser on this machine."""
    shown = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)  # noqa: S104
    return f"http://{shown}:{port}/{base_path}".rstrip("/") + "/"


def is_healthy(host: str, port: int, base_path: str = "") -> bool:
    """Whether the server answers its health check."""
    connection = http.client.HTTPConnection({"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host), port, timeout=2)  # noqa: S104
    try:
        connection.request("GET", f"/{base_path}/_stcore/health".replace("//", "/"))
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def start(
    store: Path, host: str, port: int, base_path: str = "", *, timeout: float = 120, extra: dict[str, str] | None = None
) -> subprocess.Popen[bytes]:
    """Start a server for `store` and return once it is healthy; the caller stops it (`terminate`, `wait`).

    Raises `StoreError` for a store that cannot be opened, `OptionError` for a port that cannot be used, `SaescopeError`
    where the server dies or stays silent for `timeout` seconds.
    """
    FeatureStore(store).close()
    base_path = clean_base_path(base_path)
    check_port(host, port)
    environment = {**os.environ, STORE_VARIABLE: str(Path(store).resolve())}
    server = subprocess.Popen(
        command(host, port, base_path, extra), env=environment, stdin=subprocess.DEVNULL, stdout=sys.stderr
    )
    try:
        deadline = time.monotonic() + timeout
        while not is_healthy(host, port, base_path):
            if server.poll() is not None:
                raise SaescopeError(f"the dashboard's server stopped while starting (exit status {server.returncode})")
            if time.monotonic() > deadline:
                raise SaescopeError(f"the dashboard's server did not answer within {timeout:.0f} s")
            time.sleep(0.1)
    except BaseException:
        stop(server)
        raise
    return server


def stop(server: subprocess.Popen[bytes], patience: float = 5) -> None:
    """Stop a server that `start` returned: politely, then for good."""
    if server.poll() is None:
        server.terminate()
        try:
            server.wait(patience)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


class _Terminated(BaseException):
    """SIGTERM has come."""


@contextmanager
def _until_terminated() -> Iterator[None]:
    """SIGTERM ends the block quietly: containers and services stop a server that way."""

    def terminated(number: int, frame: object) -> None:
        raise _Terminated

    previous = signal.signal(signal.SIGTERM, terminated)
    try:
        yield
    except _Terminated:
        return
    finally:
        signal.signal(signal.SIGTERM, previous)


def serve(
    store: Path,
    host: str = "127.0.0.1",
    port: int = 8501,
    base_path: str = "",
    open_browser: bool = False,
    say: Callable[[str], None] = print,
) -> None:
    """Serve `store` until SIGTERM, which it returns after, or Ctrl-C, saying the address once the server answers.

    Raises `UserError` as `start` does, `KeyboardInterrupt` once the server has stopped after Ctrl-C, and
    `SaescopeError` where the server dies by itself.
    """
    with _until_terminated():
        server = start(store, host, port, base_path)
        url = address(host, port, clean_base_path(base_path))
        try:
            say(f"saescope shows {store} at {url}  (Ctrl-C stops it)")
            if open_browser:
                webbrowser.open(url)
            status = server.wait()
        finally:
            stop(server)
        if status:
            raise SaescopeError(f"the dashboard's server stopped (exit status {status})")
