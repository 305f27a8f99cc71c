"""Turns estimates of growing bias and falling variance into the one to prefer, without a look at the truth."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from evaluation.bounds import standard_error
from evaluation.intervals import Ints, Terms


def slope(candidates: Sequence[Terms], users: Ints, *, ordered: bool = True) -> int:
    """The place of the candidate with the smallest sum of bias and deviation, up to a constant (Lepski's principle).

    Su et al. 2020, algorithm 1, with the sharper test of Tucker and Lee 2021 (SLOPE++). Candidates stand in order of
    falling deviation and growing bias. The last one i is taken for which every earlier j agrees with every one up to i:

        |value_i - value_j| <= c_i + (sqrt(6) - 1) c_j        c = one user-clustered standard error

    A candidate of larger bias than its predecessors leaves their intervals; as long as it stays inside, its smaller
    deviation is worth more. With intervals of 95 % instead of one standard error, as in the papers' proofs, a bias of nearly
    five standard errors would pass. A standard error does not know the variance of a reward model's training, so the direct
    method looks calmer than it is. Undefined candidates are passed over.

    Args:
        candidates: all over the same R rows, at least one.
        users: (R,) cluster of each row.
        ordered: False: the order is that of falling standard errors.
    """
    values = np.array([terms.value for terms in candidates])
    widths = np.array([standard_error(terms, users) for terms in candidates])
    order = np.arange(len(candidates)) if ordered else np.argsort(-widths, kind="stable")
    order = order[np.isfinite(values[order]) & np.isfinite(widths[order])]
    if order.size == 0:
        return 0
    kept = int(order[0])
    for place in range(1, len(order)):
        own, before = order[place], order[:place]
        room = widths[own] + (np.sqrt(6) - 1) * widths[before]
        if (np.abs(values[own] - values[before]) > room).any():
            break
        kept = int(own)
    return kept


def least_error(candidates: Sequence[Terms], users: Ints) -> int:
    """The place of the candidate with the smallest upper bound on its mean squared error, the first being unbiased.

    bound_i = (|value_i - value_0| + error of that difference)^2 + error_i^2, errors user-clustered; in the manner of Wang et
    al. 2017, section 3, with the bias bounded by what the paired difference to an unbiased estimate shows. Undefined
    candidates are passed over.
    """
    reference, bounds = candidates[0], []
    for terms in candidates:
        bias = abs(terms.value - reference.value) + standard_error(terms, users, minus=reference)
        bounds.append(bias**2 + standard_error(terms, users) ** 2)
    known = np.where(np.isfinite(bounds), bounds, np.inf)
    return int(known.argmin()) if np.isfinite(known).any() else 0
