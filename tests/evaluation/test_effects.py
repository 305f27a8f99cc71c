"""Effects: equal to SciPy where it has them, right about planted ratios, and cut by covariates as the theory says."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from evaluation.effects import arm_means, contrast, linearised, pooled_residual, variance_cut
from evaluation.power import detectable, power_of, users_needed

RNG = np.random.default_rng(5)


def arms(count: int, share: float = 0.5, rng: np.random.Generator = RNG) -> np.ndarray:
    return (rng.random(count) < share).astype(np.int64)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 60), st.integers(2, 60), st.floats(0.1, 20))
def test_a_difference_is_welchs(seed: int, control: int, treatment: int, spread: float) -> None:
    rng = np.random.default_rng(seed)
    a, b = rng.normal(1, 1, control), rng.normal(2, spread, treatment)
    arm = np.repeat([0, 1], [control, treatment])
    found = contrast(arm_means(np.concatenate([a, b]), arm, 2), 1, confidence=0.9)
    told = stats.ttest_ind(b, a, equal_var=False)
    span = told.confidence_interval(0.9)
    assert (found.p, found.interval.low, found.interval.high) == pytest.approx((told.pvalue, span.low, span.high))


def test_a_regression_in_each_arm_is_the_regression_with_interactions() -> None:
    n = 500
    x, arm = RNG.normal(size=(n, 2)) @ np.array([[1.0, 0.4], [0.0, 1.0]]), arms(n)
    y = x @ np.array([1.0, -2.0]) + arm * (0.3 + x[:, 0]) + RNG.normal(size=n)
    centred = x - x.mean(axis=0)
    design = np.column_stack([np.ones(n), arm, centred, arm[:, None] * centred])
    found = contrast(arm_means(y, arm, 2, x), 1)
    assert found.difference == pytest.approx(np.linalg.lstsq(design, y, rcond=None)[0][1])


def test_columns_that_repeat_each_other_change_nothing() -> None:
    n = 400
    x, arm = RNG.normal(size=(n, 1)), arms(n)
    y = x[:, 0] + RNG.normal(size=n)
    once = contrast(arm_means(y, arm, 2, x), 1)
    thrice = contrast(arm_means(y, arm, 2, np.column_stack([x, 2 * x + 1, np.ones(n)])), 1)
    assert thrice.difference == pytest.approx(once.difference)
    assert thrice.standard_error == pytest.approx(once.standard_error)


@pytest.mark.parametrize("correlation", [0.0, 0.5, 0.71, 0.9])
def test_cuped_cuts_the_squared_correlation(correlation: float) -> None:
    rng = np.random.default_rng(1)
    n = 40_000
    x, arm = rng.normal(size=(n, 1)), arms(n, rng=rng)
    y = correlation * x[:, 0] + np.sqrt(1 - correlation**2) * rng.normal(size=n) + 0.1 * arm
    cut = variance_cut(contrast(arm_means(y, arm, 2), 1), contrast(arm_means(y, arm, 2, x), 1))
    assert cut == pytest.approx(correlation**2, abs=0.015)
    assert pooled_residual(y, arm, 2, x).var() == pytest.approx((1 - correlation**2), rel=0.05)


def coverage(draw: object, truth: float, *, rounds: int = 400) -> float:
    rng = np.random.default_rng(11)
    held = 0
    for _ in range(rounds):
        interval = draw(rng)  # type: ignore[operator]
        held += truth in interval
    return held / rounds


def test_ratio_intervals_hold_the_truth_though_rows_of_a_user_are_alike() -> None:
    def draw(rng: np.random.Generator) -> object:
        n = 1_000
        arm, taste, shown = arms(n, rng=rng), rng.beta(2, 18, n), rng.poisson(5, n) * 2 + 1
        clicks = rng.binomial(shown, np.minimum(taste * np.where(arm == 1, 1.2, 1.0), 1))
        values = linearised(clicks.astype(float), shown.astype(float), arm, 2)
        return contrast(arm_means(values, arm, 2), 1).lift_interval

    assert 0.92 <= coverage(draw, 0.2) <= 0.975


def test_adjusted_intervals_hold_the_population_effect_when_slopes_differ() -> None:
    def draw(rng: np.random.Generator) -> object:
        n = 400
        arm, x = arms(n, 0.3, rng), rng.normal(size=(n, 1))
        y = x[:, 0] + arm * (0.5 + 2 * x[:, 0]) + 0.5 * rng.normal(size=n)
        return contrast(arm_means(y, arm, 2, x), 1).interval

    assert 0.92 <= coverage(draw, 0.5) <= 0.975


def test_an_outcome_that_does_not_vary_has_no_width_and_control_of_0_no_lift() -> None:
    found = contrast(arm_means(np.zeros(10), np.repeat([0, 1], 5), 2), 1)
    assert (found.standard_error, found.p, found.lift) == (0.0, 1.0, None)


def test_power_and_users_are_each_others_inverse() -> None:
    variances, alpha = (2.0, 3.0), 0.05
    users = users_needed(0.1, variances, alpha=alpha, power=0.8, control_share=0.25)
    split = (users // 4, users - users // 4)
    assert detectable(variances, split, alpha=alpha, power=0.8) == pytest.approx(0.1, rel=1e-3)
    assert power_of(0.1, variances, split, alpha=alpha) == pytest.approx(0.8, abs=1e-3)


def test_power_is_the_share_of_experiments_that_find_the_effect() -> None:
    rng = np.random.default_rng(2)
    users, gap = 400, 0.25
    a, b = rng.normal(0, 1, (4_000, users)), rng.normal(gap, 1, (4_000, users))
    p = stats.ttest_ind(a, b, axis=1, equal_var=False).pvalue
    assert power_of(gap, (1.0, 1.0), (users, users), alpha=0.05) == pytest.approx((p < 0.05).mean(), abs=0.02)
