"""The threads that share a block's work in compiled kernels, which let go of the interpreter."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from functools import cache

N_THREADS = max(1, min(os.cpu_count() or 1, 8))
"""No more than 8: what they do mostly waits for memory."""


@cache
def threads() -> ThreadPoolExecutor:
    """The pool, one for the process."""
    return ThreadPoolExecutor(N_THREADS)
