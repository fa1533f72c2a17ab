"""Probe: a reader's own text or picture; which features fire, at each position and over the whole.

Address: `sae`, `prompt` (as long as a link can hold it), `item` for a picture of the store, `by`. An uploaded picture
stays with the session: it is in no link.
"""

from __future__ import annotations

import io
import threading
from contextlib import nullcontext
from typing import TYPE_CHECKING
from urllib.parse import quote

import streamlit as st
from PIL import Image

from saescope.dashboard import panels, probes
from saescope.dashboard.components.picture_tiles import Tile, picture_tiles
from saescope.dashboard.components.pictures import FORMATS, image_sprite
from saescope.dashboard.components.position_codes import Code, text_stage
from saescope.dashboard.formats import plain
from saescope.dashboard.presentation import atoms, codes, sources
from saescope.dashboard.presentation.choice import presenter
from saescope.dashboard.presentation.presenter import written
from saescope.dashboard.state import links, reads
from saescope.store.errors import CheckpointError, DataError, SaescopeError
from saescope.store.numbers import count, significant

if TYPE_CHECKING:
    from saescope.store import Entry, FeatureStore

MAX_CHARACTERS = 8_000
MAX_LINK_BYTES = 4_000
"""Longest prompt, percent-encoded, that goes into the address: proxies and chats cut longer links."""
MAX_PIXELS = 40_000_000
LARGE_PIXELS = 4_000_000
_one_large = threading.Lock()
N_TILES = 60
_PROMPT = "_probe_prompt"
_TYPED = "_probe_typed"
_UPLOAD = "_probe_upload"
PICTURE_TYPES = ["png", "jpg", "jpeg", "webp", "bmp", "gif"]


def render(store: FeatureStore) -> None:
    """Draw the page. Raises `UnknownEntry`, `UserError` where the backend, the model or the SAE cannot be had."""
    entry = links.current_entry(store)
    st.title("Probe")
    st.caption(plain(sources.entry_line(entry)))
    if presenter(entry).takes_texts:
        _text(store, entry)
    else:
        _picture(store, entry)


# texts


def in_link(prompt: str) -> bool:
    """Whether a prompt is short enough for the address."""
    return len(quote(prompt)) <= MAX_LINK_BYTES


def _typed() -> None:
    prompt = st.session_state[_TYPED]
    st.session_state[_PROMPT] = prompt
    links.move(prompt=prompt if prompt.strip() and in_link(prompt) else None)


def _prompt() -> str:
    """The prompt of the address, else the one of this session that is too long for an address."""
    named = links.text("prompt")
    kept = st.session_state.get(_PROMPT, "")
    return named or (kept if not in_link(kept) else "")


def _text(store: FeatureStore, entry: Entry) -> None:
    prompt = _prompt()[:MAX_CHARACTERS]
    st.session_state[_TYPED] = prompt
    with st.form("_probe_form", border=False, enter_to_submit=True):
        box, go = st.columns([8, 1], vertical_alignment="bottom")
        with box:
            st.text_area(
                "your text",
                key=_TYPED,
                height=92,
                max_chars=MAX_CHARACTERS,
                placeholder="Type or paste a text; Ctrl+Enter shows which features fire at each of its tokens.",
            )
        with go:
            st.form_submit_button("Probe", type="primary", width="stretch", on_click=_typed)
    if not prompt.strip():
        panels.empty("The address of this page will hold the text, so that a link shows the same to others.")
        return
    if not in_link(prompt):
        st.caption("This text is too long for a link: the address does not hold it.")
    with st.spinner("The model reads the text; the first time, it is loaded ...", show_time=True):
        result = probes.of_text(entry, prompt)
    found = _codes(entry, result)
    _summary(result, found, presenter(entry).positions)
    codes.show_codes(
        store,
        entry,
        text_stage(result.tokens or [], result.token_ids),
        found,
        key="_probe_codes",
        evaluated=result.evaluated,
    )


def _codes(entry: Entry, result: probes.Result) -> list[Code]:
    found = [Code.of(ids, values) for ids, values in zip(result.feature_ids, result.activations, strict=True)]
    if any(len(code.feature_ids) and int(code.feature_ids.max()) >= entry.n_features for code in found):
        raise CheckpointError("the SAE that was probed has more features than this entry", "build the entry again")
    return found


def _summary(result: probes.Result, found: list[Code], what: str) -> None:
    n, n_off = len(found), sum(not counts for counts in result.evaluated)
    fired = sum(len(code.feature_ids) for code, counts in zip(found, result.evaluated, strict=True) if counts)
    l0 = fired / max(n - n_off, 1)
    left_out = f" · {count(n_off)} left out of the statistics (shown pale)" if n_off else ""
    st.caption(f"{count(n)} {what} · L0 {significant(l0)} features per position{left_out}")


# pictures


def _picture(store: FeatureStore, entry: Entry) -> None:
    if not presenter(entry).takes_pictures:
        panels.empty(
            "There is no way to make this SAE's input from a text or a picture: of its source, numbers alone are known."
        )
        return
    upload, offered = st.columns([2, 3], gap="medium")
    with upload:
        dropped = st.file_uploader(
            "your picture",
            type=PICTURE_TYPES,
            key=f"{_UPLOAD}_{st.session_state.get(_UPLOAD, 0)}",
            help="It stays in the memory of this server alone; a link does not hold it.",
        )
    with offered:
        _offer(entry)
    data = dropped.getvalue() if dropped is not None else _of_the_store(entry)
    if data is None:
        panels.empty("Drop a picture, or click one of the store's.")
        return
    with st.spinner("The picture is encoded; the first time, the model is loaded ...", show_time=True):
        result = _probed(entry, data)
    found = _codes(entry, result)
    stage = presenter(entry).picture_stage(result.image) if result.image is not None else None
    if stage is not None and len(stage["names"]) == len(found):
        _summary(result, found, presenter(entry).positions)
        codes.show_codes(store, entry, stage, found, key="_probe_codes", evaluated=result.evaluated)
    else:
        _whole(store, entry, result, found)


def _probed(entry: Entry, data: bytes) -> probes.Result:
    """The codes of a picture. Large ones are decoded one at a time, whoever drops them: each takes hundreds of MB.

    Raises `DataError` for a file that is no picture, or is far too large.
    """
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
        n_pixels = image.width * image.height
        if n_pixels > MAX_PIXELS:
            raise DataError(f"the picture has {count(n_pixels)} pixels", "reduce it first")
        with _one_large if n_pixels > LARGE_PIXELS else nullcontext():
            image.load()
            return probes.of_picture(entry, image)
    except (SaescopeError, MemoryError):
        raise
    except Exception as error:  # decoders raise whatever a file's data and tags lead them to
        raise DataError("the file is no picture that can be read", f"drop one of {', '.join(PICTURE_TYPES)}") from error


def _of_the_store(entry: Entry) -> bytes | None:
    """The picture of `?item=`, if any."""
    if not st.query_params.get("item"):
        return None
    return entry.item(links.whole_number("item", -1)).image


def _offer(entry: Entry) -> None:
    """A few pictures of the store to start from."""
    sample = entry.sample_item_ids()[:12]
    found = [(row["item_id"], presenter(entry).picture(row)) for row in entry.items(sample).to_pylist()]
    pictures = {int(item): image for item, image in found if image}
    if not pictures:
        return
    st.caption("or one of the store's pictures")
    sprite = image_sprite(list(pictures.values()))
    picked = links.whole_number("item", -1)
    picture_tiles(
        [
            Tile(
                item,
                f"item {count(item)}",
                tone="current" if item == picked else "",
            )
            for item in pictures
        ],
        sprite,
        key="_probe_offer",
        label="Pictures of the store",
        layout="strip",
        scale=max(1, round(56 / max(sprite.height, sprite.width))),
        on_open=_take,
    )


def _take(item: int) -> None:
    """A picture of the store was clicked: it takes the place of an uploaded one."""
    st.session_state[_UPLOAD] = st.session_state.get(_UPLOAD, 0) + 1
    links.move(item=item)


def _whole(store: FeatureStore, entry: Entry, result: probes.Result, found: list[Code]) -> None:
    """A picture that is one position: what was seen, and its features with their atoms, strongest first."""
    code = found[0] if found else Code.of([], [])
    seen, fired = st.columns([1, 4], gap="medium")
    with seen:
        if result.image is not None:
            sprite = image_sprite([result.image])
            picture_tiles(
                [Tile(None, "the picture as the SAE saw it")],
                sprite,
                key="_probe_seen",
                label="Input",
                scale=max(1, round(168 / max(sprite.height, sprite.width))),
            )
            st.caption("as the SAE saw it")
    with fired:
        n = len(code.feature_ids)
        shown = f"{count(n)} features fire" + (f", the strongest {N_TILES} of them:" if n > N_TILES else ":")
        st.caption(shown if n else "No feature fires.")
        ids = [int(i) for i in code.feature_ids[:N_TILES]]
        look = atoms.look(entry)
        if not ids or look is None:
            return
        strongest, named = reads.strongest(entry), codes.names(store, entry, ids)
        picture_tiles(
            [
                Tile(
                    i,
                    f"#{i} {named.get(i, '')}\nactivation {written(value)}\nlargest in the store, by magnitude, "
                    f"{significant(float(strongest[i]))}",
                    written(value),
                )
                for i, value in zip(ids, code.activations.tolist(), strict=False)
            ],
            atoms.sprite(entry, ids),
            key="_probe_features",
            label="Features",
            layout="strip",
            scale=look.scale(60),
            href=links.href("feature", sae=entry.sae_id) + "&feature=",
        )
