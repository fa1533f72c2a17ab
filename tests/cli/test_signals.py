"""Interrupted and terminated commands, as processes."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def start(*arguments: object) -> subprocess.Popen[str]:
    path = os.pathsep.join(str(ROOT / root) for root in ("backend", "store", "dashboard"))
    return subprocess.Popen(
        [sys.executable, "-m", "saescope.cli", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
        # shells start what runs in the background with SIGINT ignored, and children would inherit it
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def wait_until(ready: Callable[[], bool], process: subprocess.Popen[str], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not ready():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_an_interrupted_training_says_so_in_a_line_and_can_go_on(tmp_path: Path) -> None:
    out = tmp_path / "out"
    training = ("train", "--images", "embedded:digits", "--arch", "topk", "--n-features", 32, "--k", 4, "--out", out)
    process = start(*training, "--steps", 1_000_000)
    wait_until(lambda: out.is_dir() and any(out.rglob("*")), process)
    process.send_signal(signal.SIGINT)
    printed, told = process.communicate(timeout=60)
    assert process.returncode == 130
    assert printed == ""
    assert told.splitlines()[-1] == "saescope train: interrupted"
    assert "Traceback" not in told
    assert not (out / "sae.safetensors").exists()


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_a_served_dashboard_stops_with_its_server(store: Path, sent: signal.Signals, code: int) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = start("serve", "--store", store, "--port", port)

    def answers() -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/_stcore/health", timeout=5) as response:
                return response.status == 200
        except (urllib.error.URLError, OSError):
            return False

    wait_until(answers, process)
    assert process.stdout is not None
    assert f"http://127.0.0.1:{port}/" in process.stdout.readline()
    process.send_signal(sent)
    _, told = process.communicate(timeout=60)
    assert process.returncode == code
    assert "Traceback" not in told
    assert not answers()
