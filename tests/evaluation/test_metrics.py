"""Ranking and calibration figures against scikit-learn and hand-made cases."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import calibration as sk_calibration
from sklearn import metrics as sk

from contracts.errors import DataError
from evaluation import metrics, ranked

tied_rows = st.lists(st.tuples(st.booleans(), st.integers(0, 4), st.integers(0, 5)), min_size=2, max_size=60)


@settings(max_examples=50, deadline=None)
@given(tied_rows)
def test_auc_equals_scikit_learn_with_ties(rows: list[tuple[bool, int, int]]) -> None:
    clicked, score = np.array([r[0] for r in rows]), np.array([r[1] for r in rows], dtype=float)
    ours = metrics.auc(clicked, score)
    if clicked.all() or not clicked.any():
        assert np.isnan(ours)
    else:
        assert ours == pytest.approx(sk.roc_auc_score(clicked, score), abs=1e-12)


@settings(max_examples=50, deadline=None)
@given(tied_rows, st.integers(1, 7))
def test_ndcg_equals_scikit_learn_group_by_group_with_ties(rows: list[tuple[bool, int, int]], k: int) -> None:
    clicked, score, group = (np.array([row[i] for row in rows]) for i in range(3))
    found = ranked.ndcg_at_k(clicked, score, group, k)
    expected = {}
    for name in np.unique(group):
        of = group == name
        if clicked[of].any():
            single = of.sum() == 1  # scikit-learn refuses a single row, whose NDCG is 1
            expected[name] = 1.0 if single else sk.ndcg_score(clicked[of][None].astype(float), score[of][None], k=k)
    assert dict(zip(found.groups.tolist(), found.values, strict=True)) == pytest.approx(expected, abs=1e-12)
    assert found.left_out == len(np.unique(group)) - len(expected)


def test_groups_without_a_click_are_counted_and_do_not_pull_the_mean_down() -> None:
    found = ranked.ndcg_at_k([1, 0, 0, 0], [2, 1, 2, 1], [7, 7, 8, 8], k=2)
    assert found.mean == 1.0
    assert found.left_out == 1
    assert np.isnan(ranked.ndcg_at_k([0, 0], [1, 2], [0, 0], k=2).mean)


def test_an_order_that_is_all_ties_is_worth_the_mean_over_orders() -> None:
    found = ranked.ndcg_at_k([1, 0], [5, 5], [0, 0], k=2)
    assert found.mean == pytest.approx((1 + 1 / np.log2(3)) / 2)


def test_log_loss_equals_scikit_learn_even_for_certain_and_wrong_predictions() -> None:
    rng = np.random.default_rng(1)
    clicked, chance = rng.random(200) < 0.3, rng.random(200)
    chance[:4] = [0.0, 1.0, 0.0, 1.0]
    assert metrics.log_loss(clicked, chance) == pytest.approx(sk.log_loss(clicked, chance))


def test_normalised_entropy_is_one_for_the_mean_and_near_zero_for_an_oracle() -> None:
    clicked = np.arange(100) < 7
    assert metrics.normalised_entropy(clicked, np.full(100, 0.07)) == pytest.approx(1.0)
    assert metrics.normalised_entropy(clicked, clicked.astype(float)) < 1e-10
    assert np.isnan(metrics.normalised_entropy(np.zeros(3), np.full(3, 0.1)))


def test_the_reliability_curve_equals_scikit_learn_without_ties() -> None:
    rng = np.random.default_rng(2)
    chance = rng.random(1000)
    clicked = rng.random(1000) < chance**2
    ours = metrics.reliability_curve(clicked, chance, bins=10)
    observed, predicted = sk_calibration.calibration_curve(clicked, chance, n_bins=10, strategy="quantile")
    assert ours.observed == pytest.approx(observed)
    assert ours.predicted == pytest.approx(predicted)
    assert ours.rows.tolist() == [100] * 10


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 6)), min_size=1, max_size=80), st.randoms())
def test_calibration_error_does_not_depend_on_the_order_of_tied_rows(
    rows: list[tuple[bool, int]], random: object
) -> None:
    shuffled = list(rows)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    first, second = (
        metrics.expected_calibration_error([r[0] for r in case], [r[1] / 6 for r in case], bins=5)
        for case in (rows, shuffled)
    )
    assert first == pytest.approx(second, abs=1e-12)
    assert 0 <= first <= 1


def test_calibration_error_sees_a_planted_bias_and_no_bias() -> None:
    rng = np.random.default_rng(3)
    chance = rng.uniform(0.1, 0.5, 40_000)
    clicked = rng.random(40_000) < chance
    assert metrics.expected_calibration_error(clicked, chance) < 0.012  # sd of a bin of 4,000: 0.007
    assert metrics.expected_calibration_error(clicked, chance + 0.1) == pytest.approx(0.1, abs=0.012)


@pytest.mark.parametrize(
    ("clicked", "chance"),
    [([1, 0], [0.5]), ([], []), ([2, 0], [0.1, 0.2]), ([1, 0], [0.1, float("nan")]), ([1, 0], [0.1, 1.2])],
)
def test_impossible_inputs_are_refused(clicked: list[float], chance: list[float]) -> None:
    with pytest.raises(DataError):
        metrics.log_loss(clicked, chance)
