"""Colours with a meaning, in both schemes, and the style sheet that goes with theme.toml.

Colour carries meaning only: one sequential hue for activation, a diverging blue - neutral - red for signed values, a
colour-blind-safe hue per architecture (Okabe and Ito 2008), grey for dead and amber for dense.
"""

from __future__ import annotations

from typing import Literal

import streamlit as st

Scheme = Literal["light", "dark"]

ACTIVATION = "#e8590c"
"""Full strength of the sequential hue; weaker activations are this colour, more transparent."""

ACTIVATION_DEPTH: dict[Scheme, float] = {"light": 0.95, "dark": 0.68}
"""Opacity of the full activation behind text: the text stays readable (contrast 4.5 to 1) at every strength."""

DIVERGING: dict[Scheme, tuple[str, str, str]] = {
    "light": ("#2166ac", "#f7f7f7", "#b2182b"),
    "dark": ("#4f9bdc", "#1b1e23", "#e05a5f"),
}
"""Negative, zero and positive end of the scale for signed values."""

CATEGORIES = (
    "#0072b2", "#e69f00", "#009e73", "#d55e00", "#cc79a7", "#56b4e9", "#8c564b", "#b3a100", "#8461c9", "#3fa34d",
)  # fmt: skip
"""Of labels that are told apart by colour, in both schemes; the first ones are those of Okabe and Ito 2008."""

DEAD: dict[Scheme, str] = {"light": "#8a9099", "dark": "#7d848e"}
DENSE: dict[Scheme, str] = {"light": "#c77700", "dark": "#f0a92e"}
INK: dict[Scheme, str] = {"light": "#1f2328", "dark": "#e3e6ea"}
MUTED: dict[Scheme, str] = {"light": "#5c6570", "dark": "#9aa3ad"}
LINE: dict[Scheme, str] = {"light": "#d5d9de", "dark": "#383e46"}
ACCENT: dict[Scheme, str] = {"light": "#0b6e75", "dark": "#4fb8bd"}
PAPER: dict[Scheme, str] = {"light": "#ffffff", "dark": "#14171b"}

_FAMILY: dict[str, tuple[str, str, str]] = {
    "relu": ("#0072b2", "#4ea3dc", "circle"),
    "topk": ("#d55e00", "#f0843c", "square"),
    "kl": ("#009e73", "#33c79b", "diamond"),
    "batchtopk": ("#b8860b", "#e6b93a", "triangle-up"),
    "gated": ("#b0508a", "#dd8fbe", "cross"),
    "jumprelu": ("#2a93c9", "#7cc7ee", "triangle-down"),
    "matryoshka": ("#7a6a00", "#e0d44c", "star"),
    "abstopk": ("#6a51a3", "#a98fe0", "hexagon"),
    "groupmax": ("#555b61", "#b3b9bf", "pentagon"),
    "deep": ("#a8324a", "#ef7f93", "x"),
    "convolutional": ("#3b6d3a", "#86c584", "triangle-left"),
    "undercomplete": ("#3c6e00", "#8fc64a", "diamond-tall"),
    "contractive": ("#7d3c98", "#c18ad9", "hexagram"),
    "variational": ("#5b5bd6", "#9c9cf5", "triangle-right"),
    "tanhrelu": ("#4f7a00", "#a7cf4b", "hourglass"),
    "pca": ("#5c6570", "#9aa3ad", "octagon"),
    "omp": ("#1b7837", "#6cc080", "star-diamond"),
    "lars": ("#4d8a00", "#b6df8a", "star-square"),
    "nmf": ("#c51b7d", "#f19fcb", "triangle-ne"),
    "ica": ("#8256b8", "#c4a9ec", "triangle-se"),
    "kmeans": ("#b35806", "#f1b36b", "diamond-wide"),
    "random": ("#8b6d52", "#c9b199", "triangle-sw"),
    "neurons": ("#3b4cc0", "#93a6ff", "triangle-right"),
}
_OTHERS = (("#8c510a", "#c98d4e", "bowtie"), ("#2f6f73", "#6fb6ba", "star-triangle-up"))


def scheme() -> Scheme:
    """What the reader's browser shows now; light where it has not said."""
    try:
        return "dark" if st.context.theme.type == "dark" else "light"
    except AttributeError:
        return "light"


def _family(architecture: str) -> tuple[str, str, str]:
    known = _FAMILY.get(architecture)
    return known if known else _OTHERS[sum(architecture.encode()) % len(_OTHERS)]


def family_colour(architecture: str) -> str:
    """The colour of an architecture, the same on every page."""
    light, dark, _ = _family(architecture)
    return dark if scheme() == "dark" else light


def family_symbol(architecture: str) -> str:
    """Plotly's marker symbol of an architecture, so that colour is never the only difference."""
    return _family(architecture)[2]


STYLE = """
<style>
[data-testid="stMainBlockContainer"] { padding: 1.4rem 2.2rem 2.5rem; max-width: 1900px; }
[data-testid="stMain"] [data-testid="stVerticalBlock"] { gap: 0.75rem; }
[data-testid="stHeading"] h1 { padding: 0.2rem 0 0.4rem; }
[data-testid="stCaptionContainer"] { padding-bottom: 0.3rem; }
[data-testid="stMarkdownContainer"] h4 { padding: 0.5rem 0 0.3rem; }
[data-testid="stHeader"] { background: transparent; height: 2.2rem; min-height: 0; }
[data-testid="stSidebarHeader"] { height: 2.4rem; min-height: 0; margin-bottom: 0; }
[data-testid="stDecoration"], [data-testid="stAppDeployButton"], [data-testid="stMainMenu"] { display: none; }
[data-testid="stMetric"] { padding: 0; }
[data-testid="stMetricLabel"] p { font-size: 0.86rem; }
[data-testid="stCaptionContainer"] p { margin-bottom: 0.1rem; }
h1, h2, h3 { letter-spacing: -0.005em; }
code { font-variant-ligatures: none; }
[data-testid="stMain"] [data-testid="stPageLink-NavLink"] { padding-left: 0; background: none; }
[data-testid="stMain"] [data-testid="stPageLink-NavLink"] p { color: ACCENT; font-weight: 400; }
[data-testid="stMain"] [data-testid="stPageLink-NavLink"]:hover p { text-decoration: underline; }
</style>
"""


def apply_style() -> None:
    """Send the style sheet; once per run, first of all."""
    st.html(STYLE.replace("ACCENT", ACCENT[scheme()]))
