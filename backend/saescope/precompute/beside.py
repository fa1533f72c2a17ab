"""Something that runs beside something else."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def beside(job: Callable[[], None]) -> Iterator[None]:
    """Run `job` in a thread of its own while the block runs, and wait for it at the block's end, where its error is
    raised. Only an interruption from the keyboard does not wait."""
    errors: list[BaseException] = []

    def run() -> None:
        try:
            job()
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield
    except KeyboardInterrupt:
        raise
    except BaseException:
        thread.join()
        raise
    thread.join()
    if errors:
        raise errors[0]
