"""The user-clustered bootstrap: honest coverage, pairing, and the same bytes for the same seed."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.errors import DataError
from evaluation.intervals import Terms, bootstrap, interval, percentile


def _clustered(rng: np.random.Generator, users: int = 60, rows: int = 8) -> tuple[np.ndarray, np.ndarray]:
    """Values of mean 0 that share a user's level, and their users."""
    names = np.repeat(np.arange(users), rows)
    return rng.normal(size=users)[names] + rng.normal(size=users * rows), names


def test_intervals_cover_as_often_as_promised_and_row_wise_ones_would_not() -> None:
    repetitions, hit, hit_by_rows = 200, 0, 0
    for repetition in range(repetitions):
        values, users = _clustered(np.random.default_rng(repetition))
        found = {
            name: interval(Terms.mean(values), who, confidence=0.9, resamples=200, seed=repetition, name=name)
            for name, who in (("users", users), ("rows", np.arange(values.size)))
        }
        assert found["users"] is not None
        assert found["rows"] is not None
        hit += 0.0 in found["users"]
        hit_by_rows += 0.0 in found["rows"]
    # binomial sd at 0.9 over 200: 0.021; 4 sd, and 0.02 for the bootstrap's own bias with 60 users
    assert abs(hit / repetitions - 0.9) < 4 * 0.021 + 0.02
    # rows share 1/2 of their variance in groups of 8, so a row-wise interval is sqrt(4.5) times too narrow: covers 56 %
    assert hit_by_rows / repetitions < 0.75


def test_the_spread_of_a_ratio_is_that_of_a_slow_bootstrap() -> None:
    rng = np.random.default_rng(5)
    users = rng.integers(0, 40, 300)
    above, below = rng.random(300), rng.random(300) + 0.5
    fast = bootstrap({"r": Terms.ratio(above, below)}, users, resamples=2000, seed=1, name="t")["r"]
    names = np.unique(users)
    rows = {name: np.flatnonzero(users == name) for name in names}
    slow = []
    for _ in range(2000):
        drawn = np.concatenate([rows[name] for name in rng.choice(names, names.size)])
        slow.append(above[drawn].sum() / below[drawn].sum())
    assert fast.std() == pytest.approx(np.std(slow), rel=0.1)  # relative sd of each: 1 / sqrt(2 * 2000) = 1.6 %
    assert fast.mean() == pytest.approx(np.mean(slow), abs=5 * np.std(slow) / np.sqrt(1000))


def test_differences_are_paired_since_all_statistics_share_their_resamples() -> None:
    values, users = _clustered(np.random.default_rng(6))
    draws = bootstrap({"a": Terms.mean(values), "b": Terms.mean(values + 0.3)}, users, resamples=100, seed=1, name="t")
    assert draws["b"] - draws["a"] == pytest.approx(np.full(100, 0.3))
    assert draws["a"].std() > 0.05


def test_equal_seeds_give_equal_draws_and_other_names_other_draws() -> None:
    values, users = _clustered(np.random.default_rng(7))
    first, again, other = (
        bootstrap({"a": Terms.mean(values)}, users, resamples=60, seed=3, name=name)["a"] for name in ("x", "x", "y")
    )
    assert (first == again).all()
    assert (first != other).any()


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 5), st.floats(0.1, 5), st.booleans()), min_size=1, max_size=30))
def test_the_mean_of_contributions_is_the_value(rows: list[tuple[float, float, bool]]) -> None:
    present = np.array([[1.0, float(row[2])] for row in rows])
    weights = np.array([[row[0], row[1]] for row in rows]) * present + 1e-3 * present
    terms = Terms(weights * 0.3, weights, present)
    # every slot's self-normalised mean is 0.3, so the value is 0.3 per slot a row has on average
    assert terms.value == pytest.approx(0.3 * present.sum() / len(rows))
    assert terms.contributions.mean() == pytest.approx(terms.value)


def test_a_tail_that_is_not_known_gives_no_interval() -> None:
    draws = np.arange(100.0)
    draws[:2] = np.nan
    known = percentile(draws, 0.95)
    assert known is not None
    assert [known.low, known.high] == pytest.approx(np.quantile(draws[2:], [0.025, 0.975]))
    draws[:4] = np.nan
    assert percentile(draws, 0.95) is None


def test_one_user_gives_no_interval_and_mismatched_rows_are_refused() -> None:
    alone = interval(
        Terms.mean([0.0, 1.0]), np.zeros(2, dtype=np.int64), confidence=0.9, resamples=50, seed=1, name="t"
    )
    assert alone is None
    with pytest.raises(DataError, match="statistic a"):
        bootstrap({"a": Terms.mean([1.0])}, np.zeros(2, dtype=np.int64), resamples=50, seed=1, name="t")
