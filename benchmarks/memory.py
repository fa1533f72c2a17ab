"""Peak memory of a run, seen from outside.

The process under test prepares what is not to be counted, calls `ready`, and goes on. `peak_of` starts it, notes its
anonymous memory (not mapped files) at that moment, and then reads it again and again without a pause, as blocks that
live for a few milliseconds are what a peak is made of. Linux only.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

_READY = "ready"


def ready() -> None:
    """Tell the watching process that what follows counts, and wait until it watches."""
    print(_READY, flush=True)
    sys.stdin.readline()


def peak_of(script: str, *arguments: str) -> int:
    """Most bytes of anonymous memory over those at the start, of `script` with `arguments`."""
    with subprocess.Popen(
        [sys.executable, script, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for line in process.stdout:
            if line.strip() == _READY:
                break
        start = peak = _anonymous_bytes(process.pid)
        process.stdin.write("\n")
        process.stdin.flush()
        while process.poll() is None:
            peak = max(peak, _anonymous_bytes(process.pid))
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, process.args)
    return peak - start


def print_peaks(what: str, unit: str, positions_per_item: int, script: str, sizes: Sequence[int], repeats: int) -> None:
    """A line for each number of items: the peaks of several runs of `script --memory-child ITEMS`."""
    print(f"peak anonymous memory of a build over the start, {what}:")
    for n_items in sizes:
        peaks = sorted(peak_of(script, "--memory-child", str(n_items)) / 1e6 for _ in range(repeats))
        listed = ", ".join(f"{peak:.0f}" for peak in peaks)
        print(f"  {n_items:7,} items ({positions_per_item * n_items:9,} {unit}): {listed} MB", flush=True)


def _anonymous_bytes(process: int) -> int:
    """0 once the process has ended."""
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon:")), 0)
