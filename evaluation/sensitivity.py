"""Turns what an estimate assumes into how far it hangs on it: clipping, agreement of estimators, hidden confounding."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from evaluation.bounds import standard_error
from evaluation.estimators import clipped_ips
from evaluation.intervals import Floats, Interval, Ints, Terms
from evaluation.logs import LoggedSlates

GAMMAS = (1.0, 1.1, 1.25, 1.5, 2.0, 3.0)


@dataclass(frozen=True, slots=True)
class Clipped:
    """IPS with weights cut off at `clip`.

    Attributes:
        clip: largest weight.
        value: clicks per slate.
        standard_error: user-clustered.
        weight_removed: share of the sum of weights that the cut takes away, in [0, 1].
        slates: with a weight that was cut.
    """

    clip: float
    value: float
    standard_error: float
    weight_removed: float
    slates: int


@dataclass(frozen=True, slots=True)
class Confounded:
    """Ends of the SNIPS value when the odds of each true propensity are within a factor `gamma` of the given one."""

    gamma: float
    low: float
    high: float


def clip_curve(log: LoggedSlates, clips: Floats) -> tuple[Clipped, ...]:
    """Clipped IPS at each of the clips (C,): a value that falls all the way hangs on its largest weights.

    DataError without propensities.
    """
    weights = log.weights()
    total = float(weights.sum())
    found = []
    for clip in clips:
        terms, over = clipped_ips(log, float(clip)), weights > clip
        removed = float((weights[over] - clip).sum()) / total if total > 0 and over.any() else 0.0
        error = standard_error(terms, log.users)
        found.append(Clipped(float(clip), terms.value, error, removed, int(over.any(axis=1).sum())))
    return tuple(found)


def disagreement(statistics: Mapping[str, Terms], users: Ints, primary: str) -> tuple[str, float] | None:
    """The statistic furthest from the primary one and how far, in standard errors of their paired difference.

    All of them must estimate the same number. None where there is no other, or no difference is known.
    """
    found = []
    for name, terms in statistics.items():
        error = standard_error(terms, users, minus=statistics[primary])
        gap = abs(terms.value - statistics[primary].value)
        if name != primary and np.isfinite(gap) and error > 1e-12:
            found.append((gap / error, name))
    return (max(found)[1], float(max(found)[0])) if found else None


def confounding(log: LoggedSlates, gamma: float) -> Confounded:
    """Ends of SNIPS under the marginal sensitivity model: odds of the true propensity p* within [1/gamma, gamma] of those of p.

    Tan 2006; Zhao, Small and Bhattacharya 2019: 1/p* lies in [1 + (1/p - 1)/gamma, 1 + (1/p - 1) gamma], and each slot's
    self-normalised mean is greatest when weights take the upper end for outcomes above a threshold and the lower end below
    it. Outcomes are clicks, so the threshold lies between 0 and 1. Sharp slot by slot; DataError without propensities.
    """
    if log.propensity is None or log.target_propensity is None:
        log.ratios()  # says what is missing
    assert log.propensity is not None
    assert log.target_propensity is not None
    odds = np.where(log.present, 1 / np.where(log.present, log.propensity, 1.0) - 1, 0.0)
    least, most = (log.cumulated(log.target_propensity * (1 + odds * factor)) for factor in (1 / gamma, gamma))
    ends = []
    for clicked, unclicked in ((least, most), (most, least)):
        above = (clicked * log.clicked).sum(axis=0)
        below = above + (unclicked * (1 - log.clicked)).sum(axis=0)
        share = np.divide(above, below, out=np.full(above.shape, np.nan), where=below > 0)
        ends.append(float((share * log.present.mean(axis=0)).sum()))
    return Confounded(gamma, *ends)


def tipping_gamma(log: LoggedSlates, logged: float) -> float | None:
    """The smallest gamma at which the bounds of `confounding` contain the logged value: so little hidden confounding undoes
    the sign of the gain. To 1 %; None: more than 10, or no value. DataError without propensities."""

    def undone(gamma: float) -> bool:
        found = confounding(log, gamma)
        return logged in Interval(found.low, found.high)

    if not undone(10.0):
        return None
    low, high = 1.0, 10.0
    if undone(low):
        return low
    while high / low > 1.01:
        middle = float(np.sqrt(low * high))
        low, high = (low, middle) if undone(middle) else (middle, high)
    return high
