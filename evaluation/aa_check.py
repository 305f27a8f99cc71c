"""Turns control, split again and again as the experiment was, into whether the test's 5 % are 5 % on these very users."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.stats import beta, chi2, norm

from contracts.seeds import stream
from evaluation.effects import Ints
from evaluation.intervals import Floats, Interval

_CELLS = 4_000_000
_DOUBT = 0.001  # a sound test is doubted this often


@dataclass(frozen=True, slots=True)
class AaCheck:
    """Splits of control into two arms that got the same thing.

    Attributes:
        splits: how many.
        false_positives: share of them with p < level.
        interval: of that share, Clopper-Pearson at 99.9 %.
        level: nominal share.
        spread: standard deviation of the z statistic; 1 when standard errors are right.
        sound: the interval holds the level, or lies below it.
        p_values: (20,) share of p-values in each twentieth of 0 to 1.
    """

    splits: int
    false_positives: float
    interval: Interval
    level: float
    spread: float
    sound: bool
    p_values: Floats


@dataclass(frozen=True, slots=True)
class Balance:
    """Covariates compared between arms.

    Attributes:
        p: that they differ so much by chance, all covariates and arms at once.
        gaps: (P,) largest difference of an arm from control, in standard deviations.
    """

    p: float
    gaps: Floats


def aa_check(values: Floats, *, share: float, splits: int, seed: int, level: float = 0.05) -> AaCheck | None:
    """Splits control `splits` times and tests the parts; None with fewer than 20 users or no variation.

    With parts of one size long tails cancel; with a small one they do not, and z is wrong too often. So the share matters.

    Args:
        values: (N,) those of a mean, or `effects.linearised` ones of a ratio.
        share: of users in the smaller part, above 0; as in the experiment.
        splits: how many.
        seed: of the run.
        level: nominal share of false positives.
    """
    if values.size < 20 or not values.std() > 0:
        return None
    rng = stream(seed, "evaluation", "aa")
    z = (values - values.mean()) / values.std()
    stacked = np.stack([np.ones_like(z), z, z * z], axis=1)
    everyone = stacked.sum(axis=0)
    scores = []
    batch = max(1, _CELLS // z.size)
    for start in range(0, splits, batch):
        size = min(batch, splits - start)
        part = rng.random((size, z.size), dtype=np.float32) < share
        scores.append(_score(part.astype(np.float64) @ stacked, everyone))
    found = np.concatenate(scores)
    found = found[np.isfinite(found)]  # a part may be too small to vary
    if found.size < splits / 2:
        return None
    p = 2 * norm.sf(np.abs(found))
    wrong = int((p < level).sum())
    interval = _clopper_pearson(wrong, found.size, 1 - _DOUBT)
    shares = np.histogram(p, bins=20, range=(0, 1))[0] / found.size
    return AaCheck(found.size, wrong / found.size, interval, level, float(found.std()), interval.low <= level, shares)


def balance(covariates: Floats, arm: Ints, arms: int) -> Balance | None:
    """Whether covariates are alike in all arms, as before assignment they must be; None without covariates.

    Pillai's trace of covariates on arms, N * trace ~ chi-square with P (A - 1) degrees of freedom: the joint test of all
    at once, so that many covariates do not make many alarms.
    """
    spread = covariates.std(axis=0) if covariates.size else np.zeros(0)
    x = (covariates - covariates.mean(axis=0))[:, spread > 0] / spread[spread > 0] if spread.size else covariates
    if not x.shape[1]:
        return None
    counts = np.bincount(arm, minlength=arms)
    means = np.stack([np.bincount(arm, weights=column, minlength=arms) for column in x.T], axis=1) / counts[:, None]
    between = (means.T * counts) @ means
    inverse = np.linalg.pinv(x.T @ x, hermitian=True, rcond=1e-9)
    rank = int(np.linalg.matrix_rank(x.T @ x, tol=1e-9 * x.shape[0], hermitian=True))
    statistic = x.shape[0] * float(np.trace(between @ inverse))
    gaps = np.zeros(covariates.shape[1])
    gaps[spread > 0] = np.abs(means[1:] - means[0]).max(axis=0)
    return Balance(float(chi2.sf(statistic, rank * (arms - 1))), gaps)


def _score(one: Floats, everyone: Floats) -> Floats:
    """(B,) z statistic of one part, given by its sums (B, 3) of 1, z and z^2, against the rest."""
    rest = everyone - one
    with np.errstate(divide="ignore", invalid="ignore"):
        means = [part[:, 1] / part[:, 0] for part in (one, rest)]
        errors = [
            np.maximum(part[:, 2] / part[:, 0] - mean**2, 0.0) / (part[:, 0] - 1)
            for part, mean in zip((one, rest), means, strict=True)
        ]
        return np.asarray((means[0] - means[1]) / np.sqrt(errors[0] + errors[1]), dtype=np.float64)


def _clopper_pearson(successes: int, trials: int, confidence: float) -> Interval:
    tail = (1 - confidence) / 2
    low = float(beta.ppf(tail, successes, trials - successes + 1)) if successes else 0.0
    high = float(beta.isf(tail, successes + 1, trials - successes)) if successes < trials else 1.0
    return Interval(low, high)
