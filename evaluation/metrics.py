"""Turns predictions and clicks into figures over all rows: AUC, log loss, normalised entropy, calibration error."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from contracts.errors import DataError

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class ReliabilityCurve:
    """Predicted against observed click rate in bins of equal mass.

    Attributes:
        bin_of_row: (N,) number of each row's bin, 0 to B-1.
        predicted: (B,) mean prediction in the bin.
        observed: (B,) share of clicks in the bin.
        rows: (B,) rows in the bin.
    """

    bin_of_row: Ints
    predicted: Floats
    observed: Floats
    rows: Ints


def auc(clicked: npt.ArrayLike, score: npt.ArrayLike) -> float:
    """Area under the ROC curve: the chance that a clicked row is scored above an unclicked one, a tie counting half.

    Mann and Whitney 1947, from mid-ranks. Equal to scikit-learn's `roc_auc_score`.

    Args:
        clicked: (N,) 0 or 1.
        score: (N,) any finite numbers.

    Returns:
        A number in [0, 1]; NaN when all rows or none are clicked.
    """
    y, s = checked(clicked, score)
    positives = float(y.sum())
    negatives = float(y.size) - positives
    if positives == 0 or negatives == 0:
        return float("nan")
    rank_sum = float(midranks(s)[y == 1].sum())
    return (rank_sum - positives * (positives + 1) / 2) / (positives * negatives)


def log_loss(clicked: npt.ArrayLike, chance: npt.ArrayLike) -> float:
    """Mean of -log(chance of what happened), in nats; chances are kept 2e-16 away from 0 and 1, as in scikit-learn."""
    return float(losses(clicked, chance).mean())


def losses(clicked: npt.ArrayLike, chance: npt.ArrayLike) -> Floats:
    """(N,) -log(chance of what happened) of each row, see `log_loss`."""
    y, p = _checked_chances(clicked, chance)
    small = np.finfo(np.float64).eps
    p = np.clip(p, small, 1 - small)
    return np.asarray(-(y * np.log(p) + (1 - y) * np.log1p(-p)))


def normalised_entropy(clicked: npt.ArrayLike, chance: npt.ArrayLike) -> float:
    """Log loss divided by the entropy of the click rate: 1 is no better than always saying the mean, 0 is perfect.

    He et al. 2014, "Practical Lessons from Predicting Clicks on Ads at Facebook", equation 1. NaN when all rows or none
    are clicked.
    """
    y, p = _checked_chances(clicked, chance)
    rate = float(y.mean())
    if rate in (0.0, 1.0):
        return float("nan")
    return log_loss(y, p) / float(-(rate * np.log(rate) + (1 - rate) * np.log1p(-rate)))


def reliability_curve(clicked: npt.ArrayLike, chance: npt.ArrayLike, bins: int = 10) -> ReliabilityCurve:
    """Observed against predicted click rate in `bins` bins of (almost) equal mass.

    A row's bin comes from the mid-rank of its prediction, so equal predictions are never torn apart and the order of
    rows does not matter; with many ties there are fewer bins than asked for. Without ties it is equal to scikit-learn's
    `calibration_curve(strategy="quantile")`.
    """
    y, p = _checked_chances(clicked, chance)
    wanted = np.minimum(((midranks(p) - 0.5) / y.size * bins).astype(np.int64), bins - 1)
    _, bin_of_row = np.unique(wanted, return_inverse=True)
    rows = np.bincount(bin_of_row)
    predicted = np.bincount(bin_of_row, weights=p) / rows
    observed = np.bincount(bin_of_row, weights=y) / rows
    return ReliabilityCurve(bin_of_row.astype(np.int64), predicted, observed, rows.astype(np.int64))


def expected_calibration_error(clicked: npt.ArrayLike, chance: npt.ArrayLike, bins: int = 10) -> float:
    """Mean distance between predicted and observed click rate over equal-mass bins, weighted by their rows; in [0, 1].

    Naeini et al. 2015 with the equal-mass bins of Nixon et al. 2019.
    """
    curve = reliability_curve(clicked, chance, bins)
    return float(np.average(np.abs(curve.predicted - curve.observed), weights=curve.rows))


def midranks(values: Floats) -> Floats:
    """(N,) ranks from 1; equal values share the mean of their ranks."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return np.asarray((last - (counts - 1) / 2.0)[inverse], dtype=np.float64)


def checked(clicked: npt.ArrayLike, score: npt.ArrayLike) -> tuple[Floats, Floats]:
    """Both as numbers. DataError: lengths that differ, no rows, clicks other than 0 and 1, scores that are not finite."""
    y, s = np.asarray(clicked, dtype=np.float64), np.asarray(score, dtype=np.float64)
    if y.ndim != 1 or y.shape != s.shape or y.size == 0:
        raise DataError(
            f"clicks of shape {y.shape} and predictions of shape {s.shape}",
            where="metrics",
            fix="Give two vectors of the same length, at least one row.",
        )
    if not np.isin(y, (0.0, 1.0)).all():
        raise DataError("clicks other than 0 and 1", where="metrics", fix="Give true or false.")
    if not np.isfinite(s).all():
        raise DataError("predictions that are not finite", where="metrics", fix="Leave rows without a prediction out.")
    return y, s


def _checked_chances(clicked: npt.ArrayLike, chance: npt.ArrayLike) -> tuple[Floats, Floats]:
    y, p = checked(clicked, chance)
    if p.min() < 0 or p.max() > 1:
        raise DataError("click chances outside 0 to 1", where="metrics", fix="Calibrate the scores first.")
    return y, p
