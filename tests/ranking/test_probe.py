"""The probe finds a topic that the vectors give away, says so honestly when they do not, and is not fooled by ties."""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from contracts.errors import DataError
from ranking.probe import delong, interval, probe, too_few


def planted(users: int, shift: float, seed: int, dimensions: int = 8) -> tuple[np.ndarray, np.ndarray]:  # type: ignore[type-arg]
    """Holders lie `shift` standard deviations away in one direction: the best AUC is Phi(shift / sqrt 2)."""
    rng = np.random.default_rng(seed)
    holders = rng.random(users) < 0.3
    vectors = rng.normal(size=(users, dimensions))
    vectors[:, 0] += shift * holders
    return vectors, holders


@pytest.mark.parametrize("shift", [0.5, 1.0, 2.0])
def test_a_planted_signal_is_found_at_its_size(shift: float) -> None:
    found = probe(*planted(2000, shift, seed=3), seed=7)
    assert found is not None
    best = NormalDist().cdf(shift / math.sqrt(2))
    assert found.low <= best <= found.high
    assert found.auc == pytest.approx(best, abs=0.03)


def test_without_a_signal_the_interval_covers_one_half() -> None:
    covered = 0
    for seed in range(20):
        found = probe(*planted(400, 0.0, seed), seed=seed)
        assert found is not None
        covered += found.low <= 0.5 <= found.high
    assert covered >= 17  # 19 expected; fewer than 17 of 20 has a chance below 2 % at 95 %


def test_what_no_straight_cut_finds_the_second_classifier_does() -> None:
    rng = np.random.default_rng(5)
    vectors = rng.normal(size=(2000, 6))
    holders = (vectors[:, 0] * vectors[:, 1] > 0) & (rng.random(2000) < 0.8)
    found = probe(vectors, holders, seed=7)
    assert found is not None
    assert found.classifier == "gradient boosting"
    assert found.low > 0.6


def test_the_auc_is_scikit_learns_ties_included_and_its_variance_the_bootstraps() -> None:
    rng = np.random.default_rng(1)
    holders = rng.random(300) < 0.4
    score = np.round(rng.normal(size=300) + holders, 1)
    auc, variance = delong(holders, score)
    assert auc == pytest.approx(roc_auc_score(holders, score))
    draws = []
    for _ in range(2000):
        rows = np.concatenate(
            [rng.choice(np.flatnonzero(holders == value), (holders == value).sum()) for value in (True, False)]
        )
        draws.append(roc_auc_score(holders[rows], score[rows]))
    assert variance == pytest.approx(np.var(draws), rel=0.15)


def test_a_perfect_separation_of_few_is_no_certainty() -> None:
    low, high = interval(1.0, 0.0, fewest=30, confidence=0.95)
    assert 0.85 < low < 0.95
    assert high == 1.0


def test_order_of_users_does_not_matter_and_too_few_are_not_probed() -> None:
    vectors, holders = planted(500, 1.0, seed=2)
    order = np.random.default_rng(0).permutation(500)
    assert probe(vectors, holders, seed=1) == probe(vectors[order], holders[order], seed=1)
    few = np.arange(500) < 29
    assert probe(vectors, few, seed=1) is None
    assert "needs at least 30" in str(too_few(few))
    with pytest.raises(DataError, match="not a finite number"):
        probe(np.full((500, 2), np.nan), holders, seed=1)
