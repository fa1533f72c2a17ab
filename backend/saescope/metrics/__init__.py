"""What an SAE is judged by: every metric's formula beside the code that computes it, under its name."""

from saescope.metrics.registry import Metric, Over, all_metrics, metric

__all__ = ["Metric", "Over", "all_metrics", "metric"]
