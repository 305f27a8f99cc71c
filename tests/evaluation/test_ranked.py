"""Ranking figures group by group against scikit-learn, and against every order of a tie."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from evaluation import ranked

tied_rows = st.lists(st.tuples(st.booleans(), st.integers(0, 4), st.integers(0, 5)), min_size=2, max_size=60)
small_group = st.lists(st.tuples(st.booleans(), st.integers(0, 2)), min_size=1, max_size=6)


def columns(rows: list[tuple[bool, int, int]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    clicked, score, group = (np.array([row[i] for row in rows]) for i in range(3))
    return clicked, score.astype(float), group


@settings(max_examples=50, deadline=None)
@given(tied_rows)
def test_average_precision_and_auc_equal_scikit_learn_group_by_group_with_ties(
    rows: list[tuple[bool, int, int]],
) -> None:
    clicked, score, group = columns(rows)
    precision, area = ranked.average_precision(clicked, score, group), ranked.grouped_auc(clicked, score, group)
    expected, areas = {}, {}
    for name in np.unique(group):
        of = group == name
        if clicked[of].any():
            expected[name] = sk.average_precision_score(clicked[of], score[of])
            if not clicked[of].all():
                areas[name] = sk.roc_auc_score(clicked[of], score[of])
    assert dict(zip(precision.groups.tolist(), precision.values, strict=True)) == pytest.approx(expected, abs=1e-12)
    assert dict(zip(area.groups.tolist(), area.values, strict=True)) == pytest.approx(areas, abs=1e-12)
    assert area.left_out == len(np.unique(group)) - len(areas)
    if areas:
        sizes = [int((group == name).sum()) for name in areas]
        assert area.mean == pytest.approx(np.average(list(areas.values()), weights=sizes))


def over_orders(rows: list[tuple[bool, int]], figure: str, k: int) -> float:
    """Mean of a figure over all orders that respect the scores."""
    found = []
    for order in permutations(rows):
        if [score for _, score in order] == sorted((score for _, score in rows), reverse=True):
            clicks = [clicked for clicked, _ in order]
            found.append(1 / (clicks.index(True) + 1) if figure == "mrr" else sum(clicks[:k]) / sum(clicks))
    return float(np.mean(found))


@settings(max_examples=60, deadline=None)
@given(small_group, st.integers(1, 6))
def test_mrr_and_recall_are_means_over_the_orders_of_a_tie(rows: list[tuple[bool, int]], k: int) -> None:
    clicked, score = np.array([r[0] for r in rows]), np.array([r[1] for r in rows], dtype=float)
    group = np.zeros(len(rows), dtype=int)
    first, kept = ranked.reciprocal_rank(clicked, score, group), ranked.recall_at_k(clicked, score, group, k)
    if not clicked.any():
        assert first.left_out == kept.left_out == 1
        assert np.isnan(first.mean)
        return
    assert first.mean == pytest.approx(over_orders(rows, "mrr", k))
    assert kept.mean == pytest.approx(over_orders(rows, "recall", k))


def test_mrr_equals_scikit_learn_for_one_click_a_group_and_no_ties() -> None:
    rng = np.random.default_rng(0)
    score, label = rng.random((40, 7)), np.eye(7)[rng.integers(7, size=40)]
    ours = ranked.reciprocal_rank(label.ravel(), score.ravel(), np.repeat(np.arange(40), 7))
    assert ours.mean == pytest.approx(sk.label_ranking_average_precision_score(label, score))


@settings(max_examples=30, deadline=None)
@given(tied_rows, st.randoms())
def test_no_figure_depends_on_the_order_of_rows(rows: list[tuple[bool, int, int]], random: object) -> None:
    shuffled = list(rows)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    for figure in (ranked.reciprocal_rank, ranked.average_precision, ranked.grouped_auc):
        one, other = figure(*columns(rows)), figure(*columns(shuffled))
        assert one.values == pytest.approx(other.values)
    assert ranked.recall_at_k(*columns(rows), k=2).values == pytest.approx(
        ranked.recall_at_k(*columns(shuffled), k=2).values
    )


def test_several_groups_are_told_apart() -> None:
    clicked, score, group = np.array([0, 1, 1, 0]), np.array([2.0, 1.0, 2.0, 1.0]), np.array([5, 5, 8, 8])
    assert ranked.reciprocal_rank(clicked, score, group).values.tolist() == [0.5, 1.0]
    assert ranked.recall_at_k(clicked, score, group, 1).values.tolist() == [0.0, 1.0]
    assert ranked.grouped_auc(clicked, score, group).values.tolist() == [0.0, 1.0]
