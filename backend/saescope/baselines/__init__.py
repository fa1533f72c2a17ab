"""Reference points that an SAE is held against."""

from saescope.baselines.pca import pca_baseline

__all__ = ["pca_baseline"]
