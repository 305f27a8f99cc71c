"""Turns per-row terms into intervals: a bootstrap that draws whole users, so that a user's rows stay together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from contracts.errors import DataError
from contracts.seeds import stream

Floats = npt.NDArray[np.float64]
_CELLS = 4_000_000  # resampling weights held at once


@dataclass(frozen=True, slots=True)
class Interval:
    """A percentile interval, both ends included."""

    low: float
    high: float

    def __contains__(self, value: float) -> bool:
        return self.low <= value <= self.high

    @property
    def half_width(self) -> float:
        """Half the distance between the ends."""
        return (self.high - self.low) / 2


@dataclass(frozen=True, slots=True)
class Terms:
    """A statistic of R rows that is a sum of C self-normalised means; a plain mean and a ratio are its special cases.

        value = (1 / R) * sum_c  sum_i numerators[i, c] * ( sum_i present[i, c] / sum_i normalisers[i, c] )

    Attributes:
        numerators: (R, C) e.g. w_k * r_k.
        normalisers: (R, C) e.g. w_k; equal to `present` for a plain mean.
        present: (R, C) 1 where the row has this column, else 0.
    """

    numerators: Floats
    normalisers: Floats
    present: Floats

    @classmethod
    def mean(cls, values: npt.ArrayLike) -> Terms:
        """The plain mean of (R,) values."""
        column = np.asarray(values, dtype=np.float64).reshape(-1, 1)
        return cls(column, np.ones_like(column), np.ones_like(column))

    @classmethod
    def ratio(cls, above: npt.ArrayLike, below: npt.ArrayLike) -> Terms:
        """sum(above) / sum(below), each (R,)."""
        column = np.asarray(above, dtype=np.float64).reshape(-1, 1)
        return cls(column, np.asarray(below, dtype=np.float64).reshape(-1, 1), np.ones_like(column))

    @property
    def contributions(self) -> Floats:
        """(R,) what each row adds; their mean is the value."""
        scale = _over(self.present.sum(axis=0), self.normalisers.sum(axis=0))
        return np.asarray(np.where(self.numerators == 0, 0.0, self.numerators * scale).sum(axis=1) + 0.0 * scale.sum())

    @property
    def value(self) -> float:
        """The statistic; NaN when a normaliser's sum is 0."""
        return float(self.contributions.mean())

    def columns(self) -> Floats:
        """(R, 3 C + 1) what must be summed over rows to compute the value of any multiset of them."""
        return np.concatenate(
            [self.numerators, self.normalisers, self.present, np.ones((self.numerators.shape[0], 1))], axis=1
        )


def bootstrap(
    statistics: Mapping[str, Terms], users: npt.NDArray[np.int64], *, resamples: int, seed: int, name: str
) -> dict[str, Floats]:
    """Values of every statistic under the same resamples of users: (resamples,) each, so differences are paired.

    Users are drawn with replacement, as many as there are, each with all of its rows (cluster bootstrap: Davison and
    Hinkley 1997, section 3.8; Field and Welsh 2007). Only per-user sums are resampled, which is exact for `Terms`.
    A value is NaN where a resample leaves a normaliser at 0.

    Args:
        statistics: by name, all over the same R rows.
        users: (R,) cluster of each row.
        resamples: how many.
        seed: of the run; `name` gives this bootstrap its own stream.
        name: of the bootstrap.

    Raises:
        DataError: a statistic has another number of rows than `users`.
    """
    for statistic, terms in statistics.items():
        if terms.numerators.shape[0] != users.shape[0]:
            raise DataError(
                f"{terms.numerators.shape[0]:,} rows for {users.shape[0]:,} users' rows",
                where=f"statistic {statistic}",
                fix="Give one user per row.",
            )
    names, codes = np.unique(users, return_inverse=True)
    blocks = {statistic: _sums(terms.columns(), codes, len(names)) for statistic, terms in statistics.items()}
    everything = np.concatenate(list(blocks.values()), axis=1)
    totals = _resampled(everything, resamples, stream(seed, "evaluation", "bootstrap", name))
    draws: dict[str, Floats] = {}
    start = 0
    for statistic, block in blocks.items():
        draws[statistic] = _values(totals[:, start : start + block.shape[1]])
        start += block.shape[1]
    return draws


def percentile(draws: Floats, confidence: float) -> Interval | None:
    """The percentile interval of bootstrap draws (Efron 1979).

    Undefined draws (NaN) are left out; None when they are more than one tail's share, since the tail is then unknown.
    """
    tail = (1 - confidence) / 2
    known = draws[np.isfinite(draws)]
    if known.size == 0 or (draws.size - known.size) > tail * draws.size:
        return None
    low, high = np.quantile(known, [tail, 1 - tail])
    return Interval(float(low), float(high))


def interval(
    terms: Terms,
    users: npt.NDArray[np.int64],
    *,
    confidence: float,
    resamples: int,
    seed: int,
    name: str,
) -> Interval | None:
    """The user-clustered percentile interval of one statistic; None with fewer than two users."""
    if np.unique(users).size < 2:
        return None
    return percentile(bootstrap({name: terms}, users, resamples=resamples, seed=seed, name=name)[name], confidence)


def _sums(columns: Floats, codes: npt.NDArray[np.intp], groups: int) -> Floats:
    """(groups, M) sums of the rows of each group."""
    return np.stack(
        [np.bincount(codes, weights=columns[:, j], minlength=groups) for j in range(columns.shape[1])], axis=1
    )


def _resampled(sums: Floats, resamples: int, rng: np.random.Generator) -> Floats:
    """(resamples, M) sums over users drawn with replacement."""
    users = sums.shape[0]
    batch = max(1, _CELLS // users)
    parts = []
    for start in range(0, resamples, batch):
        size = min(batch, resamples - start)
        drawn = rng.integers(users, size=(size, users)) + users * np.arange(size)[:, None]
        counts = np.bincount(drawn.ravel(), minlength=size * users).reshape(size, users)
        parts.append(counts.astype(np.float64) @ sums)
    return np.concatenate(parts)


def _values(totals: Floats) -> Floats:
    """(B,) values of a statistic from the sums of its `columns`."""
    c = (totals.shape[1] - 1) // 3
    above, below, present, rows = totals[:, :c], totals[:, c : 2 * c], totals[:, 2 * c : 3 * c], totals[:, 3 * c]
    scale = _over(present, below)
    return np.asarray((above * scale).sum(axis=1) / rows, dtype=np.float64)


def _over(above: Floats, below: Floats) -> Floats:
    """above / below; 0 where a column is empty on both sides, NaN where only the normaliser is 0."""
    quotient = np.full(below.shape, np.nan)
    np.divide(above, below, out=quotient, where=below != 0)
    return np.where((below == 0) & (above == 0), 0.0, quotient)
