"""Turns outcomes by day since assignment into the effect of each day, and whether it wears off or grows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.stats import norm

from evaluation.effects import Ints, z_of
from evaluation.experiment import Experiment
from evaluation.intervals import Floats, Interval

_DAY = 86_400_000_000  # microseconds
_LEAST_SHARE = 0.5  # of the users must have been watched for all the days shown


@dataclass(frozen=True, slots=True)
class ExposureCurve:
    """The effect by whole days since assignment, of users who were watched for all of them.

    Attributes:
        users: so many users.
        difference: (D,) treatment - control on day 0, 1, ...
        half_width: (D,).
        slope: change of the difference a day, least squares over the days.
        slope_interval: clustered by user, as are the days' covariances.
        slope_p: that there is none.
    """

    users: int
    difference: Floats
    half_width: Floats
    slope: float
    slope_interval: Interval
    slope_p: float


def exposure_curve(
    data: Experiment, metric: int, treatment: int, *, days: int, confidence: float
) -> ExposureCurve | str:
    """The curve of one metric and arm; or a clause that says why there is none.

    Only users with `days` whole days between assignment and the end of the table are used, so that every day is of the
    same people; `days` is cut until at least half of all users have been watched so long. A ratio is divided by the mean
    denominator of the day and arm. The slope's variance is c' S c with S the covariance of the days' differences over
    users, since one user is in all days.
    """
    if data.daily is None or data.assigned is None or data.ends is None:
        return "outcomes have no time of their own, or users no time of assignment"
    if data.metrics[metric].absent is not None:
        return str(data.metrics[metric].absent)
    watched = (data.ends - data.assigned) // _DAY
    usual = int(np.quantile(watched, 1 - _LEAST_SHARE))
    days = min(days, usual)
    if days < 2:
        return "half of the users were watched for less than 2 whole days"
    pair = (data.arm == 0) | (data.arm == treatment)
    used = pair & (watched >= days) & data.metrics[metric].known
    place = np.full(data.arm.size, -1, dtype=np.int64)
    place[used] = np.arange(int(used.sum()))
    treated = data.arm[used] == treatment
    if min(treated.sum(), (~treated).sum()) < 2:
        return "too few users were watched for so long"
    above, below = (_matrix(data, part, place, days) for part in data.metrics[metric].columns)
    means, covariance = [], []
    assert above is not None  # a metric has a numerator
    for group in (~treated, treated):
        own = above[group]  # (n, D)
        if below is not None:
            with np.errstate(divide="ignore", invalid="ignore"):
                ratio = own.sum(axis=0) / below[group].sum(axis=0)
                own = ratio + (own - ratio * below[group]) / below[group].mean(axis=0)
            if not np.isfinite(own).all():
                return "a day has no denominator in one of the arms"
        means.append(own.mean(axis=0))
        covariance.append(np.atleast_2d(np.cov(own, rowvar=False)) / own.shape[0])
    gap, joint = means[1] - means[0], covariance[0] + covariance[1]
    centred = np.arange(days) - (days - 1) / 2
    weights = centred / (centred**2).sum()
    slope, error, reach = float(weights @ gap), float(np.sqrt(weights @ joint @ weights)), z_of(confidence)
    p = float(2 * norm.sf(abs(slope) / error)) if error > 0 else 1.0
    band = Interval(slope - reach * error, slope + reach * error)
    return ExposureCurve(int(used.sum()), gap, reach * np.sqrt(np.diag(joint)), slope, band, p)


def _matrix(data: Experiment, column: str | None, place: Ints, days: int) -> Floats | None:
    """(n, days) the column by user, in their `place`, and day; 0 where there is no row."""
    if column is None or data.daily is None:
        return None
    user, day = data.daily["user"].to_numpy(), data.daily["day"].to_numpy()
    held = (day < days) & (place[user] >= 0)
    made = np.zeros((int(place.max()) + 1, days))
    made[place[user[held]], day[held]] = data.daily[column].fill_null(0.0).to_numpy()[held]
    return made
