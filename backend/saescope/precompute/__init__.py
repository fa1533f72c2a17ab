"""The one pass over a source, and what is made of it: a published entry of a feature store, or its metrics."""

from saescope.precompute.build import BuildOptions, build_entry
from saescope.precompute.evaluation import Evaluation, evaluate

__all__ = ["BuildOptions", "Evaluation", "build_entry", "evaluate"]
