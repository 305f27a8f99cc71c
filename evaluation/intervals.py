"""Turns per-row terms into intervals: a bootstrap that draws whole users, so that a user's rows stay together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from contracts.errors import DataError
from contracts.seeds import stream

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
_BLOCK = 8_192  # users whose counts are drawn together: 64 KiB, they stay in the cache
_BATCH = 128  # resamples whose counts are held at once


@dataclass(frozen=True, slots=True)
class Interval:
    """An interval, both ends included."""

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
        normalisers: (R, C) e.g. w_k; None: a plain mean, the bracket is 1.
        present: (R, C) 1 where the row has this column, else 0; None with `normalisers` None.
    """

    numerators: Floats
    normalisers: Floats | None = None
    present: Floats | None = None

    @classmethod
    def mean(cls, values: npt.ArrayLike) -> Terms:
        """The plain mean of (R,) values."""
        return cls(np.asarray(values, dtype=np.float64).reshape(-1, 1))

    @classmethod
    def ratio(cls, above: npt.ArrayLike, below: npt.ArrayLike) -> Terms:
        """sum(above) / sum(below), each (R,)."""
        column = np.asarray(above, dtype=np.float64).reshape(-1, 1)
        return cls(column, np.asarray(below, dtype=np.float64).reshape(-1, 1), np.ones_like(column))

    @property
    def rows(self) -> int:
        """R."""
        return int(self.numerators.shape[0])

    @property
    def contributions(self) -> Floats:
        """(R,) what each row adds; their mean is the value."""
        if self.normalisers is None or self.present is None:
            return np.asarray(self.numerators.sum(axis=1))
        scale = _over(self.present.sum(axis=0), self.normalisers.sum(axis=0))
        return np.asarray(np.where(self.numerators == 0, 0.0, self.numerators * scale).sum(axis=1) + 0.0 * scale.sum())

    @property
    def value(self) -> float:
        """The statistic; NaN when a normaliser's sum is 0."""
        return float(self.contributions.mean())

    @property
    def influence(self) -> Floats:
        """(R,) first-order effect of each row on the value, times R; their mean is 0 (Hampel 1974).

        With A, N, P the column sums of numerators, normalisers and present:
        sum_c [ a P/N + A p/N - A P n/N^2 ] - value.
        """
        if self.normalisers is None or self.present is None:
            own = self.contributions
            return np.asarray(own - own.mean())
        above, below, there = (part.sum(axis=0) for part in (self.numerators, self.normalisers, self.present))
        scale, mean = _over(there, below), _over(above, below)
        own = self.numerators @ scale
        return np.asarray(own + self.present @ mean - self.normalisers @ (mean * scale) - own.mean())

    def columns(self) -> Floats:
        """(R, 3 C + 1), or (R, C + 1) of a plain mean: what must be summed over rows to compute the value of any
        multiset of them."""
        parts = [self.numerators, self.normalisers, self.present, np.ones((self.rows, 1))]
        return np.concatenate([part for part in parts if part is not None], axis=1)

    def values(self, totals: Floats) -> Floats:
        """(B,) values from (B, M) sums of `columns`."""
        c = self.numerators.shape[1]
        above, rows = totals[:, :c], totals[:, -1]
        if self.normalisers is not None:
            above = above * _over(totals[:, 2 * c : 3 * c], totals[:, c : 2 * c])
        return np.asarray(above.sum(axis=1) / rows, dtype=np.float64)


def bootstrap(
    statistics: Mapping[str, Terms], users: Ints, *, resamples: int, seed: int, name: str
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
        if terms.rows != users.shape[0]:
            raise DataError(
                f"{terms.rows:,} rows for {users.shape[0]:,} users' rows",
                where=f"statistic {statistic}",
                fix="Give one user per row.",
            )
    clusters = Clusters.of(users)
    distinct: dict[bytes, int] = {}
    sums: list[Floats] = []
    places: dict[str, list[int]] = {}
    for statistic, terms in statistics.items():
        places[statistic] = []
        for column in terms.columns().T:
            total = clusters.sums(column)
            key = total.tobytes()
            if key not in distinct:  # weights, presence and row counts are shared by many statistics
                distinct[key] = len(sums)
                sums.append(total)
            places[statistic].append(distinct[key])
    totals = resampled(np.stack(sums, axis=1), resamples=resamples, seed=seed, name=name)
    return {statistic: terms.values(totals[:, places[statistic]]) for statistic, terms in statistics.items()}


@dataclass(frozen=True, slots=True)
class Clusters:
    """Which rows belong to which user: `codes` (R,) from 0 to count - 1."""

    codes: npt.NDArray[np.intp]
    count: int

    @classmethod
    def of(cls, users: Ints) -> Clusters:
        """From any whole numbers, (R,)."""
        if users.size and users.min() == 0 and users.max() < users.size and np.bincount(users).all():
            return cls(users.astype(np.intp, copy=False), int(users.max()) + 1)  # numbered without a gap already
        names, codes = np.unique(users, return_inverse=True)
        return cls(codes, len(names))

    def sums(self, values: Floats) -> Floats:
        """(count,) sums of (R,) values over each user's rows."""
        return np.bincount(self.codes, weights=values, minlength=self.count).astype(np.float64, copy=False)


def resampled(sums: Floats, *, resamples: int, seed: int, name: str) -> Floats:
    """(resamples, M) sums over users drawn with replacement, from the sums of each user (U, M).

    Counts are multinomial. They are drawn block by block, first how many of a resample's U draws fall into the block,
    then which of its users they are: the same law, and the counts of a block stay in the cache while they meet the
    sums in a matrix product.
    """
    rng = stream(seed, "evaluation", "bootstrap", name)
    users = sums.shape[0]
    starts = np.arange(0, users, _BLOCK)
    sizes = np.minimum(_BLOCK, users - starts)
    drawn = rng.multinomial(users, sizes / users, size=resamples)  # (resamples, blocks)
    totals = np.zeros((resamples, sums.shape[1]))
    for block, (start, size) in enumerate(zip(starts, sizes, strict=True)):
        own = sums[start : start + size]
        counts = np.empty((min(_BATCH, resamples), size))
        for first in range(0, resamples, _BATCH):
            batch = drawn[first : first + _BATCH, block]
            for row, number in enumerate(batch):
                counts[row] = np.bincount(rng.integers(size, size=number), minlength=size)
            totals[first : first + len(batch)] += counts[: len(batch)] @ own
    return totals


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
    users: Ints,
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


def _over(above: Floats, below: Floats) -> Floats:
    """above / below; 0 where a column is empty on both sides, NaN where only the normaliser is 0."""
    quotient = np.full(below.shape, np.nan)
    np.divide(above, below, out=quotient, where=below != 0)
    return np.where((below == 0) & (above == 0), 0.0, quotient)
