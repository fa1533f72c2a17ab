"""The live probe: an SAE, and the model that it reads, kept open for the Probe page. The backend is asked for lazily.

Everything else of the dashboard works without the backend; where it is missing, `open_probe` says what to install.
"""

from __future__ import annotations

import hashlib
import importlib
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import streamlit as st

from saescope.store.errors import OptionError, UserError

if TYPE_CHECKING:
    from PIL import Image

    from saescope.store import Entry

_INSTALL = "pip install 'saescope[backend]' where the dashboard runs; all other pages work without it"


class Result(Protocol):
    """What fires at each position: `saescope.probing.ProbeResult`."""

    tokens: list[str] | None
    token_ids: list[int] | None
    evaluated: list[bool]
    feature_ids: Sequence[Any]
    activations: Sequence[Any]
    image: bytes | None


class Probe(Protocol):
    """`saescope.probing.Probe`."""

    takes: str

    def text(self, prompt: str) -> Result: ...

    def picture(self, image: Image.Image) -> Result: ...


_ONE_AT_A_TIME = threading.RLock()
"""Two readers at once must not load a model twice, nor run one model in two threads."""


def open_probe(entry: Entry) -> Probe:
    """The probe of `entry`, opened once per version and process. Raises `UserError` where the backend is missing, or
    the model or the SAE cannot be loaded."""
    with _ONE_AT_A_TIME:
        return _open(str(entry.paths.root), entry)


def of_text(entry: Entry, prompt: str) -> Result:
    """What `prompt` makes fire. Raises `UserError` as `open_probe` does, or where the SAE takes no text."""
    with _ONE_AT_A_TIME:
        return _of_text(str(entry.paths.root), prompt, entry)


def of_picture(entry: Entry, image: Image.Image) -> Result:
    """What a picture makes fire. Raises `UserError` as `open_probe` does, or where the SAE takes no pictures."""
    seen = hashlib.sha256(repr((image.mode, image.size)).encode() + image.tobytes()).hexdigest()
    with _ONE_AT_A_TIME:
        return _of_picture(str(entry.paths.root), seen, entry, image)


def _taking(what: str, entry: Entry) -> Probe:
    probe = open_probe(entry)
    if probe.takes != what:
        raise OptionError(f"{entry.sae_id} does not take a {what}", f"give it a {probe.takes}")
    return probe


@st.cache_resource(show_spinner=False, max_entries=32)
def _of_text(version_folder: str, prompt: str, _entry: Any) -> Result:
    """Shared by all readers and never changed: the page runs again at every click."""
    return _taking("text", _entry).text(prompt)


@st.cache_resource(show_spinner=False, max_entries=16)
def _of_picture(version_folder: str, seen: str, _entry: Any, _image: Any) -> Result:
    """The same for a picture, known by the hash `seen`."""
    return _taking("picture", _entry).picture(_image)


@st.cache_resource(show_spinner=False, max_entries=2)
def _open(version_folder: str, _entry: Any) -> Probe:
    try:
        probing = importlib.import_module("saescope.probing")
    except ImportError as error:
        raise UserError(
            f"the live probe needs the backend, which is not installed here ({error.name or error} is missing)",
            _INSTALL,
        ) from error
    probe: Probe = probing.Probe.open(Path(version_folder) / "sae", _entry.manifest.source)
    return probe
