"""Turns estimates of growing bias and falling variance into the one to prefer, without a look at the truth."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.stats import norm

from evaluation.bounds import standard_error
from evaluation.intervals import Clusters, Floats, Ints, Terms

_MISS = 0.05


def slope(candidates: Sequence[Terms], users: Ints) -> int:
    """The place of the estimate with the smallest sum of bias and deviation, up to a constant (Lepski's principle).

    Su et al. 2020, algorithm 1, with the sharper test of Tucker and Lee 2021 (SLOPE++). In order of falling deviation, the
    last candidate i is taken for which every one up to i agrees with every earlier j:

        |value_i - value_j| <= c_i + (sqrt(6) - 1) c_j

    c is the width of empirical Bernstein's bound (Maurer and Pontil 2009, theorem 4) on the influence of users, its range as
    observed: sqrt(2 log(2/d)) * standard error + 7 log(2/d) range / (3 (U - 1)), d = 0.05. A normal interval would be far too
    narrow exactly when it matters, where the few clicks that carry large weights happen to be missing. A candidate of larger bias leaves the intervals of its predecessors; as long as it stays inside, its smaller deviation
    is worth more. A standard error does not know the variance of a reward model's training, so the direct method looks
    calmer than it is. Undefined candidates are passed over.

    Args:
        candidates: of any kind, all over the same R rows, at least one.
        users: (R,) cluster of each row.
    """
    clusters = Clusters.of(users)
    values = np.array([terms.value for terms in candidates])
    widths = np.array([_bernstein(terms, clusters) for terms in candidates])
    order = np.argsort(-widths, kind="stable")
    order = order[np.isfinite(values[order]) & np.isfinite(widths[order])]
    if order.size == 0:
        return 0
    room = widths[order][:, None] + (np.sqrt(6) - 1) * widths[order][None, :]
    return int(order[_last_in_agreement(values[order], room)])


def paired_slope(candidates: Sequence[Terms], users: Ints) -> int:
    """`slope` for one estimator's parameters, from the least biased to the calmest: neighbours differ in few rows, and the error
    of their difference is known, so that a bias shows as soon as it is significant:

        |value_i - value_j| <= z * user-clustered standard error of (value_i - value_j)

    z holds for all pairs together with 95 % (Bonferroni), or a look at many candidates would find a bias by chance.
    """
    values = np.array([terms.value for terms in candidates])
    order = np.flatnonzero(np.isfinite(values))
    if order.size == 0:
        return 0
    clusters = Clusters.of(users)
    sums = np.stack([clusters.sums(candidates[int(place)].influence) for place in order], axis=1)
    sums *= np.sqrt(clusters.count / max(clusters.count - 1, 1)) / candidates[0].rows
    apart = np.stack([np.sqrt(np.square(sums[:, [place]] - sums).sum(axis=0)) for place in range(order.size)])
    pairs = max(order.size * (order.size - 1) / 2, 1.0)
    return int(order[_last_in_agreement(values[order], float(norm.ppf(1 - _MISS / (2 * pairs))) * apart)])


def least_error(candidates: Sequence[Terms], users: Ints) -> int:
    """The place of the candidate with the smallest upper bound on its mean squared error, the first being unbiased.

    bound_i = (|value_i - value_0| + error of that difference)^2 + error_i^2, errors user-clustered; in the manner of Wang et
    al. 2017, with the bias bounded by what the paired difference to an unbiased estimate shows. Undefined candidates are
    passed over.
    """
    reference, bounds = candidates[0], []
    for terms in candidates:
        bias = abs(terms.value - reference.value) + standard_error(terms, users, minus=reference)
        bounds.append(bias**2 + standard_error(terms, users) ** 2)
    known = np.where(np.isfinite(bounds), bounds, np.inf)
    return int(known.argmin()) if np.isfinite(known).any() else 0


def _bernstein(terms: Terms, clusters: Clusters) -> float:
    """The width c of `slope`; NaN with fewer than two users, or where the value is not defined."""
    if clusters.count < 2:
        return float("nan")
    sums = clusters.sums(terms.influence) * clusters.count / terms.rows
    tail = np.log(2 / _MISS)
    error = float(sums.std(ddof=1)) / np.sqrt(clusters.count)
    return float(np.sqrt(2 * tail) * error + 7 * tail * float(np.ptp(sums)) / (3 * (clusters.count - 1)))


def _last_in_agreement(values: Floats, room: Floats) -> int:
    """The last place up to which every value is within `room` (C, C) of every earlier one."""
    agree = np.abs(values[:, None] - values) <= room + 1e-12
    broken = [place for place in range(1, values.size) if not agree[place, :place].all()]
    return (broken[0] if broken else values.size) - 1
