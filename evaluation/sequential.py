"""Turns differences watched over time into p-values and intervals that hold at every look."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from evaluation.intervals import Floats

UNPLANNED_USERS = 20_000
"""Users that the mixture is tuned for when none were planned: fixed, so that it cannot follow the data."""
FIRST_LOOK = 100
"""Users an arm needs before a look counts, since the intervals rest on the central limit theorem."""


@dataclass(frozen=True, slots=True)
class Path:
    """A difference at L looks, in order of assignment.

    Attributes:
        users: (L,) users in both arms.
        difference: (L,) treatment - control.
        half_width: (L,) of the always-valid interval.
        fixed_half_width: (L,) of the interval that holds at one look only.
        p: (L,) always-valid, so it never rises.
    """

    users: npt.NDArray[np.int64]
    difference: Floats
    half_width: Floats
    fixed_half_width: Floats
    p: Floats


def mixing_variance(variance: float, alpha: float) -> float:
    """tau^2 of the normal mixture that is tightest where the difference's variance is `variance`.

        tau^2 = variance * (-2 log alpha + log(-2 log alpha) + 1)

    Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas 2021, eq. 10 (rho^2 t* there). To be chosen before looking.
    """
    logs = -2 * np.log(alpha)
    return float(variance * (logs + np.log(logs) + 1))


def half_width(variance: npt.ArrayLike, mixing: npt.ArrayLike, alpha: float) -> Floats:
    """Half-width of the always-valid interval of a difference whose sampling variance is `variance`.

        sqrt( 2 V (V + tau^2) / tau^2 * log( sqrt((V + tau^2) / V) / alpha ) )

    The asymptotic confidence sequence of Waudby-Smith et al. 2021 (theorem 2.2), which is the inverted mSPRT of Johari,
    Koomen, Pekelis and Walsh 2017 with a normal mixture: with probability 1 - alpha it holds the truth at every look.
    """
    v, tau2 = np.asarray(variance, dtype=np.float64), np.asarray(mixing, dtype=np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        square = 2 * v * (v + tau2) / tau2 * (0.5 * np.log((v + tau2) / v) - np.log(alpha))
    return np.asarray(np.sqrt(np.where(v > 0, square, np.inf)), dtype=np.float64)


def always_valid_p(difference: npt.ArrayLike, variance: npt.ArrayLike, mixing: npt.ArrayLike) -> Floats:
    """min(1, 1 / Lambda) of one look, Lambda the mixture likelihood ratio (Johari et al. 2017, eq. 11 and 12).

        Lambda = sqrt(V / (V + tau^2)) exp( tau^2 d^2 / (2 V (V + tau^2)) )

    A running minimum over looks is valid too, and may stop the experiment at any of them.
    """
    d, v = np.asarray(difference, dtype=np.float64), np.asarray(variance, dtype=np.float64)
    tau2 = np.asarray(mixing, dtype=np.float64)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        log_ratio = 0.5 * np.log(v / (v + tau2)) + tau2 * d**2 / (2 * v * (v + tau2))
    return np.asarray(np.exp(-np.maximum(np.where(v > 0, log_ratio, 0.0), 0.0)), dtype=np.float64)


def differences(counts: Floats, sums: Floats, squares: Floats) -> tuple[Floats, Floats]:
    """Difference of means and its sampling variance from running totals, each (..., 2, L) with control first."""
    with np.errstate(divide="ignore", invalid="ignore"):
        means = sums / counts
        spread = np.maximum(squares - counts * means**2, 0.0) / (counts - 1)
        variance = (spread / counts).sum(axis=-2)
    return means[..., 1, :] - means[..., 0, :], variance


def watched(
    values: Floats, treated: npt.NDArray[np.bool_], order: npt.NDArray[np.int64], *, planned: int, alpha: float,
    critical: float, looks: int = 200,
) -> Path:  # fmt: skip
    """The difference as it would have been seen at up to `looks` equally spaced moments.

    Args:
        values: (N,) outcomes, adjusted or not.
        treated: (N,).
        order: (N,) indices in order of assignment.
        planned: users the mixture is tuned for.
        alpha: level.
        critical: normal quantile of the fixed interval.
    """
    arms = np.stack([~treated[order], treated[order]]).astype(np.float64)
    z = values[order] - values.mean()
    ends = np.unique(np.linspace(0, order.size - 1, looks + 1).astype(np.int64)[1:])
    totals = [np.cumsum(arms * power, axis=1)[:, ends] for power in (1.0, z, z * z)]
    difference, variance = differences(*totals)
    seen = totals[0].min(axis=0) >= min(FIRST_LOOK, totals[0][:, -1].min())
    mixing = mixing_variance(float(variance[-1]) * order.size / planned, alpha)
    p = np.minimum.accumulate(np.where(seen, always_valid_p(difference, variance, mixing), 1.0))
    return Path(
        users=(ends + 1)[seen],
        difference=difference[seen],
        half_width=half_width(variance, mixing, alpha)[seen],
        fixed_half_width=critical * np.sqrt(variance[seen]),
        p=p[seen],
    )
