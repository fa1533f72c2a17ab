"""Classical methods that an SAE is held against: as rows beside a sweep, and as entries of their own.

The names below are imported when they are first used, so that names and settings of methods cost no torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from saescope.store.lazy_names import lazy

if TYPE_CHECKING:
    from saescope.baselines.fitting import fitted
    from saescope.baselines.pca import pca_baseline
    from saescope.baselines.registry import METHODS
    from saescope.baselines.rows import baseline_rows

__all__ = ["METHODS", "baseline_rows", "fitted", "pca_baseline"]

__getattr__ = lazy(
    __name__,
    {"METHODS": "registry", "baseline_rows": "rows", "fitted": "fitting", "pca_baseline": "pca"},
)
