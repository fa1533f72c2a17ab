"""On which tokens features fire."""

from __future__ import annotations

import numba
import numpy as np

from saescope.precompute.kernels.records import F32, I32, I64, Extremes, LabelRule, Postings, TopTokens


@numba.njit(cache=True, nogil=True)
def count_tokens(
    first: int,
    last: int,
    postings: Postings,
    values: F32,
    row_token: I32,
    row_item: I64,
    n_token: I64,
    rule: LabelRule,
    found: TopTokens,
) -> None:
    """For each feature in first ... last - 1, the tokens that it fires on most often: their counts and sums of
    activations, and the most frequent one that could label it (-1: none).

    `values` are the activations in the order of the postings; rows of an item are neighbours; `n_token` counts the rows
    of each token. Ties go to the lower token. Sums run in float64 in the order of rows.
    """
    pointers, rows = postings
    n_found, tokens, counts, totals, label_token, label_count = found
    n_rows = row_token.size
    count = np.zeros(n_token.size, np.int64)
    total = np.zeros(n_token.size, np.float64)
    items = np.zeros(n_token.size, np.int64)
    last_item = np.empty(n_token.size, np.int64)
    touched = np.empty(n_token.size, np.int64)
    keep = tokens.shape[1]
    for f in range(first, last):
        i = f - first
        n_touched = 0
        for p in range(pointers[f], pointers[f + 1]):
            row = rows[p]
            t = row_token[row]
            if count[t] == 0:
                touched[n_touched] = t
                n_touched += 1
                total[t] = 0.0
                items[t] = 0
                last_item[t] = -1
            count[t] += 1
            total[t] += np.float64(values[p])
            if row_item[row] != last_item[t]:
                items[t] += 1
                last_item[t] = row_item[row]
        n_firing = pointers[f + 1] - pointers[f]
        for j in range(n_touched):
            t = touched[j]
            c = count[t]
            count[t] = 0
            better = c > label_count[i] or (c == label_count[i] and t < label_token[i])
            # precision >= min_lift * base rate, as one product of whole numbers on each side
            if (
                better
                and items[t] >= rule.min_items
                and c * n_rows >= rule.min_lift * (np.float64(n_token[t]) * n_firing)
            ):
                label_token[i] = t
                label_count[i] = c
            n = n_found[i]
            at = n
            if n == keep:
                at = keep - 1
                if counts[i, at] > c or (counts[i, at] == c and tokens[i, at] < t):
                    continue
            else:
                n_found[i] = n + 1
            while at > 0 and (counts[i, at - 1] < c or (counts[i, at - 1] == c and tokens[i, at - 1] > t)):
                counts[i, at] = counts[i, at - 1]
                tokens[i, at] = tokens[i, at - 1]
                totals[i, at] = totals[i, at - 1]
                at -= 1
            counts[i, at] = c
            tokens[i, at] = t
            totals[i, at] = total[t]


@numba.njit(cache=True, nogil=True)
def keep_extremes(effects: F32, offset: int, largest: Extremes, smallest: Extremes) -> None:
    """Insert each row's entries into its lists of the largest and the smallest, strongest first.

    Columns are numbered from `offset` on and must come in ascending pieces: ties go to the lower column. Lists start
    out as -inf and +inf, and are as wide as there are columns in all, or less.
    """
    most, most_value = largest
    least, least_value = smallest
    n = most.shape[1]
    width = effects.shape[1]
    for r in range(effects.shape[0]):
        row = effects[r]
        high = most_value[r, n - 1]
        low = least_value[r, n - 1]
        for start in range(0, width, 16):
            end = min(start + 16, width)
            wanted = False
            for c in range(start, end):
                wanted |= (row[c] > high) | (row[c] < low)
            if not wanted:
                continue
            for c in range(start, end):
                v = row[c]
                if v > high:
                    at = n - 1
                    while at > 0 and most_value[r, at - 1] < v:
                        most[r, at] = most[r, at - 1]
                        most_value[r, at] = most_value[r, at - 1]
                        at -= 1
                    most[r, at] = offset + c
                    most_value[r, at] = v
                    high = most_value[r, n - 1]
                if v < low:
                    at = n - 1
                    while at > 0 and least_value[r, at - 1] > v:
                        least[r, at] = least[r, at - 1]
                        least_value[r, at] = least_value[r, at - 1]
                        at -= 1
                    least[r, at] = offset + c
                    least_value[r, at] = v
                    low = least_value[r, n - 1]
