"""What reviewers approve: a planted taste is found, strict reviewers and hard concepts do not bend it, doubt is honest."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from sklearn.linear_model import LogisticRegression

from contracts.errors import ModelError
from generators.taste.approval import FILE, TERMS, Approval, Verdicts, fit_approval, preferences_of, sigmoid
from generators.taste.look import LOOK
from generators.taste.variety import Looks

F = len(LOOK)
NONE = np.array([], np.int64)
LIKES = np.zeros(len(TERMS))
LIKES[[0, LOOK.index("busyness"), F]] = 1.2, -0.8, -0.7  # light, calm, and not too light


def phi(features: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    return np.concatenate([features, (features**2 - 1) / np.sqrt(2)], axis=1).astype(np.float64)


def planted(count: int, seed: int = 0, *, reviewers: int = 3, concepts: int = 4, looks: int = 400) -> Verdicts:
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(looks, F)).astype(np.float32)
    concept, picture = rng.integers(concepts, size=looks), rng.integers(looks, size=count)
    reviewer = rng.integers(reviewers, size=count)
    bars = np.linspace(-1, 1, reviewers)[reviewer] + np.linspace(-0.5, 0.5, concepts)[concept[picture]]
    approved = rng.random(count) < sigmoid(phi(features)[picture] @ LIKES - bars)
    better, worse = rng.integers(looks, size=(2, count // 4))
    first = rng.random(count // 4) < sigmoid((phi(features)[better] - phi(features)[worse]) @ LIKES)
    return Verdicts(features, concept, picture, reviewer, approved,
                    np.where(first, better, worse), np.where(first, worse, better))  # fmt: skip


def fitted(verdicts: Verdicts, **changes: float) -> Approval:
    return fit_approval(verdicts, centre=np.zeros(F), scale=np.ones(F), **changes)


def test_a_planted_taste_and_the_reviewers_bars_are_found() -> None:
    found = fitted(planted(4000))
    assert np.corrcoef(found.weights, LIKES)[0, 1] > 0.97
    assert found.reviewer_bars[0] < found.reviewer_bars[1] < found.reviewer_bars[2]
    assert (found.decisions, found.preferences) == (4000, 1000)
    assert {name for name, *_ in found.intervals()[:3]} == {"lightness", "busyness", "lightness_squared"}


def test_the_intervals_cover_the_planted_taste_as_often_as_they_say() -> None:
    covered = []
    for seed in range(25):
        found = fitted(planted(1500, seed), weight_deviation=2.0)
        told = {name: (low, high) for name, _, low, high in found.intervals()}
        covered += [told[name][0] <= true <= told[name][1] for name, true in zip(TERMS, LIKES, strict=True)]
    assert 0.92 <= np.mean(covered) <= 0.98


def test_it_is_the_ridge_regression_of_scikit_learn() -> None:
    """Another road, where there are no bars but the common one: the same penalised logistic regression."""
    verdicts = replace(planted(600, reviewers=1, concepts=1), better=NONE, worse=NONE)
    found = fitted(verdicts, bar_deviation=1e-4, weight_deviation=0.7)
    theirs = LogisticRegression(C=0.49, tol=1e-10, max_iter=5000).fit(
        phi(verdicts.features)[verdicts.picture], verdicts.approved
    )
    assert found.weights == pytest.approx(theirs.coef_[0], abs=0.02)  # their intercept has no prior


def test_preferences_alone_teach_and_a_turned_preference_turns_the_taste() -> None:
    whole = planted(4000)
    alone = replace(whole, picture=NONE, reviewer=NONE, approved=np.array([], bool))
    found = fitted(alone)
    assert np.corrcoef(found.weights, LIKES)[0, 1] > 0.9
    turned = fitted(replace(alone, better=alone.worse, worse=alone.better))
    assert turned.weights == pytest.approx(-found.weights, abs=1e-6)


def test_the_order_of_decisions_does_not_matter_and_the_mode_is_one() -> None:
    verdicts = planted(500)
    order = np.random.default_rng(1).permutation(500)
    shuffled = replace(verdicts, picture=verdicts.picture[order], reviewer=verdicts.reviewer[order],
                       approved=verdicts.approved[order])  # fmt: skip
    assert fitted(shuffled).weights == pytest.approx(fitted(verdicts).weights, abs=1e-8)


def test_far_from_all_that_was_judged_it_only_guesses() -> None:
    found = fitted(planted(60))
    near, far = np.zeros((1, F), np.float32), np.full((1, F), 4, np.float32)
    sure = abs(found.quality(far)[0] - found.bar)
    assert abs(found.odds(far)[0]) < 0.6 * sure
    assert 0 < found.chance(near)[0] < 1
    assert np.log(found.chance(far)) == pytest.approx(found.log_chance(far))


def test_it_is_kept_and_read_back_and_damage_is_named(tmp_path: Path) -> None:
    found = fitted(planted(100))
    assert Approval.load(tmp_path) is None
    found.save(tmp_path)
    again = Approval.load(tmp_path)
    assert again is not None
    assert again.bar == found.bar
    assert (again.weights == found.weights).all()
    (tmp_path / FILE).write_bytes(b"x" * 40)
    with pytest.raises(ModelError, match="adloom learn"):
        Approval.load(tmp_path)


def test_ratings_are_preferences_of_one_reviewer_within_one_concept() -> None:
    told = [
        ("ann", "shoe", 0, 5),
        ("ann", "shoe", 1, 2),
        ("ann", "bag", 2, 1),
        ("bob", "shoe", 3, 1),
        ("ann", "shoe", 4, 2),
    ]
    assert preferences_of(told) == [(0, 1), (0, 4)]


def test_nothing_said_is_refused() -> None:
    with pytest.raises(ValueError, match="nothing"):
        fitted(Verdicts(np.zeros((1, F), np.float32), NONE, NONE, NONE, np.array([], bool), NONE, NONE))


def test_features_cannot_be_standardised_by_nothing() -> None:
    """A deviation of zero would make every quality not a number, and every choice the first candidate."""
    features = np.zeros((4, len(LOOK)), np.float32)
    who = np.zeros(4, np.int64)
    said = Verdicts(features, who, np.arange(4), who, np.array([True, False, True, False]), who[:0], who[:0])
    with pytest.raises(ValueError, match="positive scales"):
        fit_approval(said, centre=np.zeros(len(LOOK)), scale=np.zeros(len(LOOK)))
    centre, scale = Looks(features, features).standard
    assert np.isfinite(fit_approval(said, centre=centre, scale=scale).quality(features)).all()
