"""Claims about calibration: planted chances come back, and a slope is never negative."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as effort
from hypothesis import strategies as st

from ranking.calibration import MAX_SLOTS, MIN_CURVE_CLICKS, Calibration, calibrate

OFFSETS = np.array([0.0, -0.5, -1.2])


def planted(n: int, slope: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    score, slot = rng.normal(2.0, 3.0, n), rng.integers(0, 3, n)
    chance = 1.0 / (1.0 + np.exp(-(slope * score - 2.5 + OFFSETS[slot])))
    return score, slot, (rng.random(n) < chance).astype(float), chance


def test_planted_chances_come_back() -> None:
    score, slot, clicked, chance = planted(40_000, 0.4)
    fitted = calibrate(score, slot, clicked)
    assert fitted.slope == pytest.approx(0.4, abs=0.03)
    assert fitted.intercept == pytest.approx(-2.5, abs=0.1)
    np.testing.assert_allclose(fitted.slot_offsets, OFFSETS, atol=0.12)
    assert np.abs(fitted.click_chance(score, slot) - chance).max() < 0.03
    assert fitted.warning is None


def test_the_mean_chance_is_the_click_rate() -> None:
    score, slot, clicked, _ = planted(3_000, 0.4)
    assert calibrate(score, slot, clicked).click_chance(score, slot).mean() == pytest.approx(clicked.mean(), abs=1e-4)


def test_a_score_that_points_the_wrong_way_gives_a_constant_with_a_warning() -> None:
    score, slot, clicked, _ = planted(5_000, -0.4)
    fitted = calibrate(score, slot, clicked)
    assert fitted.slope == 0.0
    assert "does not rise" in str(fitted.warning)
    assert np.ptp(fitted.click_chance(score)) == 0.0
    assert fitted.click_chance(0.0, slot).mean() == pytest.approx(clicked.mean(), abs=1e-3)


@pytest.mark.parametrize(("n", "click"), [(0, 0.0), (20, 1.0), (500, 0.0), (500, 1.0)])
def test_too_little_gives_a_constant_inside_zero_and_one(n: int, click: float) -> None:
    fitted = calibrate(np.arange(n) * 1.0, np.zeros(n, int), np.full(n, click))
    assert fitted.slope == 0.0
    assert 0.0 < fitted.click_chance(99.0) < 1.0
    assert "constant" in str(fitted.warning)


def test_constant_scores_are_no_slope() -> None:
    fitted = calibrate(np.ones(500), np.zeros(500, int), (np.arange(500) % 10 == 0).astype(float))
    assert fitted.slope == 0.0
    assert fitted.click_chance(1.0) == pytest.approx(0.1)


def test_a_slot_beyond_the_known_ones_is_like_the_last() -> None:
    calibration = Calibration(1.0, 0.0, (0.0, -1.0))
    assert calibration.log_odds(2.0, [0, 1, 7]).tolist() == [2.0, 1.0, 1.0]
    deep = calibrate(np.arange(100.0), np.arange(100) * 10**6, (np.arange(100) % 3 == 0).astype(float))
    assert len(deep.slot_offsets) == MAX_SLOTS


@effort(max_examples=50, deadline=None)
@given(
    rows=st.lists(st.tuples(st.floats(-50, 50), st.integers(0, 5), st.booleans()), min_size=50, max_size=120),
)
def test_it_is_finite_and_never_falls_with_the_score(rows: list[tuple[float, int, bool]]) -> None:
    score, slot, clicked = (np.array(column) for column in zip(*rows, strict=True))
    fitted = calibrate(score, slot, clicked.astype(float))
    chance = fitted.click_chance(np.linspace(-60, 60, 30))
    assert np.isfinite(chance).all()
    assert np.all(np.diff(chance) >= 0)
    assert (fitted.slope > 0) == (fitted.warning is None)


def bent(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """A law that no straight line in log-odds fits: low scores all alike, high ones steep."""
    rng = np.random.default_rng(seed)
    score, slot = rng.normal(size=n), rng.integers(0, 3, n)
    odds = np.where(score < 0.5, -2.5, -2.5 + 3.0 * (score - 0.5)) + OFFSETS[slot]
    chance = 1.0 / (1.0 + np.exp(-odds))
    return score, slot, (rng.random(n) < chance).astype(float), chance


def test_the_curve_is_taken_where_a_later_half_is_better_for_it() -> None:
    score, slot, clicked, chance = bent(40_000)
    fitted = calibrate(score, slot, clicked)
    assert fitted.method == "isotonic"
    straight = Calibration(fitted.slope, fitted.intercept, fitted.slot_offsets)
    wrong = [np.abs(c.click_chance(score, slot) - chance).mean() for c in (fitted, straight)]
    assert wrong[0] < 0.5 * wrong[1]


def test_few_clicks_and_a_straight_law_stay_with_platt() -> None:
    score, slot, clicked, _ = bent(3_000)
    assert clicked.sum() < MIN_CURVE_CLICKS
    assert calibrate(score, slot, clicked).method == "platt"
    kept = [calibrate(*planted(20_000, 0.4, seed)[:3]).method for seed in range(8)]
    assert kept.count("platt") >= 5, "a curve that fits noise loses on the later half more often than not"


def test_the_curve_makes_no_ties_and_goes_on_beyond_its_ends() -> None:
    score, slot, clicked, _ = bent(40_000)
    fitted = calibrate(score, slot, clicked)
    odds = fitted.log_odds(np.linspace(-40, 40, 4001))
    assert np.isfinite(odds).all()
    assert np.all(np.diff(odds) > 0)
    assert odds[-1] - odds[-2] == pytest.approx(fitted.slope * 0.02)
    np.testing.assert_allclose(fitted.log_odds(0.3, [0, 1, 2]) - fitted.log_odds(0.3), fitted.slot_offsets)
