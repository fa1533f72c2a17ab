"""The inner loops of the one pass, compiled.

Codes come as compressed rows (`CodeRows`), and what else belongs together as one of the `records`. Every loop costs a
few nanoseconds per firing and never visits a feature that is silent. All of them release the interpreter lock. Compiled
code is cached beside the file that holds it, by that file's own time stamp: after a change to
`saescope.sources.splitmix`, touch `hashing` and `accumulation` too.
"""

from saescope.precompute.kernels.accumulation import accumulate, merge_kept
from saescope.precompute.kernels.codes import compress, compress_selection, l1_of_rows
from saescope.precompute.kernels.firings import (
    count_categories,
    rows_of_categories,
    transpose,
    transpose_values,
    windows,
)
from saescope.precompute.kernels.hashing import feature_keys, position_keys
from saescope.precompute.kernels.pairs import (
    best_of_counts,
    count_common_bits,
    count_pairs,
    pairs_within_rows,
    set_bits,
)
from saescope.precompute.kernels.reconstruction import gather
from saescope.precompute.kernels.tokens import count_tokens, keep_extremes

__all__ = [
    "accumulate",
    "best_of_counts",
    "compress",
    "compress_selection",
    "count_categories",
    "count_common_bits",
    "count_pairs",
    "count_tokens",
    "feature_keys",
    "gather",
    "keep_extremes",
    "l1_of_rows",
    "merge_kept",
    "pairs_within_rows",
    "position_keys",
    "rows_of_categories",
    "set_bits",
    "transpose",
    "transpose_values",
    "windows",
]
