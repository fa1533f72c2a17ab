"""What an SAE is judged by on a source: the metrics of the one pass, and those that need something beside it."""

from saescope.evaluation.judgement import judge
from saescope.evaluation.pass_metrics import evaluate
from saescope.metrics.defaults import MATCH_COSINE
from saescope.metrics.dictionaries import DictionaryComparison, compare_dictionaries
from saescope.metrics.evaluation import Evaluation

__all__ = ["MATCH_COSINE", "DictionaryComparison", "Evaluation", "compare_dictionaries", "evaluate", "judge"]
