"""Turns rows of users into bootstrap draws of figures that are no sums: AUC, normalised entropy, calibration error."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from contracts.seeds import stream
from evaluation.intervals import Clusters, Floats, Interval, Ints, percentile, resampled
from evaluation.metrics import checked, losses, reliability_curve

_CELLS = 4_000_000  # row weights held at once


def auc_draws(
    clicked: npt.ArrayLike, score: npt.ArrayLike, users: Ints, *, resamples: int, seed: int, name: str
) -> Floats:
    """(resamples,) AUC when whole users are drawn with replacement; NaN where a draw has clicks alone, or none.

    Exact: a row counts as often as its user was drawn, pairs of rows as often as both.
    """
    y, s = checked(clicked, score)
    order = np.argsort(s, kind="stable")
    starts = np.flatnonzero(np.concatenate(([True], np.diff(s[order]) != 0)))
    clusters = Clusters.of(users)
    of, won = clusters.codes[order], y[order]
    rng = stream(seed, "evaluation", "bootstrap", name)
    found = np.empty(resamples)
    batch = max(1, _CELLS // y.size)
    for first in range(0, resamples, batch):
        size = min(batch, resamples - first)
        counts = np.stack([np.bincount(rng.integers(clusters.count, size=clusters.count), minlength=clusters.count) for _ in range(size)])  # fmt: skip
        weights = counts[:, of].astype(np.float64)
        positive = np.add.reduceat(weights * won, starts, axis=1)
        negative = np.add.reduceat(weights * (1 - won), starts, axis=1)
        below = np.cumsum(negative, axis=1) - negative / 2
        pairs = positive.sum(axis=1) * negative.sum(axis=1)
        found[first : first + size] = np.divide(
            (positive * below).sum(axis=1), pairs, out=np.full(size, np.nan), where=pairs > 0
        )
    return found


def entropy_draws(
    clicked: npt.ArrayLike, chance: npt.ArrayLike, users: Ints, *, resamples: int, seed: int, name: str
) -> tuple[Floats, Floats]:
    """(resamples,) log loss and normalised entropy; the latter NaN where a draw has clicks alone, or none."""
    y, loss = np.asarray(clicked, dtype=np.float64), losses(clicked, chance)
    clusters = Clusters.of(users)
    sums = np.stack([clusters.sums(column) for column in (loss, y, np.ones_like(y))], axis=1)
    totals = resampled(sums, resamples=resamples, seed=seed, name=name)
    mean, rate = totals[:, 0] / totals[:, 2], totals[:, 1] / totals[:, 2]
    with np.errstate(divide="ignore", invalid="ignore"):
        own = -(rate * np.log(rate) + (1 - rate) * np.log1p(-rate))
        return mean, np.where((rate > 0) & (rate < 1), mean / own, np.nan)


def calibration_draws(
    clicked: npt.ArrayLike, chance: npt.ArrayLike, users: Ints, *, bins: int, resamples: int, seed: int, name: str
) -> Floats:
    """(resamples,) expected calibration error, bins as on all rows. Each draw adds noise to every bin, so draws lie above the
    figure itself: take `basic`, not the percentile interval."""
    curve = reliability_curve(clicked, chance, bins)
    gap = np.asarray(chance, dtype=np.float64) - np.asarray(clicked, dtype=np.float64)
    clusters = Clusters.of(users)
    columns = [clusters.sums(gap * (curve.bin_of_row == number)) for number in range(curve.rows.size)]
    totals = resampled(
        np.stack([*columns, clusters.sums(np.ones_like(gap))], axis=1), resamples=resamples, seed=seed, name=name
    )
    return np.asarray(np.abs(totals[:, :-1]).sum(axis=1) / totals[:, -1])


def basic(
    value: float, draws: Floats, confidence: float, *, lowest: float = -np.inf, highest: float = np.inf
) -> Interval | None:
    """The basic bootstrap interval, the percentile one mirrored at the value (Davison and Hinkley 1997, section 5.2), inside
    [lowest, highest]: for figures that resampling itself pushes up or down."""
    ends = percentile(draws, confidence)
    if ends is None:
        return None
    low, high = (float(np.clip(2 * value - end, lowest, highest)) for end in (ends.high, ends.low))
    return Interval(low, high)
