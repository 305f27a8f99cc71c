"""Turns scores and clicks of groups (slates, users) into ranking figures group by group: NDCG, AUC, MRR, MAP, recall.

A tie, rows of a group with equal scores, never depends on the order of rows: NDCG, AUC, MRR and recall take the mean over all
orders of the tie; average precision takes the tie as one threshold, as scikit-learn does.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from contracts.errors import DataError
from evaluation.intervals import Terms
from evaluation.metrics import Floats, Ints, checked


@dataclass(frozen=True, slots=True)
class PerGroup:
    """A figure of every group that has one.

    Attributes:
        groups: (G,) identifiers of those groups, ascending.
        values: (G,) in [0, 1].
        left_out: groups without the figure (no click; for AUC also: clicks alone); they are not in the mean.
        weights: (G,) of each group in the mean.
    """

    groups: Ints
    values: Floats
    left_out: int
    weights: Floats

    @property
    def mean(self) -> float:
        """Weighted mean over the groups; NaN when there are none."""
        return float(np.average(self.values, weights=self.weights)) if self.values.size else float("nan")

    @property
    def terms(self) -> Terms:
        """The mean as a statistic of the groups, for the bootstrap."""
        return Terms.ratio(self.values * self.weights, self.weights)


def ndcg_at_k(clicked: npt.ArrayLike, score: npt.ArrayLike, group: npt.ArrayLike, k: int) -> PerGroup:
    """Normalised discounted cumulative gain of each group, gain = clicked, discount 1 / log2(place + 2), place < k.

    Järvelin and Kekäläinen 2002; ties: McSherry and Najork 2008. Equal to scikit-learn's `ndcg_score(ignore_ties=False)`.

    Args:
        clicked: (N,) 0 or 1.
        score: (N,) higher is better.
        group: (N,) whole number of the group each row belongs to.
        k: places that count, at least 1.
    """
    ties = _Ties.of(clicked, score, group, k)
    reach = np.concatenate([[0.0], np.cumsum(1 / np.log2(np.arange(min(k, ties.longest)) + 2.0))])

    def gain(found: _Ties) -> Floats:
        first, last = (
            np.minimum(place, len(reach) - 1).astype(np.int64) for place in (found.start, found.start + found.size)
        )
        return found.per_group(found.clicks / found.size * (reach[last] - reach[first]))

    best = gain(_Ties.of(clicked, clicked, group, k))
    return ties.result(np.divide(gain(ties), best, out=np.zeros_like(best), where=best > 0), best > 0)


def grouped_auc(clicked: npt.ArrayLike, score: npt.ArrayLike, group: npt.ArrayLike) -> PerGroup:
    """AUC inside each group, weighted by its rows: how well a person's own clicks are told from what that person passed over.

    Zhu et al. 2017 (GAUC). Each is equal to scikit-learn's `roc_auc_score`. Arguments as `ndcg_at_k`.
    """
    ties = _Ties.of(clicked, score, group, 1)
    missed = ties.size - ties.clicks
    behind = (ties.rows - ties.positives)[ties.group] - ties.running(missed)
    pairs = ties.positives * (ties.rows - ties.positives)
    won = ties.per_group(ties.clicks * (behind + missed / 2))
    return ties.result(np.divide(won, pairs, out=np.zeros_like(won), where=pairs > 0), pairs > 0, ties.rows)


def reciprocal_rank(clicked: npt.ArrayLike, score: npt.ArrayLike, group: npt.ArrayLike) -> PerGroup:
    """1 / place of the first click of each group, places from 1; its mean is MRR (Voorhees 1999).

    In a tie of m rows with c clicks after s better rows, the first click is at s + j with chance C(m - j, c - 1) / C(m, c).
    Without ties and with one click a group it is equal to scikit-learn's `label_ranking_average_precision_score`. Arguments
    as `ndcg_at_k`.
    """
    ties = _Ties.of(clicked, score, group, 1)
    holding = np.flatnonzero(ties.clicks > 0)
    first = holding[np.unique(ties.group[holding], return_index=True)[1]]  # the best tie with a click, of each group
    start, size, clicks = ties.start[first], ties.size[first], ties.clicks[first]
    found, chance = np.zeros(first.size), clicks / size
    for place in range(1, int(size.max(initial=0)) + 1):
        found += chance / (start + place)
        room = size - place
        chance = np.where(room > 0, chance * (room - clicks + 1) / np.maximum(room, 1), 0.0)
    values = np.zeros(len(ties.names))
    values[ties.group[first]] = found
    return ties.result(values, ties.positives > 0)


def average_precision(clicked: npt.ArrayLike, score: npt.ArrayLike, group: npt.ArrayLike) -> PerGroup:
    """Mean precision at the clicks of each group; its mean is MAP. Equal to scikit-learn's `average_precision_score`.

    sum over ties of (share of the clicks in the tie) * (clicks so far / rows so far, the tie included). Arguments as
    `ndcg_at_k`.
    """
    ties = _Ties.of(clicked, score, group, 1)
    precision = ties.running(ties.clicks) / (ties.start + ties.size)
    summed = ties.per_group(ties.clicks * precision)
    return ties.result(summed / np.maximum(ties.positives, 1), ties.positives > 0)


def recall_at_k(clicked: npt.ArrayLike, score: npt.ArrayLike, group: npt.ArrayLike, k: int) -> PerGroup:
    """Share of each group's clicks among its k best rows; a tie across place k counts by the share of it that fits.

    Arguments as `ndcg_at_k`.
    """
    ties = _Ties.of(clicked, score, group, k)
    inside = np.clip(k - ties.start, 0, ties.size) / ties.size
    return ties.result(ties.per_group(ties.clicks * inside) / np.maximum(ties.positives, 1), ties.positives > 0)


@dataclass(frozen=True, slots=True)
class _Ties:
    """Runs of equal scores, best first inside each group: T ties of G groups.

    Attributes:
        names: (G,) groups, ascending; `rows` and `positives` (G,) their rows and clicks; `longest`: most rows of a group.
        group: (T,) place in `names`.
        start: (T,) better rows of the group; `size` and `clicks` (T,) of the tie.
    """

    names: Ints
    rows: Floats
    positives: Floats
    group: Ints
    start: Floats
    size: Floats
    clicks: Floats

    @property
    def longest(self) -> int:
        return int(self.rows.max())

    @classmethod
    def of(cls, clicked: npt.ArrayLike, score: npt.ArrayLike, group: npt.ArrayLike, k: int) -> _Ties:
        y, s = checked(clicked, score)
        codes = np.asarray(group, dtype=np.int64)
        if codes.shape != y.shape:
            raise DataError(
                "groups and clicks differ in length", where="ranking figures", fix="Give one group per row."
            )
        if k < 1:
            raise DataError(f"k is {k}", where="ranking figures", fix="Give at least 1.")
        names, g = np.unique(codes, return_inverse=True)
        order = np.lexsort((-s, g))
        g, s, y = g[order], s[order], y[order]
        new_group = np.concatenate(([True], g[1:] != g[:-1]))
        starts = np.flatnonzero(new_group | np.concatenate(([True], s[1:] != s[:-1])))
        own = g[starts]
        rows = np.bincount(g).astype(np.float64)
        size = np.diff(np.append(starts, g.size)).astype(np.float64)
        start = (starts - np.flatnonzero(new_group)[own]).astype(np.float64)
        clicks = np.add.reduceat(y, starts)
        return cls(names, rows, np.bincount(g, weights=y).astype(np.float64), own.astype(np.int64), start, size, clicks)

    def per_group(self, values: Floats) -> Floats:
        """(G,) sums of (T,) values."""
        return np.bincount(self.group, weights=values, minlength=len(self.names)).astype(np.float64, copy=False)

    def running(self, values: Floats) -> Floats:
        """(T,) sums of (T,) values over the group's ties up to and with this one."""
        total = np.cumsum(values)
        first = np.concatenate(([True], self.group[1:] != self.group[:-1]))
        return np.asarray(total - (total - values)[first][self.group])

    def result(self, values: Floats, known: npt.NDArray[np.bool_], weights: Floats | None = None) -> PerGroup:
        """Those of the (G,) values that are known."""
        own = np.ones(len(self.names)) if weights is None else weights
        return PerGroup(self.names[known], values[known], int((~known).sum()), own[known])
