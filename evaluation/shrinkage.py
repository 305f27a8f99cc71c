"""Turns clicks and impressions of creatives into click rates that few impressions do not fool, and how many would do."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize
from scipy.special import betaln
from scipy.stats import beta, chi2

from contracts.errors import DataError
from evaluation.intervals import Floats


@dataclass(frozen=True, slots=True)
class ClickRates:
    """Empirical-Bayes click rates of C creatives.

    Attributes:
        prior: mean click rate and strength of the Beta prior, in impressions; strength is infinite when the creatives
            differ no more than chance makes them differ.
        rate: (C,) posterior mean, between the creative's own rate and the prior's mean.
        low, high: (C,) posterior interval.
        reliability: (C,) n / (n + strength): share of the variance of observed rates that is the creatives' own.
        spread: standard deviation of true rates between creatives.
        p: of no difference between creatives, by the likelihood ratio on the boundary.
    """

    prior: tuple[float, float]
    rate: Floats
    low: Floats
    high: Floats
    reliability: Floats
    spread: float
    p: float

    def impressions_for(self, reliability: float) -> float:
        """Impressions n at which n / (n + strength) is `reliability`; infinite when creatives do not differ."""
        return reliability / (1 - reliability) * self.prior[1]


def click_rates(clicks: npt.ArrayLike, impressions: npt.ArrayLike, *, confidence: float = 0.95) -> ClickRates:
    """Beta-binomial click rates, the prior by maximum likelihood over all creatives (Casella 1985; Efron 2010, ch. 1).

        rate = (clicks + m s) / (impressions + s),   prior Beta(m s, (1 - m) s)

    Args:
        clicks: (C,) whole numbers from 0 to impressions.
        impressions: (C,) whole numbers above 0.
        confidence: of the posterior intervals.

    Raises:
        DataError: fewer than two creatives, no clicks at all, or counts that cannot be.
    """
    k, n = np.asarray(clicks, dtype=np.float64), np.asarray(impressions, dtype=np.float64)
    if k.size < 2:
        raise DataError("fewer than two creatives", where="creatives", fix="Give the clicks of several creatives.")
    if not np.isfinite(k + n).all() or (n < 1).any() or (k < 0).any() or (k > n).any():
        raise DataError("clicks are not between 0 and impressions", where="creatives", fix="Mend the counts.")
    if not 0 < k.sum() < n.sum():
        raise DataError("one class only: no click, or nothing but clicks", where="creatives", fix="Wait for clicks.")
    mean, strength, gain = _prior(k, n)
    p = 0.5 * float(chi2.sf(max(2 * gain, 0.0), 1)) if gain > 0 else 1.0
    if math.isinf(strength):
        flat = np.full(k.size, mean)
        return ClickRates((mean, strength), flat, flat, flat, np.zeros(k.size), 0.0, p)
    a, b = mean * strength + k, (1 - mean) * strength + n - k
    tail = (1 - confidence) / 2
    return ClickRates(
        prior=(mean, strength),
        rate=a / (a + b),
        low=beta.ppf(tail, a, b),
        high=beta.isf(tail, a, b),
        reliability=n / (n + strength),
        spread=math.sqrt(mean * (1 - mean) / (strength + 1)),
        p=p,
    )


def _prior(k: Floats, n: Floats) -> tuple[float, float, float]:
    """Mean and strength by maximum likelihood, and the log likelihood gained over creatives that are all alike."""
    pooled = float(k.sum() / n.sum())
    alike = float((k * math.log(pooled) + (n - k) * math.log1p(-pooled)).sum())

    def loss(at: Floats) -> float:
        mean, strength = 1 / (1 + math.exp(-at[0])), math.exp(at[1])
        a, b = mean * strength, (1 - mean) * strength
        return -float((betaln(k + a, n - k + b) - betaln(a, b)).sum()) + alike

    top = math.log(1e4 * float(n.sum()))
    starts = [math.log(size) for size in (30.0, 1e3, 3e4)]
    bounds = [(-18.0, 18.0), (math.log(0.1), top)]
    tried = [minimize(loss, [math.log(pooled / (1 - pooled)), s], method="L-BFGS-B", bounds=bounds) for s in starts]
    best = min(tried, key=lambda one: float(one.fun))
    if -best.fun <= 1e-6 or best.x[1] > math.log(100 * float(n.max())):
        return pooled, math.inf, 0.0
    return 1 / (1 + math.exp(-float(best.x[0]))), math.exp(float(best.x[1])), -float(best.fun)
