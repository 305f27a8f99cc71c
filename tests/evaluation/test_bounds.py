"""Intervals without resampling: equal to the bootstrap in the limit, honest about how often they cover."""

from __future__ import annotations

import numpy as np
import pytest

from contracts.errors import DataError
from evaluation.bounds import (
    asymptotic,
    asymptotic_sequence,
    confidence_sequence,
    empirical_bernstein,
    per_user,
    standard_error,
)
from evaluation.intervals import Terms, bootstrap


def weighted(rng: np.random.Generator, users: int, rows: int = 3) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Weights of mean 1, clicks of a user's own rate, users; the weighted click rate is 0.3."""
    who = np.repeat(np.arange(users), rows)
    taste = rng.choice([0.1, 0.5], users)[who]
    weight = rng.choice([0.5, 1.0, 1.5], who.size)
    return weight, (rng.random(who.size) < taste).astype(float), who


@pytest.mark.parametrize("kind", ["mean", "ratio"])
def test_the_standard_error_is_that_of_the_clustered_bootstrap(kind: str) -> None:
    weight, clicked, users = weighted(np.random.default_rng(0), 800)
    terms = Terms.mean(weight * clicked) if kind == "mean" else Terms.ratio(weight * clicked, weight)
    draws = bootstrap({"t": terms}, users, resamples=3000, seed=1, name="t")["t"]
    assert standard_error(terms, users) == pytest.approx(draws.std(), rel=0.06)  # sd of a bootstrap sd: 1.3 %
    assert terms.influence.mean() == pytest.approx(0, abs=1e-12)


def test_a_paired_difference_knows_what_its_parts_share() -> None:
    weight, clicked, users = weighted(np.random.default_rng(1), 300)
    one, other = Terms.ratio(weight * clicked, weight), Terms.mean(clicked)
    draws = bootstrap({"a": one, "b": other}, users, resamples=3000, seed=1, name="t")
    assert standard_error(one, users, minus=other) == pytest.approx((draws["a"] - draws["b"]).std(), rel=0.06)
    assert standard_error(one, users, minus=one) == 0


def test_every_method_covers_as_it_promises() -> None:
    """The long study is benchmarks/ope_coverage.py; here each is caught if it is grossly wrong."""
    repetitions = 300
    hit = dict.fromkeys(("asymptotic", "bernstein", "sequence", "asymptotic sequence"), 0)
    for repetition in range(repetitions):
        weight, clicked, users = weighted(np.random.default_rng(repetition), 200)
        terms = Terms.mean(weight * clicked)
        plain = asymptotic(terms, users, confidence=0.95)
        wide = asymptotic_sequence(terms, users, confidence=0.95)
        bound = empirical_bernstein(weight * clicked, users, lowest=0.0, highest=1.5, confidence=0.95)
        low, high = confidence_sequence(weight * clicked, weight * (1 - clicked), users, total=1.0, confidence=0.95)
        assert plain is not None
        assert wide is not None
        assert bound is not None
        hit["asymptotic"] += 0.3 in plain
        hit["asymptotic sequence"] += 0.3 in wide
        hit["bernstein"] += 0.3 in bound
        hit["sequence"] += bool((low <= 0.3).all() and (high >= 0.3).all())  # at every moment at once
    # sd of a share of 0.95 over 300: 0.0126
    assert abs(hit["asymptotic"] / repetitions - 0.95) < 4 * 0.0126
    for name in ("bernstein", "sequence", "asymptotic sequence"):
        assert hit[name] / repetitions > 0.95 - 4 * 0.0126


def test_looking_all_the_time_breaks_a_plain_interval_and_not_a_sequence() -> None:
    broken = kept = 0
    for repetition in range(60):
        rng = np.random.default_rng(repetition)
        clicked, users = (rng.random(600) < 0.3).astype(float), np.arange(600)
        looks = range(20, 600, 20)
        plain = [asymptotic(Terms.mean(clicked[:n]), users[:n], confidence=0.95) for n in looks]
        broken += any(one is not None and 0.3 not in one for one in plain)
        low, high = confidence_sequence(clicked, 1 - clicked, users, total=1.0, confidence=0.95)
        kept += bool((low <= 0.3).all() and (high >= 0.3).all())
    assert broken > 12  # one look would miss 3 of 60
    assert kept >= 57


def test_a_sequence_only_narrows_and_ends_near_the_mean() -> None:
    weight, clicked, users = weighted(np.random.default_rng(2), 3000)
    low, high = confidence_sequence(weight * clicked, weight * (1 - clicked), users, total=1.0, confidence=0.95)
    assert (np.diff(low) >= 0).all()
    assert (np.diff(high) <= 0).all()
    assert 0 < low[-1] < 0.3 < high[-1] < 0.4


def test_sums_of_users_average_to_the_mean_of_rows() -> None:
    values, users = np.array([1.0, 2.0, 6.0]), np.array([4, 4, 9])
    sums, most = per_user(values, users)
    assert sums.mean() == pytest.approx(3.0)
    assert most == 2


def test_a_range_that_the_values_leave_is_refused_and_one_user_has_no_interval() -> None:
    with pytest.raises(DataError, match="range"):
        empirical_bernstein(np.array([0.0, 2.0]), np.array([0, 1]), lowest=0, highest=1, confidence=0.95)
    alone = np.zeros(3, dtype=np.int64)
    assert empirical_bernstein(np.ones(3), alone, lowest=0, highest=1, confidence=0.95) is None
    assert asymptotic(Terms.mean([1.0, 0.0, 1.0]), alone, confidence=0.95) is None
