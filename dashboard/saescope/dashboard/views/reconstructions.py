"""Input, reconstruction and residual of the sampled items, with the features that build each picture.

Of texts, and of pictures inside a model, it shows what fires at each position. Address: `sae`, `page`, or `item` for a
single one, and `feature` for the one that colours it; `view` where there is more than one ('denoised', 'rebuilt',
'map'), of a denoiser also `noise` and `against` (see `presentation.denoising`). The sample is the same for every SAE of
a sweep, so moving along the sweep keeps the items.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import streamlit as st

from saescope.dashboard import panels, theme
from saescope.dashboard.components.pictures import Sprite, colour_sprite, signed_sprite, value_sprite
from saescope.dashboard.components.reconstruction_rows import Builder, Row, Title, reconstruction_rows
from saescope.dashboard.formats import plain
from saescope.dashboard.presentation import atoms, codes, denoising, latents, sources
from saescope.dashboard.presentation.choice import presenter
from saescope.dashboard.presentation.labels import labels
from saescope.dashboard.presentation.metadata import metadata_lines
from saescope.dashboard.presentation.presenter import written
from saescope.dashboard.presentation.rebuilding import Rebuilt, rebuild
from saescope.dashboard.state import controls, links, reads
from saescope.store.errors import UnknownItem
from saescope.store.numbers import count, percent, significant

if TYPE_CHECKING:
    from saescope.store import Entry, FeatureStore
    from saescope.store.read.reader import Sweep

VIEWS = {"denoised": "corrupted and denoised", "rebuilt": "item by item", "map": "map of the code"}
ROWS = 8
N_BUILDERS = 12
SMALLEST_SHARE = 0.001
"""Features with less are counted, not drawn."""
PICTURE_SIDE = 96
SINGLE_SIDE = 168
ATOM_SIDE = 36
_LIMITS = (1.0, 0.5, 0.25, 0.1, 0.05, 0.025, 0.01, 0.001)

TITLES = (
    Title("item", "index in the source's order, and what the source says about it"),
    Title("input", "the picture as the SAE saw it"),
    Title("reconstruction", "what the code decodes to, raw units, clipped to the range of the data"),
    Title("residual", "input - reconstruction: red where the input is brighter, blue where it is darker"),
    Title("error", "mean squared error over the item's positions and dimensions, raw units²"),
    Title(
        "built from",
        "features by their share in the reconstruction: activation × atom, projected on the whole (without the "
        "decoder's bias); shares sum to 100 %, a negative one works against the rest",
    ),
)


STRONGEST = Title(
    "strongest units",
    "units by the magnitude of their activation, each with its effect at the mean code; the decoder is not linear, so "
    "that there are no shares",
)


def render(store: FeatureStore) -> None:
    """Draw the page. Raises `UnknownEntry`, `UnknownItem`."""
    entry = links.current_entry(store)
    st.title("Reconstructions")
    st.caption(plain(sources.entry_line(entry)))
    _along_the_sweep(store, entry)
    sample = entry.sample_item_ids()
    chosen = _chosen_item()
    if presenter(entry).by_position:
        _by_position(store, entry, chosen, sample)
        return
    if chosen is not None:
        _single(store, entry, chosen, sample)
        return
    view = _view(entry)
    if view == "denoised":
        denoising.show(entry)
    elif view == "map":
        latents.show(entry)
    elif not sample:
        panels.empty(
            "This entry keeps no codes of single items, so there is nothing to rebuild.", "Build it again to add them."
        )
    else:
        _page(store, entry, sample)


def _view(entry: Entry) -> str:
    """What the page shows of all items, where there is a choice: what a denoiser makes of them, a narrow code's map."""
    kept = {"denoised": bool(entry.noise_levels()), "rebuilt": True, "map": entry.has_table("latent_map")}
    views = {name: title for name, title in VIEWS.items() if kept[name]}
    if len(views) == 1:
        return "rebuilt"
    return controls.choice("View", "view", views, style="segmented", also_clear=("page",), show_label=False)


def _chosen_item() -> int | None:
    """`?item=`; raises `UnknownItem` where it is no item."""
    given = st.query_params.get("item")
    if not given:
        return None
    if not given.isascii() or not given.isdigit() or len(given) > 18:
        raise UnknownItem(f"not an item: {given[:40]!r}", "items are numbered from 0")
    return int(given)


# the SAEs of the sweep


def _sweep_of(store: FeatureStore, entry: Entry) -> Sweep | None:
    for sweep in store.sweeps():
        if any(other.sae_id == entry.sae_id for other in sweep.entries):
            return sweep if len(sweep.entries) > 1 else None
    return None


def _pick_sae() -> None:
    links.move(sae=st.session_state["_reconstructions_sae"])


def _along_the_sweep(store: FeatureStore, entry: Entry) -> None:
    """One button per SAE of the sweep, from sparse to dense."""
    sweep = _sweep_of(store, entry)
    if sweep is None:
        return
    titles = {}
    for other in sweep.entries:
        parameter = other.manifest.sweep or {}
        value = parameter.get("value")
        number = significant(value) if isinstance(value, float) and value != int(value) else f"{value:g}"
        titles[other.sae_id] = f"{sweep.parameter} {number} · L0 {significant(other.metrics.get('l0'))}"
    st.session_state["_reconstructions_sae"] = entry.sae_id
    st.segmented_control(
        f"{sweep.architecture} SAEs of the sweep {sweep.name}, from sparse to dense (the items stay)",
        list(titles),
        format_func=titles.__getitem__,
        key="_reconstructions_sae",
        on_change=_pick_sae,
        required=True,
    )


# places of one item and their codes


def _by_position(store: FeatureStore, entry: Entry, chosen: int | None, sample: list[int]) -> None:
    """One item of a source inside a model: what fires at each of its positions."""
    if chosen is None and not sample:
        panels.empty("This entry keeps no codes of single items.", "Build it again to add them.")
        return
    page = min(max(links.whole_number("page", 1), 1), max(1, len(sample)))
    item_id = sample[page - 1] if chosen is None else chosen
    if chosen is None:
        left, right = st.columns([1, 2], vertical_alignment="center")
        left.caption(f"{count(len(sample))} sampled items, the same for every SAE of a sweep")
        with right:
            controls.page_number("page", len(sample))
    elif sample:
        _back_to_the_sample()
    codes.show_item(store, entry, item_id, _feature(entry))


def _feature(entry: Entry) -> int | None:
    """`?feature=`: the feature that colours the item, where the address names one."""
    return links.current_feature_id(entry) if st.query_params.get("feature") else None


def _back_to_the_sample() -> None:
    st.button(
        "All sampled items",
        icon=":material/arrow_back:",
        key="_reconstructions_all",
        on_click=links.move,
        kwargs={"item": None, "feature": None},
    )


# rows


def _page(store: FeatureStore, entry: Entry, sample: list[int]) -> None:
    n_pages = -(-len(sample) // ROWS)
    page = min(max(links.whole_number("page", 1), 1), n_pages)
    start = (page - 1) * ROWS
    _rows(store, entry, rebuild(entry, sample[start : start + ROWS]), PICTURE_SIDE)
    left, right = st.columns([1, 2], vertical_alignment="center")
    left.caption(f"{count(len(sample))} sampled items, the same for every SAE of a sweep")
    with right:
        controls.page_number("page", n_pages)


def _single(store: FeatureStore, entry: Entry, item_id: int, sample: list[int]) -> None:
    rebuilt = rebuild(entry, [item_id])
    if not rebuilt:
        raise UnknownItem(
            f"{entry.sae_id} does not keep item {item_id}", "it keeps its sample and the items of its examples"
        )
    if sample:
        _back_to_the_sample()
    _rows(store, entry, rebuilt, SINGLE_SIDE)
    if item_id not in set(sample):
        panels.empty(
            f"Item {count(item_id)} is an example of a feature, not one of the {count(len(sample))} sampled items: "
            "its reconstruction and its whole code are not kept."
        )


def _rows(store: FeatureStore, entry: Entry, rebuilt: list[Rebuilt], side: int) -> None:
    look = atoms.look(entry)
    features = sorted({int(i) for r in rebuilt for i in r.features[:N_BUILDERS]}) if look is not None else []
    named = labels(store, entry, features)
    inputs, reconstructions, residuals, limit = _pictures(rebuilt)
    if inputs is None and reconstructions is None:
        panels.empty("The items of this source are no pictures: errors and features stand without them.")
    residual_title = TITLES[3] if limit is None else Title(f"residual (±{limit:g})", TITLES[3].help)
    first = inputs or reconstructions
    reconstruction_rows(
        [_row(r, _builders(entry, r, features, named)) for r in rebuilt],
        [*TITLES[:3], residual_title, TITLES[4], TITLES[5] if entry.has_atoms else STRONGEST],
        inputs=inputs,
        reconstructions=reconstructions,
        residuals=residuals,
        atoms=atoms.sprite(entry, features) if features else None,
        scale=1 if first is None else max(1, round(side / max(first.height, first.width))),
        atom_scale=1 if look is None else look.scale(ATOM_SIDE),
        key="_reconstruction_rows",
        href=links.href("feature", sae=entry.sae_id) + "&feature=",
    )


def _builders(entry: Entry, rebuilt: Rebuilt, features: list[int], named: dict[int, str]) -> list[Builder]:
    """The features that build an item: by share, or, where there are none, by activation. Signed codes show both."""
    tile = {feature: place for place, feature in enumerate(features)}
    linear, signed = entry.has_atoms, reads.is_signed(entry)
    builders: list[Builder] = []
    for feature, share, activation in zip(rebuilt.features, rebuilt.shares, rebuilt.activations, strict=True):
        if feature not in tile or len(builders) == N_BUILDERS or (linear and abs(share) < SMALLEST_SHARE):
            break
        fires = written(float(activation))
        tip = f"#{feature} {named.get(int(feature), '')}\n"
        if linear:
            text = f"{fires}\n{_share(float(share))}" if signed else _share(float(share))
            tip += f"share {_share(float(share))}\nactivation {fires}"
        else:
            text, tip = fires, f"{tip}activation {fires}"
        length = float(share if linear else activation)
        builders.append(Builder(int(feature), length, text, tip, tile[int(feature)]))
    return builders


def _row(rebuilt: Rebuilt, builders: list[Builder]) -> Row:
    hidden = len(rebuilt.features) - len(builders)
    rest = ""
    if hidden and builders:
        others = float(rebuilt.shares[len(builders) :].sum())
        rest = f"+ {count(hidden)} more"
        if rebuilt.shares.any():
            rest += ": " + (_share(others) if abs(others) >= SMALLEST_SHARE else "< 0.1 %")
    errors = [] if rebuilt.mse is None else [f"MSE {significant(rebuilt.mse)}"]
    if rebuilt.n_positions:
        l0 = rebuilt.n_firing / rebuilt.n_positions
        errors.append(f"L0 {significant(l0)}" + (" per patch" if rebuilt.n_positions > 1 else ""))
    return Row(f"item {count(rebuilt.item_id)}", metadata_lines(rebuilt.item)[:4], errors, builders, rest)


def _share(share: float) -> str:
    return f"{'−' if share < 0 else ''}{percent(abs(share))}"


def _pictures(rebuilt: list[Rebuilt]) -> tuple[Sprite | None, Sprite | None, Sprite | None, float | None]:
    """Sprites of inputs, reconstructions and residuals (a missing one is blank), and the limit of the residuals.

    The limit is common to all rows and a round number, so that rows and SAEs compare.
    """
    shapes = {p.shape for r in rebuilt for p in (r.original, r.reconstruction) if p is not None}
    if len(shapes) != 1:
        return None, None, None, None
    shape = shapes.pop()

    def stacked(pictures: list[np.ndarray | None]) -> np.ndarray | None:
        if all(p is None for p in pictures):
            return None
        return np.stack([np.zeros(shape) if p is None else p for p in pictures])

    low, high = rebuilt[0].value_range
    originals, copies = stacked([r.original for r in rebuilt]), stacked([r.reconstruction for r in rebuilt])
    residuals = stacked([r.residual for r in rebuilt])
    limit = None
    residual_sprite = None
    if residuals is not None:
        reach = float(np.quantile(np.abs(residuals), 0.995))
        limit = min((v * (high - low) for v in _LIMITS if v * (high - low) >= reach), default=high - low)
        if shape[-1] == 3:
            residual_sprite = colour_sprite(residuals, limit=limit)
        else:
            residual_sprite = signed_sprite(residuals[..., 0], limit=limit, scheme=theme.scheme())
    return (
        None if originals is None else value_sprite(originals, low, high),
        None if copies is None else value_sprite(copies, low, high),
        residual_sprite,
        limit,
    )
