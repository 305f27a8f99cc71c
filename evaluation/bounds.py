"""Turns per-row terms into intervals without resampling: asymptotic, empirical Bernstein, valid at any time."""

from __future__ import annotations

import numpy as np
from scipy.stats import norm

from contracts.errors import DataError
from evaluation.intervals import Clusters, Floats, Interval, Ints, Terms


def standard_error(terms: Terms, users: Ints, *, minus: Terms | None = None) -> float:
    """User-clustered standard error of a statistic: sqrt( U/(U-1) * sum_u (sum_{i in u} influence_i)^2 ) / R.

    The sandwich estimator of Liang and Zeger 1986 on the influence of each row. `minus`: of the paired difference to that
    statistic of the same rows. NaN with fewer than two users.
    """
    clusters = Clusters.of(users)
    if clusters.count < 2:
        return float("nan")
    influence = terms.influence if minus is None else terms.influence - minus.influence
    squares = float(np.square(clusters.sums(influence)).sum())
    return float(np.sqrt(squares * clusters.count / (clusters.count - 1))) / terms.rows


def asymptotic(terms: Terms, users: Ints, *, confidence: float, minus: Terms | None = None) -> Interval | None:
    """value -+ z * `standard_error`: covers as promised once the sums of users are near normal. None where undefined."""
    return _around(terms, users, minus, float(norm.ppf((1 + confidence) / 2)))


def asymptotic_sequence(terms: Terms, users: Ints, *, confidence: float, minus: Terms | None = None) -> Interval | None:
    """An interval that holds, asymptotically, however often the growing log was looked at before: wider than `asymptotic`.

    Waudby-Smith et al. 2021, theorem 2.2 (Robbins' normal mixture): value -+ s sqrt( 2 (n r^2 + 1) / (n r)^2 *
    log( sqrt(n r^2 + 1) / d ) ) for n users, s the deviation of a user's influence, d = 1 - confidence, r chosen so that it
    is tightest near n users. None where undefined.
    """
    miss = 1 - confidence
    mixed = -2 * np.log(miss) + np.log(-2 * np.log(miss)) + 1  # n r^2
    return _around(terms, users, minus, float(np.sqrt(2 * (mixed + 1) / mixed * np.log(np.sqrt(mixed + 1) / miss))))


def per_user(values: Floats, users: Ints) -> tuple[Floats, int]:
    """(U,) what each user adds to the mean of (R,) values, in order of the user numbers, and the most rows of a user.

    sum_{i in u} x_i * U / R: its mean over users is the mean over rows. How many rows users have is taken as given.
    """
    clusters = Clusters.of(users)
    rows = np.bincount(clusters.codes)
    return clusters.sums(values) * clusters.count / values.size, int(rows.max())


def empirical_bernstein(
    values: Floats, users: Ints, *, lowest: float, highest: float, confidence: float
) -> Interval | None:
    """An interval of the mean that holds in every finite sample, when values are known to lie in [lowest, highest].

    Maurer and Pontil 2009, theorem 4, both sides, on the users' sums x in [a, b]:
    mean -+ [ sqrt(2 var log(4/d) / U) + 7 (b - a) log(4/d) / (3 (U - 1)) ], d = 1 - confidence. Conservative: it covers more
    often than it promises. The range must be known beforehand (clipped IPS: 0 to clip times slots), not read off the data.
    None with fewer than two users.

    Raises:
        DataError: a value lies outside the range.
    """
    if values.min() < lowest - 1e-9 or values.max() > highest + 1e-9:
        raise DataError(
            "values outside their range", where="empirical_bernstein", fix="Give the range that they can have."
        )
    sums, most = per_user(values, users)
    count = sums.size
    if count < 2:
        return None
    scale = most * count / values.size
    spread = scale * (max(highest, 0.0) - min(lowest, 0.0))
    tail = np.log(4 / (1 - confidence))
    half = np.sqrt(2 * float(sums.var(ddof=1)) * tail / count) + 7 * spread * tail / (3 * (count - 1))
    return Interval(float(sums.mean() - half), float(sums.mean() + half))


def confidence_sequence(
    gains: Floats, losses: Floats, users: Ints, *, total: float, confidence: float
) -> tuple[Floats, Floats]:
    """Lower and upper ends for the mean of `gains` after each user, (U,) each: all of them hold at once.

    So the log may be looked at as often as one likes, and one may stop when one likes. Waudby-Smith et al. 2022
    (predictable plug-in empirical Bernstein, weights without a bound): with x_t >= 0 of mean m <= 1 and guesses g_t <= 1
    made beforehand, exp( sum l_t (x_t - m) - sum (x_t - g_t)^2 psi(l_t) ), psi(l) = -log(1 - l) - l, is a supermartingale, so

        m >= [ sum l_t x_t - log(2/d) - sum (x_t - g_t)^2 psi(l_t) ] / sum l_t        d = 1 - confidence

    The upper end comes from the same for `losses`, as mean(gains) + mean(losses) = total. Conservative.

    Args:
        gains: (R,) >= 0, e.g. sum_k w_k r_k of a slate; no bound on single values, its mean at most `total`.
        losses: (R,) >= 0, e.g. sum_k w_k (1 - r_k).
        users: (R,) in the order in which users came.
        total: the sum of both means, e.g. slots per slate; known, as the mean weight is 1.
        confidence: e.g. 0.95.
    """
    tail = np.log(2 / (1 - confidence))
    low, high = (total * _lower(per_user(values, users)[0] / total, tail) for values in (gains, losses))
    high = total - high
    return np.maximum.accumulate(np.maximum(low, 0.0)), np.minimum.accumulate(np.minimum(high, total))


def _lower(x: Floats, tail: float) -> Floats:
    """(U,) the lower end after each of x (U,), see `confidence_sequence`."""
    times = np.arange(1, x.size + 1)
    means = np.concatenate([[0.0], np.cumsum(x)[:-1]]) + 0.5
    guess = np.minimum(means / times, 1.0)  # half a click in one made-up row before the first
    spread = (0.25 + np.concatenate([[0.0], np.cumsum(np.square(x - guess))[:-1]])) / times
    bet = np.minimum(np.sqrt(2 * tail / (spread * times * np.log1p(times))), 0.5)
    price = np.square(x - guess) * (-np.log1p(-bet) - bet)
    return np.asarray((np.cumsum(bet * x) - tail - np.cumsum(price)) / np.cumsum(bet))


def _around(terms: Terms, users: Ints, minus: Terms | None, width: float) -> Interval | None:
    value, error = terms.value - (0.0 if minus is None else minus.value), standard_error(terms, users, minus=minus)
    known = np.isfinite(value) and np.isfinite(error)
    return Interval(value - width * error, value + width * error) if known else None
