"""Turns weighted rows, sorted by (group, time), into exponentially decayed running sums, exact at every row.

The sum of a group just after its row i obeys S_i = w_i + S_{i-1} * 2^(-(t_i - t_{i-1}) / half_life). The textbook
shortcut, one running sum of w * 2^((t - origin) / half_life), overflows on a long history and, worse, loses the small
groups in the rounding of the large total. Here the origin is rebased at every row instead: the recurrence is solved by
doubling (Hillis and Steele 1986, "Data parallel algorithms"; Blelloch 1990 for linear recurrences), log2(longest
group) vector operations, in blocks of whole groups that stay in the cache.

Limits: all terms are >= 0 and only ever added, so the relative error is about 1e-15 * log2(rows of the group), for any
length of history, any origin, any number of groups. A sum that has decayed below about 1e-300 is 0. A result depends
on the earlier rows of its own group alone, to the bit.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from features.history import MICROS_PER_DAY, Bools, Floats, Ints

_BLOCK_ROWS = 1 << 15
_TINY = 1e-300  # smaller factors are 0: they change nothing, and denormal numbers are slow


def decay_over(gap_micros: Ints | Floats, half_life_days: float) -> Floats:
    """2^(-gap / half_life): what is left of a weight after a gap in microseconds, in [0, 1] for a gap >= 0."""
    return np.exp2(gap_micros / (-half_life_days * MICROS_PER_DAY))


def decayed_sums(times: Ints | Floats, weights: Floats, first: Bools, half_life_days: float) -> Floats:
    """The decayed sum of each group just after each of its rows, that row included.

    Args:
        times: (n,) microseconds, ascending within a group.
        weights: (n,) >= 0, or (n, D) for vectors.
        first: (n,) true at the first row of each group.
        half_life_days: > 0.

    Returns:
        Same shape as `weights`: S_i = sum over rows j <= i of the group of w_j * 2^(-(t_i - t_j) / half_life).
    """
    totals = np.array(weights, dtype=np.float64)
    for low, high in _blocks(np.flatnonzero(first), len(times)):
        keep = np.zeros(high - low)
        gap = np.maximum(np.diff(times[low:high]), 0)  # negative only where another group starts
        keep[1:] = np.where(first[low + 1 : high], 0.0, decay_over(gap, half_life_days))
        _double(keep, totals[low:high])
    return totals


def _blocks(starts: Ints, rows: int) -> Iterator[tuple[int, int]]:
    """Cuts of about _BLOCK_ROWS rows that never cut a group."""
    low = 0
    while low < rows:
        after = int(np.searchsorted(starts, low + _BLOCK_ROWS))
        high = int(starts[after]) if after < len(starts) else rows
        yield low, high
        low = high


def _double(keep: Floats, totals: Floats) -> None:
    """Solves the recurrence in place. Before a step, totals[i] holds the rows (i - step, i] of its group, and keep[i]
    the decay from row i - step to row i, 0 where that row is of another group."""
    step = 1
    while step < len(keep):
        keep[keep < _TINY] = 0.0
        if not keep.any():
            return
        factor = keep[step:] if totals.ndim == 1 else keep[step:, None]
        totals[step:] += factor * totals[:-step]
        keep[step:] = keep[step:] * keep[:-step]
        step *= 2
