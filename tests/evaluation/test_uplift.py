"""Different effects for different users: found where planted, not claimed where there are none."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from contracts.settings import ExperimentSettings
from evaluation.experiment import Experiment, experiment
from evaluation.held_out import Heterogeneity, effect_scores, heterogeneity, targeting
from evaluation.uplift import grow_forest


def planted(users: int, *, seed: int, differ: float = 0.0, cross: bool = False) -> Experiment:
    """Effect of b: 0.3 + `differ` for those with x0 > 0; with `cross`, of opposite sign on either side."""
    rng = np.random.default_rng(seed)
    x, arm = rng.normal(size=(users, 3)), rng.integers(0, 2, users)
    side = np.sign(x[:, 0]) if cross else (x[:, 0] > 0)
    y = x[:, 1] + arm * ((0.0 if cross else 0.3) + differ * side) + rng.normal(size=users)
    table = pl.DataFrame(
        {"user_id": range(users), "arm": np.where(arm, "b", "a"), "y": y, "p": x[:, 0], "q": x[:, 1], "r": x[:, 2]}
    )
    plan = ExperimentSettings(control="a", outcomes=("y",), covariates=("p", "q", "r"))
    return experiment(table, plan, where="planted")


def checked(data: Experiment, seed: int = 7) -> Heterogeneity:
    found = heterogeneity(data, 0, confidence=0.95, seed=seed)
    assert not isinstance(found, str)
    return found


def test_planted_differences_are_found_and_used() -> None:
    found = checked(planted(20_000, seed=1, differ=0.8, cross=True))
    one = found.ranked[0]
    assert one.found
    assert one.effects[0] + one.half_widths[0] < 0 < one.effects[-1] - one.half_widths[-1]
    assert found.gain_interval.low > 0
    assert found.gain == pytest.approx(0.4, abs=0.08)  # half of the users are spared a loss of 0.8


def test_a_difference_that_changes_nobodys_best_arm_is_no_reason_to_personalise() -> None:
    found = checked(planted(20_000, seed=2, differ=1.0))
    assert found.ranked[0].found
    assert found.best_arm == "b"
    assert found.gain_interval.low <= 0


def test_without_differences_they_are_claimed_no_more_often_than_chance_allows() -> None:
    rounds = [checked(planted(4_200, seed=seed), seed) for seed in range(40)]
    assert sum(one.ranked[0].found for one in rounds) <= 4  # 2.5 % expected; 5 of 40 has a chance of 0.3 %
    assert sum(one.gain_interval.low > 0 for one in rounds) <= 4


def test_honest_effects_are_not_exaggerated_by_the_choice_of_splits() -> None:
    rng = np.random.default_rng(3)
    x, score = rng.normal(size=(8_000, 5)), 0.2 + 3 * rng.normal(size=8_000)
    effect = grow_forest(x, score, rng.integers(0, 2, 8_000), seed=1).effect(x)
    assert effect.mean() == pytest.approx(score.mean(), abs=0.06)
    assert effect.std() < 0.1


def test_a_forest_finds_the_step_of_an_effect() -> None:
    rng = np.random.default_rng(4)
    x = rng.normal(size=(8_000, 2))
    score = 1.0 * (x[:, 0] > 0.5) + rng.normal(size=8_000)
    effect = grow_forest(x, score, rng.integers(0, 2, 8_000), seed=1).effect(np.array([[1.5, 0], [-1.0, 0], [0.0, 2]]))
    assert effect[0] > 0.75
    assert abs(effect[1]) < 0.2
    assert abs(effect[2]) < 0.2


def test_scores_are_unbiased_whatever_the_model_says() -> None:
    rng = np.random.default_rng(5)
    arm, shares = rng.choice(3, 60_000, p=[0.5, 0.3, 0.2]), np.array([0.5, 0.3, 0.2])
    y = np.array([1.0, 2.0, 4.0])[arm] + rng.normal(size=arm.size)
    wrong = rng.normal(size=(arm.size, 3)) - 3
    assert effect_scores(y, arm, shares, wrong).mean(axis=0) == pytest.approx([1, 2, 4], abs=0.12)


def test_targeting_is_the_area_under_its_curve() -> None:
    mass, sums = np.ones((1, 1_000)), np.r_[np.ones(500), np.zeros(500)][None, :]
    autoc, qini = targeting(mass, sums)
    u = (np.arange(1_000) + 0.5) / 1_000  # TOC is 1/2 up to u = 1/2, then 1 / (2 u) - 1/2
    toc = np.where(u <= 0.5, 0.5, 0.5 / u - 0.5)
    assert autoc[0] == pytest.approx(toc.mean(), abs=1e-3)
    assert qini[0] == pytest.approx((u * toc).mean(), abs=1e-3)
    flat = targeting(mass, np.ones((1, 1_000)))
    assert (flat[0][0], flat[1][0]) == pytest.approx((0, 0), abs=1e-12)


def test_too_few_users_and_ratios_are_told() -> None:
    assert "too few" in str(heterogeneity(planted(500, seed=6), 0, confidence=0.95, seed=1))
