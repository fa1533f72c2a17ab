"""Folders that the first worker of a test session fills and the others find."""

from __future__ import annotations

import fcntl
import importlib
import os
import shutil
from pathlib import Path

import pytest


def shared(tmp_path_factory: pytest.TempPathFactory, name: str) -> Path:
    """The session's folder `name`, as `making` fills it. Tests must not change it."""
    session = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:  # the folder of one worker lies in that of the session
        session = session.parent
    folder, made = session / name, session / f"{name}.made"
    with (session / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # let go of when it closes
        if not made.exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            importlib.import_module("tests.small_stores.making").MAKE[name](folder)  # it takes torch
            made.touch()
    return folder
