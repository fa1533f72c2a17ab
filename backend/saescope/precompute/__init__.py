"""The one pass over a source, and what is made of it: a published entry of a feature store."""

from saescope.precompute.build import build_entry
from saescope.precompute.options import BuildOptions

__all__ = ["BuildOptions", "build_entry"]
