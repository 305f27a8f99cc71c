"""Turns what several reviewers said of the same pictures into how far they agree beyond chance, with intervals.

Cohen's kappa (Cohen 1960) of two reviewers; Fleiss' kappa (Fleiss 1971) of many, also where pictures have different
numbers of reviews. Both are (agreed - by chance) / (1 - by chance): 1 is agreement, 0 what chance would give.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import numpy.typing as npt
from scipy.stats import beta

from contracts.seeds import stream

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Agreement:
    """Agreement beyond chance.

    Attributes:
        kappa: NaN when chance alone explains everything (all said the same), or nothing was said twice.
        low, high: of its interval.
        items: pictures that it rests on.
        observed: share of pairs of verdicts that agree.
    """

    kappa: float
    low: float
    high: float
    items: int
    observed: float


_UNKNOWN = float("nan")


def cohen_kappa(
    first: Sequence[Hashable], second: Sequence[Hashable], *, confidence: float = 0.95
) -> tuple[Agreement, float]:
    """Cohen's kappa of two reviewers' verdicts on the same pictures, in the same order, and its standard error.

    The error is the large-sample one of Fleiss, Cohen and Everitt (1969), as in Fleiss, Levin and Paik (2003), eq. 18.13:

        se = sqrt(A + B - C) / ((1 - p_e) sqrt(n)),   A = sum_i p_ii (1 - (p_i. + p_.i)(1 - kappa))^2,
        B = (1 - kappa)^2 sum_{i != j} p_ij (p_.i + p_j.)^2,   C = (kappa - p_e (1 - kappa))^2

    Returns:
        The agreement, with kappa -+ z se as its interval, cut off at -1 and 1; and the standard error.
    """
    if len(first) != len(second):
        raise ValueError(f"{len(first)} verdicts against {len(second)}")
    count = len(first)
    if not count:
        return Agreement(_UNKNOWN, _UNKNOWN, _UNKNOWN, 0, _UNKNOWN), _UNKNOWN
    names = {name: number for number, name in enumerate(dict.fromkeys([*first, *second]))}
    table = np.zeros((len(names), len(names)))
    np.add.at(table, ([names[name] for name in first], [names[name] for name in second]), 1 / count)
    rows, columns = table.sum(axis=1), table.sum(axis=0)
    observed, chance = float(np.trace(table)), float(rows @ columns)
    if chance >= 1 - 1e-12:
        return Agreement(_UNKNOWN, _UNKNOWN, _UNKNOWN, count, observed), _UNKNOWN
    kappa = (observed - chance) / (1 - chance)
    on_diagonal = float((np.diag(table) * (1 - (rows + columns) * (1 - kappa)) ** 2).sum())
    reach = (columns[:, None] + rows[None, :]) ** 2 * table
    off_diagonal = (1 - kappa) ** 2 * float(reach.sum() - np.trace(reach))
    variance = on_diagonal + off_diagonal - (kappa - chance * (1 - kappa)) ** 2
    error = float(np.sqrt(max(variance, 0.0) / count) / (1 - chance))
    reach_of = NormalDist().inv_cdf(0.5 + confidence / 2) * error
    return Agreement(kappa, max(kappa - reach_of, -1.0), min(kappa + reach_of, 1.0), count, observed), error


def fleiss_kappa(counts: npt.ArrayLike, *, confidence: float = 0.95, resamples: int = 2000, seed: int = 0) -> Agreement:
    """Fleiss' kappa with a bootstrap interval over pictures.

    With n_i verdicts on picture i, n_ij of them of category j:

        P_i = sum_j n_ij (n_ij - 1) / (n_i (n_i - 1)),   p_j = sum_i n_ij / sum_i n_i,
        kappa = (mean_i P_i - sum_j p_j^2) / (1 - sum_j p_j^2)

    which is Fleiss' own when all n_i are equal; pictures with fewer than two verdicts are left out.

    Args:
        counts: (N pictures, K categories) verdicts.
        confidence: of the percentile interval.
        resamples: of the pictures.
        seed: of the resamples.
    """
    table = np.asarray(counts, dtype=np.float64).reshape(-1, np.shape(counts)[1] if np.ndim(counts) == 2 else 1)
    table = table[table.sum(axis=1) >= 2]
    if not len(table):
        return Agreement(_UNKNOWN, _UNKNOWN, _UNKNOWN, 0, _UNKNOWN)
    said = table.sum(axis=1)
    agreed: Floats = (table * (table - 1)).sum(axis=1) / (said * (said - 1))
    kappa = float(_kappa(agreed.mean(), table.sum(axis=0) / said.sum()))
    rng = stream(seed, "fleiss")
    weights = rng.multinomial(len(table), np.full(len(table), 1 / len(table)), size=resamples).astype(np.float64)
    shares = weights @ table
    shares /= shares.sum(axis=1, keepdims=True)
    drawn = _kappa(weights @ agreed / len(table), shares)
    known = drawn[np.isfinite(drawn)]
    ends = np.quantile(known, [0.5 - confidence / 2, 0.5 + confidence / 2]) if len(known) else (_UNKNOWN, _UNKNOWN)
    return Agreement(kappa, float(ends[0]), float(ends[1]), len(table), float(agreed.mean()))


def _kappa(observed: npt.ArrayLike, shares: Floats) -> Floats:
    chance = (shares**2).sum(axis=-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.where(chance < 1 - 1e-12, (observed - chance) / (1 - chance), np.nan))


def exact_interval(hits: int, trials: int, *, confidence: float = 0.95) -> tuple[float, float]:
    """Clopper and Pearson's (1934) two-sided interval of a share; (0, 1) without trials."""
    tail = (1 - confidence) / 2
    low = 0.0 if hits == 0 else float(beta.ppf(tail, hits, trials - hits + 1))
    high = 1.0 if hits == trials else float(beta.ppf(1 - tail, hits + 1, trials - hits))
    return low, high


@dataclass(frozen=True)
class Consistency:
    """How often one reviewer, shown the same picture again, says the same again.

    Attributes:
        reviewer: who.
        repeats: pictures judged twice.
        same: how many of them alike.
        low, high: Clopper-Pearson interval of the share.
        kappa: Cohen's, of the first and the second verdict.
    """

    reviewer: str
    repeats: int
    same: int
    low: float
    high: float
    kappa: Agreement

    @property
    def share(self) -> float:
        """Of repeats judged alike; NaN without repeats."""
        return self.same / self.repeats if self.repeats else _UNKNOWN


def consistency(
    reviewers: Sequence[str], pictures: Sequence[str], verdicts: Sequence[str], *, confidence: float = 0.95
) -> list[Consistency]:
    """Every reviewer's consistency, by name: the first verdict on a picture against the last by the same reviewer.

    Args:
        reviewers, pictures, verdicts: (N,) one a decision, in order of time; planted duplicates carry the name of
            the picture that they repeat.
        confidence: of the intervals.
    """
    first: dict[tuple[str, str], str] = {}
    again: dict[tuple[str, str], str] = {}
    for who, what, verdict in zip(reviewers, pictures, verdicts, strict=True):
        if (who, what) in first:
            again[who, what] = verdict
        else:
            first[who, what] = verdict
    found = []
    for who in sorted(set(reviewers)):
        pairs = [(first[key], last) for key, last in again.items() if key[0] == who]
        same = sum(one == other for one, other in pairs)
        low, high = exact_interval(same, len(pairs), confidence=confidence)
        kappa, _ = cohen_kappa([one for one, _ in pairs], [other for _, other in pairs], confidence=confidence)
        found.append(Consistency(who, len(pairs), same, low, high, kappa))
    return found
