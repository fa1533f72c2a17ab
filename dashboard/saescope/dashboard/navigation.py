"""The pages and their addresses, and the way from a page's name to its module."""

from __future__ import annotations

import importlib
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from saescope.dashboard import panels
from saescope.store.errors import UserError

LOGGER = logging.getLogger(__name__)

if TYPE_CHECKING:
    from saescope.store import FeatureStore


@dataclass(frozen=True)
class PageSpec:
    """`name` is the address and the module in `saescope.dashboard.views`; `summary` is the link's tooltip.

    `per_sae` pages show one SAE, the one that `?sae=` names.
    """

    name: str
    title: str
    summary: str
    per_sae: bool = True


PAGES: tuple[PageSpec, ...] = (
    PageSpec("library", "Library", "Every SAE of this store", per_sae=False),
    PageSpec("sparsity", "Sparsity vs. reconstruction", "The curve of each sweep, with baselines", per_sae=False),
    PageSpec("family", "Family", "The same items and units through each member, with its constraint", per_sae=False),
    PageSpec("anomalies", "Anomalies", "Scores, thresholds, ROC, the most anomalous items", per_sae=False),
    PageSpec("features", "Features", "All features of one SAE as a table and a scatter plot"),
    PageSpec("feature", "Feature", "One feature: numbers, histogram, examples, neighbours, labels"),
    PageSpec("atoms", "Atoms", "Decoder atoms as a grid of pictures; effects where the decoder is not linear"),
    PageSpec("reconstructions", "Reconstructions", "Input, reconstruction and residual; codes by position"),
    PageSpec("generated", "Samples and traversals", "Pictures of codes that no item has, of variational autoencoders"),
    PageSpec("probe", "Probe", "Your own text or picture: which features fire, and where"),
    PageSpec("health", "Health", "Dead, dense and near-duplicate features; training curves"),
)
HOME = "library"


def page(name: str) -> PageSpec:
    """The page called `name`; KeyError if there is none."""
    for spec in PAGES:
        if spec.name == name:
            return spec
    raise KeyError(name)


def renderer(spec: PageSpec, store: FeatureStore) -> Callable[[], None]:
    """A function that draws the page and turns every error into a panel with a way back."""

    def render() -> None:
        try:
            module = importlib.import_module(f"saescope.dashboard.views.{spec.name}")
            module.render(store)
        except UserError as error:
            panels.show(error)
        except Exception:
            LOGGER.exception("page %r failed", spec.name)
            panels.failure(spec.title)

    return render
