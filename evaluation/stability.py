"""Turns a number's distribution in two runs into its population stability index, and whether that is more than noise.

    PSI = sum over bins of (q - p) ln(q / p)

p and q are the shares of the run before and of this one in ten bins, whose edges are deciles of the run before, one more for
missing values and one for every value that a tenth have; half a unit is added to every bin, so that an empty one is no infinity. Without a shift the PSI
of n and m independent units in B bins is distributed as (1/n + 1/m) times chi-square with B - 1 degrees of freedom
(Yurdakul, Statistical properties of the population stability index, 2018). Rows of one user are not independent, so
units are users.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.stats import chi2, norm

Floats = npt.NDArray[np.float64]
BINS = 10


@dataclass(frozen=True)
class Profile:
    """A number's distribution: inner edges of the bins, ascending; share of each bin, missing values last; units."""

    edges: tuple[float, ...]
    shares: tuple[float, ...]
    units: int


@dataclass(frozen=True)
class Shift:
    """How far a number has moved.

    Attributes:
        psi: population stability index; 0 is the same.
        ks: largest difference of the distribution functions at the edges, 0 to 1 (Kolmogorov-Smirnov).
        noise: PSI that chance alone exceeds once in `1 / (1 - confidence)`.
        moved: psi lies above the threshold and above the noise.
    """

    psi: float
    ks: float
    noise: float
    moved: bool


def profile(values: Floats, units: int, edges: tuple[float, ...] | None = None) -> Profile:
    """The distribution of values.

    Args:
        values: (N,) with NaN where missing; N at least 1.
        units: how many of them are independent: users.
        edges: of the bins; None: deciles of the values themselves.
    """
    known = values[~np.isnan(values)]
    if edges is None:
        edges = _edges(known)
    counts = np.bincount(np.searchsorted(np.array(edges), known, side="right"), minlength=len(edges) + 1)
    shares = np.append(counts, len(values) - len(known)) / max(len(values), 1)
    return Profile(edges, tuple(float(share) for share in shares), units)


def _edges(known: Floats) -> tuple[float, ...]:
    """Deciles; a value that a tenth of all have, or more, gets a bin of its own."""
    if not len(known):
        return ()
    at = np.unique(np.quantile(known, np.arange(1, BINS) / BINS, method="inverted_cdf"))
    often = [edge for edge in at if (known == edge).mean() >= 1 / BINS]
    return tuple(float(edge) for edge in np.unique([*at, *np.nextafter(often, np.inf)]))


def shift(before: Profile, now: Profile, *, threshold: float, confidence: float) -> Shift:
    """How far `now`, by the edges of `before`, has moved from it. Raises ValueError when the edges differ."""
    if before.edges != now.edges:
        raise ValueError("both need the same bins")
    p, q = np.array(before.shares), np.array(now.shares)
    bins, smooth = len(p), 0.5
    p_ = (p * before.units + smooth) / (before.units + smooth * bins)
    q_ = (q * now.units + smooth) / (now.units + smooth * bins)
    psi = float(((q_ - p_) * np.log(q_ / p_)).sum())
    ks = float(np.abs(np.cumsum(p) - np.cumsum(q)).max())
    used = max(int(((p > 0) | (q > 0)).sum()) - 1, 1)
    noise = float(chi2.ppf(confidence, used) * (1 / max(before.units, 1) + 1 / max(now.units, 1)))
    return Shift(psi, ks, noise, psi > max(threshold, noise))


@dataclass(frozen=True)
class Ratio:
    """Clicks over predicted clicks and its standard error, users resampled in the limit (linearised)."""

    value: float
    error: float


def calibration_ratio(clicked: Floats, predicted: Floats, users: npt.NDArray[np.int64]) -> Ratio:
    """Clicks over predicted clicks; all (N,), users as numbers from 0."""
    total = float(predicted.sum())
    value = float(clicked.sum()) / total
    by_user = np.bincount(users, weights=clicked - value * predicted)
    return Ratio(value, float(np.sqrt((by_user**2).sum())) / total)


def ratio_moved(before: Ratio, now: Ratio, *, threshold: float, confidence: float) -> bool:
    """Whether the ratio has changed by more than a share of itself, and beyond noise (two-sided z of the logarithms)."""
    if min(before.value, now.value) <= 0:
        return False
    change = np.log(now.value / before.value)
    error = np.hypot(before.error / before.value, now.error / now.value)
    return bool(abs(change) > max(np.log1p(threshold), norm.ppf((1 + confidence) / 2) * error))


def rate_moved(before: tuple[int, int], now: tuple[int, int], *, threshold: float, confidence: float) -> bool:
    """Whether a rate, (successes, trials), has changed by more than a threshold and beyond noise (pooled two-sample z)."""
    (x, n), (y, m) = before, now
    if not n or not m:
        return False
    pooled = (x + y) / (n + m)
    error = np.sqrt(pooled * (1 - pooled) * (1 / n + 1 / m))
    return bool(abs(y / m - x / n) > max(threshold, norm.ppf((1 + confidence) / 2) * error))
