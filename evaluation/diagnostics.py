"""Turns importance weights into how far to trust them: effective sizes, widest weight, overlap, noise floor."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from contracts.errors import DataError
from contracts.seeds import stream
from evaluation.bounds import standard_error
from evaluation.intervals import Terms
from evaluation.logs import Floats, LoggedSlates

_CELLS = 4_000_000


@dataclass(frozen=True, slots=True)
class Overlap:
    """How much of the log speaks for the target policy.

    Attributes:
        slates: slates in the log.
        effective_size: slates that the reweighted log is worth, by the weight of the whole slate.
        effective_size_by_slot: (K,) the same for w_k; it falls with k, since cumulative weights spread.
        largest_weight: of any slate.
        largest_weight_share: that weight as a share of the sum of weights; NaN when the sum is 0.
        mean_weight: mean weight of a slate; 1 in expectation when propensities are right and nothing is left out.
    """

    slates: int
    effective_size: float
    effective_size_by_slot: Floats
    largest_weight: float
    largest_weight_share: float
    mean_weight: float

    @property
    def effective_share(self) -> float:
        """Effective size as a share of the log."""
        return self.effective_size / self.slates


@dataclass(frozen=True, slots=True)
class WeightHistogram:
    """Counts of slate weights in bins of equal width on a log scale.

    Attributes:
        edges: (B + 1,) ascending.
        counts: (B,) slates.
        zeros: slates of weight 0, which have no place on the scale.
    """

    edges: Floats
    counts: npt.NDArray[np.int64]
    zeros: int


def effective_sample_size(weights: Floats) -> float:
    """(sum w)^2 / sum w^2, Kish 1965: as many equally weighted rows would be as noisy. 0 when all weights are 0."""
    squares = float(np.square(weights).sum())
    return float(weights.sum()) ** 2 / squares if squares > 0 else 0.0


def overlap(log: LoggedSlates) -> Overlap:
    """Effective sizes and the widest weight. Raises DataError without propensities."""
    weights, by_slate = log.weights(), log.slate_weights()
    total = float(by_slate.sum())
    return Overlap(
        slates=len(log),
        effective_size=effective_sample_size(by_slate),
        effective_size_by_slot=np.array(
            [effective_sample_size(weights[log.present[:, k], k]) for k in range(weights.shape[1])]
        ),
        largest_weight=float(by_slate.max()),
        largest_weight_share=float(by_slate.max()) / total if total > 0 else float("nan"),
        mean_weight=float(by_slate.mean()),
    )


def effective_clicks(log: LoggedSlates) -> float:
    """Kish's size of the reweighted clicks, (sum w r)^2 / sum (w r)^2: how many clicks an estimate rests on.

    DataError without propensities.
    """
    return effective_sample_size((log.weights() * log.clicked)[log.clicked > 0])


def slot_drift(log: LoggedSlates) -> Floats:
    """(K,) standard errors between each slot's own weight and 1: mean of w_{k-1} (rho_k - 1), rho_k = target / logged at k.

    It is 0 in expectation at every slot when propensities are those given the earlier slots. Chances of a slot whatever
    stands above it, multiplied down the slate, drift from the second slot on. User-clustered; NaN with fewer than two
    users, 0 where nothing varies and nothing is off. DataError without propensities.
    """
    gaps = log.earlier_weights() * np.where(log.present, log.ratios() - 1, 0.0)
    found = []
    for gap in gaps.T:
        terms = Terms.mean(gap)
        error = standard_error(terms, log.users)
        found.append(
            0.0 if abs(terms.value) < 1e-9 else float(np.divide(terms.value, error)) if error > 1e-12 else 1000.0
        )
    return np.array(found)


def model_balance(log: LoggedSlates) -> Floats:
    """(S,) sum_k [w_k q_k - w_{k-1} e_k]: its mean is 0 in expectation, whatever the model, when e is q's mean over the
    target policy's choices; far from 0, e and w describe different policies. DataError without propensities or model.
    """
    predicted, expected = log.model()
    return np.asarray((log.weights() * predicted - log.earlier_weights() * expected).sum(axis=1), dtype=np.float64)


def weight_histogram(weights: Floats, bins: int = 24) -> WeightHistogram:
    """Counts of the (S,) weights on a log10 scale; one bin around the value when all are equal."""
    positive = np.log10(weights[weights > 0])
    if positive.size == 0:
        return WeightHistogram(np.array([0.1, 10.0]), np.zeros(1, dtype=np.int64), int(weights.size))
    low, high = float(positive.min()), float(positive.max())
    if high - low < 1e-9:
        low, high, bins = low - 0.5, high + 0.5, 1
    counts, edges = np.histogram(positive, bins=bins, range=(low, high))
    return WeightHistogram(10**edges, counts.astype(np.int64), int(weights.size - positive.size))


def unlogged_share(concept_shares: pl.DataFrame) -> float:
    """Share of the target policy's probability on concepts that were never logged, in [0, 1].

    Clicks on those concepts cannot be estimated from this log by any reweighting.

    Args:
        concept_shares: concept_id, target_share (>= 0, share of the target policy's choices), logged (impressions).

    Raises:
        DataError: shares that are negative, missing or sum to 0.
    """
    shares = concept_shares["target_share"]
    total = float(shares.sum())
    if shares.null_count() or total <= 0 or (shares < 0).any():
        raise DataError(
            "shares that are missing, negative or all 0",
            where="concept_shares, column target_share",
            fix="Give each concept's share of the target policy's choices.",
        )
    return float(concept_shares.filter(pl.col("logged") == 0)["target_share"].sum()) / total


def noise_floor(
    values: Floats, users: npt.NDArray[np.int64], *, confidence: float, resamples: int, seed: int
) -> float | None:
    """How far two random halves of the users differ in their mean value though both got the same policy.

    An A/A test on the log: the `confidence` quantile of |mean of one half - mean of the other|. A difference below it
    is what chance alone does to half-sized groups. None with fewer than four users.

    Args:
        values: (S,) e.g. clicks of each slate.
        users: (S,) cluster of each slate; a user's slates stay in one half.
        confidence: quantile, such as 0.95.
        resamples: random halvings.
        seed: of the run.
    """
    names, codes = np.unique(users, return_inverse=True)
    count = len(names)
    if count < 4:
        return None
    sums = np.stack([np.bincount(codes, weights=values), np.bincount(codes).astype(np.float64)], axis=1)
    rng = stream(seed, "evaluation", "noise floor")
    gaps = []
    batch = max(1, _CELLS // count)
    for start in range(0, resamples, batch):
        order = rng.random((min(batch, resamples - start), count)).argpartition(count // 2, axis=1)
        half = np.zeros(order.shape)
        np.put_along_axis(half, order[:, : count // 2], 1.0, axis=1)
        one = half @ sums
        other = sums.sum(axis=0) - one
        gaps.append(np.abs(one[:, 0] / one[:, 1] - other[:, 0] / other[:, 1]))
    return float(np.quantile(np.concatenate(gaps), confidence))
