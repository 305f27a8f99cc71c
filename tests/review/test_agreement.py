"""Agreement beyond chance: published worked examples, scikit-learn by another road, and what it must do whatever is said."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score

from review.agreement import cohen_kappa, consistency, exact_interval, fleiss_kappa

FLEISS_LEVIN_PAIK = [[75, 1, 4], [5, 4, 1], [0, 0, 10]]
"""Table 18.1 of Statistical Methods for Rates and Proportions, 3rd edition: 100 subjects, two raters, in per cent."""

FLEISS_PSYCHIATRISTS = [
    [0, 0, 0, 0, 14], [0, 2, 6, 4, 2], [0, 0, 3, 5, 6], [0, 3, 9, 2, 0], [2, 2, 8, 1, 1],
    [7, 7, 0, 0, 0], [3, 2, 6, 3, 0], [2, 5, 3, 2, 2], [6, 5, 2, 1, 0], [0, 2, 2, 3, 7],
]  # fmt: skip
"""Ten subjects, fourteen raters, five categories: the textbook example with kappa 0.210."""


def unrolled(table: list[list[int]]) -> tuple[list[int], list[int]]:
    pairs = [(i, j) for i, row in enumerate(table) for j, count in enumerate(row) for _ in range(count)]
    return [i for i, _ in pairs], [j for _, j in pairs]


def test_cohens_kappa_of_the_textbook() -> None:
    found, error = cohen_kappa(*unrolled(FLEISS_LEVIN_PAIK))
    assert found.kappa == pytest.approx(0.68, abs=0.005)
    assert error == pytest.approx(0.087, abs=0.001)
    assert found.low == pytest.approx(0.51, abs=0.006)  # the book rounds kappa and its error first
    assert found.high == pytest.approx(0.85, abs=0.006)


def test_fleiss_kappa_of_the_textbook() -> None:
    found = fleiss_kappa(FLEISS_PSYCHIATRISTS)
    assert found.kappa == pytest.approx(0.210, abs=0.0005)
    assert found.observed == pytest.approx(0.378, abs=0.0005)
    assert found.low < found.kappa < found.high


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=2, max_size=60))
def test_cohens_kappa_is_scikit_learns(pairs: list[tuple[int, int]]) -> None:
    first, second = [one for one, _ in pairs], [other for _, other in pairs]
    found, _ = cohen_kappa(first, second)
    with np.errstate(invalid="ignore"):
        theirs = cohen_kappa_score(first, second)
    assert math.isnan(found.kappa) if math.isnan(theirs) else found.kappa == pytest.approx(theirs)


def test_the_standard_error_is_that_of_many_repetitions() -> None:
    """Another road: the spread of kappa over samples from a known table."""
    rng = np.random.default_rng(0)
    table = np.array([[0.45, 0.1, 0.02], [0.05, 0.2, 0.03], [0.02, 0.03, 0.1]])
    cells = rng.choice(9, size=(400, 300), p=table.ravel())
    found = [cohen_kappa((row // 3).tolist(), (row % 3).tolist()) for row in cells]
    spread, told = np.std([one.kappa for one, _ in found]), np.mean([error for _, error in found])
    assert told == pytest.approx(spread, rel=0.1)


def test_the_bootstrap_covers_the_true_fleiss_kappa() -> None:
    """Reviewers who answer truly with chance a, else at random, have kappa a^2 on evenly split pictures."""
    rng = np.random.default_rng(1)
    covered = 0
    for trial in range(150):
        truth = rng.integers(2, size=120)
        said = np.where(rng.random((120, 3)) < 0.7, truth[:, None], rng.integers(2, size=(120, 3)))
        counts = np.stack([(said == 0).sum(axis=1), (said == 1).sum(axis=1)], axis=1)
        found = fleiss_kappa(counts, resamples=400, seed=trial)
        covered += found.low <= 0.49 <= found.high
    assert covered >= 133  # 95 % of 150, less three standard errors


def test_pictures_that_one_person_judged_say_nothing_of_agreement() -> None:
    more = [*FLEISS_PSYCHIATRISTS, [1, 0, 0, 0, 0], [0, 0, 0, 0, 0]]
    assert fleiss_kappa(more).kappa == fleiss_kappa(FLEISS_PSYCHIATRISTS).kappa
    assert math.isnan(fleiss_kappa([[1, 0], [0, 1]]).kappa)


def test_where_all_say_the_same_chance_explains_everything() -> None:
    assert math.isnan(cohen_kappa(["approve"] * 5, ["approve"] * 5)[0].kappa)
    assert math.isnan(fleiss_kappa([[3, 0], [3, 0]]).kappa)
    assert cohen_kappa(["approve", "reject"] * 5, ["approve", "reject"] * 5)[0].kappa == 1


def test_a_reviewer_who_changes_his_mind_on_planted_repeats_is_seen() -> None:
    decisions = []
    for number in range(20):
        decisions += [("steady", f"p{number}", "approve" if number % 2 else "reject")] * 2
        decisions += [("fickle", f"p{number}", "approve"), ("fickle", f"p{number}", "reject" if number < 10 else "approve")]  # fmt: skip
    decisions.append(("new", "p1", "approve"))
    fickle, new, steady = consistency(*zip(*decisions, strict=True))
    assert (steady.share, steady.kappa.kappa) == (1.0, pytest.approx(1.0))
    assert fickle.share == 0.5
    assert fickle.low < 0.5 < fickle.high
    assert (new.repeats, new.low, new.high) == (0, 0.0, 1.0)


def test_the_exact_interval_is_clopper_and_pearsons() -> None:
    """Their rule for no hits: 1 - (alpha / 2)^(1 / n)."""
    assert exact_interval(0, 20) == (0.0, pytest.approx(1 - 0.025 ** (1 / 20)))
    low, high = exact_interval(7, 20)
    assert (low, high) == (pytest.approx(0.1539, abs=1e-4), pytest.approx(0.5922, abs=1e-4))
