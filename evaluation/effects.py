"""Turns outcomes by arm into differences and lifts with delta-method intervals, adjusted for covariates or not."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.stats import norm, t

from evaluation.intervals import Floats, Interval

Ints = npt.NDArray[np.int64]
_FLAT = 1e-9  # directions of the covariates with a smaller share of the variance are left out


@dataclass(frozen=True, slots=True)
class ArmMeans:
    """Means of A arms with their joint sampling covariance.

    Attributes:
        means: (A,).
        covariance: (A, A) of the means.
        residual: (A,) variance of one user's (adjusted) value.
        counts: (A,) users.
        spent: degrees of freedom spent in each arm, 1 + covariates.
    """

    means: Floats
    covariance: Floats
    residual: Floats
    counts: Ints
    spent: int


@dataclass(frozen=True, slots=True)
class Effect:
    """One arm against another.

    Attributes:
        control, treatment: the arms' means or ratios, adjusted if covariates were given.
        difference: treatment - control.
        standard_error: of the difference; 0 when neither arm varies.
        interval: of the difference, Welch's t.
        p: two-sided, of no difference.
        lift: difference / control; None when control's mean is 0.
        lift_interval: by the delta method; None likewise.
    """

    control: float
    treatment: float
    difference: float
    standard_error: float
    interval: Interval
    p: float
    lift: float | None
    lift_interval: Interval | None


def linearised(above: Floats, below: Floats | None, arm: Ints, arms: int) -> Floats:
    """(N,) values whose mean in an arm is the arm's mean, or its ratio R = sum(above) / sum(below).

    For a ratio  z_i = R + (above_i - R below_i) / mean(below), with R and the mean of the user's arm: the mean of z is R,
    and its variance that of the delta method (Deng, Knoblich and Lu 2018, eq. 4). Users, not rows, are independent.
    """
    if below is None:
        return above
    totals = np.bincount(arm, weights=above, minlength=arms), np.bincount(arm, weights=below, minlength=arms)
    counts = np.bincount(arm, minlength=arms)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio, mean = totals[0] / totals[1], totals[1] / counts
        return np.asarray(ratio[arm] + (above - ratio[arm] * below) / mean[arm], dtype=np.float64)


def arm_means(values: Floats, arm: Ints, arms: int, covariates: Floats | None = None) -> ArmMeans:
    """Means of `values` by arm; with covariates those of a regression in each arm, at the mean of all users.

        m_a = mean_a(z) - b_a' (mean_a(x) - mean(x)),   b_a: least squares of z on x within arm a

    Lin 2013: never less precise than the plain mean in large samples, whatever the true relation; with one covariate, the
    pre-experiment outcome, it is CUPED (Deng et al. 2013) with a slope for each arm. The covariance holds what the
    residuals and the mean of x add (Negi and Wooldridge 2021), so it speaks of the population the users come from.

    Args:
        values: (N,).
        arm: (N,) in 0 .. arms - 1; each arm has at least 2 users.
        arms: A.
        covariates: (N, P), or None. Directions that do not vary are left out.
    """
    counts = np.bincount(arm, minlength=arms).astype(np.int64)
    x = np.zeros((values.size, 0)) if covariates is None else _directions(covariates)
    if x.shape[1] and counts.min() <= 2 * (x.shape[1] + 1):
        x = x[:, : max(0, int(counts.min()) // 2 - 2)]
    means, residual, slopes = np.zeros(arms), np.zeros(arms), np.zeros((arms, x.shape[1]))
    for place in range(arms):
        own, xs = values[arm == place], x[arm == place]
        centre = own.mean()
        z, xc = own - centre, xs - xs.mean(axis=0)
        if x.shape[1]:
            slopes[place] = np.linalg.lstsq(xc.T @ xc, xc.T @ z, rcond=None)[0]
        left = z - xc @ slopes[place]
        residual[place] = float(left @ left) / (counts[place] - 1 - x.shape[1])
        means[place] = centre - float(xs.mean(axis=0) @ slopes[place])
    shared = slopes @ slopes.T / values.size  # the directions have mean 0, variance 1 and no correlation
    return ArmMeans(means, np.diag(residual / counts) + shared, residual, counts, 1 + x.shape[1])


def contrast(found: ArmMeans, treatment: int, control: int = 0, *, confidence: float = 0.95) -> Effect:
    """Treatment against control: Welch's t for the difference (Welch 1947), the delta method for the lift.

    var(m_t / m_c) = (v_t - 2 r c + r^2 v_c) / m_c^2,   r = m_t / m_c, c the covariance of the two means
    """
    m_t, m_c = float(found.means[treatment]), float(found.means[control])
    v_t, v_c = found.covariance[treatment, treatment], found.covariance[control, control]
    both = float(found.covariance[treatment, control])
    error = float(np.sqrt(max(v_t + v_c - 2 * both, 0.0)))
    own = found.residual[[treatment, control]] / found.counts[[treatment, control]]
    spare = np.maximum(found.counts[[treatment, control]] - found.spent, 1)
    freedom = float(own.sum() ** 2 / (own**2 / spare).sum()) if own.sum() > 0 else float(spare.sum())
    reach = float(t.ppf((1 + confidence) / 2, freedom))
    gap = m_t - m_c
    p = float(2 * t.sf(abs(gap) / error, freedom)) if error > 0 else float(gap == 0)
    lift, lift_interval = None, None
    if m_c != 0:
        lift = gap / m_c
        ratio = m_t / m_c
        spread = reach * float(np.sqrt(max(v_t - 2 * ratio * both + ratio**2 * v_c, 0.0))) / abs(m_c)
        lift_interval = Interval(lift - spread, lift + spread)
    return Effect(m_c, m_t, gap, error, Interval(gap - reach * error, gap + reach * error), p, lift, lift_interval)


def variance_cut(plain: Effect, adjusted: Effect) -> float:
    """Share of the difference's variance that adjustment took away, below 0 when it added some; 0.5 halves the users needed."""
    return 1 - (adjusted.standard_error / plain.standard_error) ** 2 if plain.standard_error > 0 else 0.0


def pooled_residual(values: Floats, arm: Ints, arms: int, covariates: Floats) -> Floats:
    """(N,) values less what covariates tell, with one slope for all arms: the original CUPED, used user by user."""
    x = _directions(covariates)
    if not x.shape[1]:
        return values
    means = np.bincount(arm, weights=values, minlength=arms) / np.bincount(arm, minlength=arms)
    slopes = x.T @ (values - means[arm]) / values.size
    return np.asarray(values - x @ slopes, dtype=np.float64)


def z_of(confidence: float) -> float:
    """The two-sided normal quantile."""
    return float(norm.ppf((1 + confidence) / 2))


def _directions(covariates: Floats) -> Floats:
    """(N, Q) uncorrelated combinations of the covariates with mean 0 and variance 1; Q <= P, those that vary."""
    mean = covariates.mean(axis=0)
    centred = covariates - mean
    joint = centred.T @ centred / max(covariates.shape[0], 1)
    spread = np.sqrt(np.diag(joint))
    varies = spread > 1e-12 * np.abs(mean)  # what is left of a constant is rounding
    if not varies.any():
        return np.zeros((covariates.shape[0], 0))
    scale = np.where(varies, spread, 1.0)
    sizes, vectors = np.linalg.eigh((joint / np.outer(scale, scale))[np.ix_(varies, varies)])
    kept = sizes > _FLAT * sizes.max()
    turned = (vectors[:, kept] / np.sqrt(sizes[kept]))[:, ::-1]  # the widest direction first
    back = np.zeros((scale.size, turned.shape[1]))
    back[varies] = turned / spread[varies, None]
    return np.asarray(centred @ back)
