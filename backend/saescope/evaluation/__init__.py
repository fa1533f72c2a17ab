"""What an SAE is judged by beside the one pass: other dictionaries, and what its features tell about items."""

from saescope.evaluation.dictionaries import MATCH_COSINE, DictionaryComparison, compare_dictionaries
from saescope.evaluation.judge import judge

__all__ = ["MATCH_COSINE", "DictionaryComparison", "compare_dictionaries", "judge"]
