"""A planted shift is seen and has the size that theory gives it; no shift is not seen more often than chance allows."""

from __future__ import annotations

import numpy as np
import pytest

from contracts.seeds import stream
from evaluation.stability import (
    Ratio,
    calibration_ratio,
    profile,
    rate_moved,
    ratio_moved,
    shift,
)


def moved(before: np.ndarray, now: np.ndarray, threshold: float = 0.2):  # type: ignore[no-untyped-def]
    known = profile(before, len(before))
    return shift(known, profile(now, len(now), known.edges), threshold=threshold, confidence=0.99)


def test_a_planted_shift_of_the_mean_has_the_index_of_theory() -> None:
    draw = stream(1, "shift")
    for size in (0.25, 0.5, 1.0):
        found = moved(draw.normal(size=200_000), size + draw.normal(size=200_000))
        assert found.psi == pytest.approx(size**2, rel=0.08)  # (q - p) ln(q / p) of two normals is the distance squared
        assert found.moved == (size**2 > 0.2)
        assert found.ks == pytest.approx({0.25: 0.099, 0.5: 0.197, 1.0: 0.383}[size], abs=0.012)  # 2 Phi(d / 2) - 1


def test_without_a_shift_the_noise_is_exceeded_as_rarely_as_promised() -> None:
    draw = stream(2, "no shift")
    found = [moved(draw.normal(size=400), draw.normal(size=700), threshold=0.0) for _ in range(2000)]
    assert np.mean([one.psi for one in found]) == pytest.approx(9 * (1 / 400 + 1 / 700), rel=0.15)
    assert 0.002 < np.mean([one.moved for one in found]) < 0.02
    assert not any(one.psi > 0.2 for one in found)


def test_values_that_go_missing_are_a_shift_and_equal_values_are_none() -> None:
    draw = stream(3, "missing")
    whole = draw.normal(size=5000)
    holes = np.where(draw.uniform(size=5000) < 0.3, np.nan, draw.normal(size=5000))
    assert moved(whole, holes).moved
    assert not moved(whole, whole[::-1]).moved
    assert not moved(np.ones(5000), np.ones(4000)).moved
    assert moved(np.ones(5000), np.full(4000, 2.0)).moved
    assert moved(np.full(50, np.nan), np.ones(50)).moved


def test_few_users_hide_what_many_would_show() -> None:
    draw = stream(4, "few")
    before, now = draw.normal(size=20), 0.6 + draw.normal(size=20)
    assert not moved(before, now).moved
    assert moved(np.repeat(before, 100), np.repeat(now, 100)).moved


def test_profiles_by_other_bins_are_not_compared() -> None:
    with pytest.raises(ValueError, match="same bins"):
        shift(profile(np.arange(9.0), 9), profile(np.arange(5.0), 5), threshold=0.1, confidence=0.99)


def test_the_error_of_calibration_is_that_of_resampled_users() -> None:
    draw = stream(5, "calibration")
    users = np.repeat(np.arange(300), 5)
    chance = np.repeat(draw.uniform(0.05, 0.3, 300), 5)
    clicked = (draw.uniform(size=1500) < chance * 0.8).astype(float)
    found = calibration_ratio(clicked, chance, users)
    assert found.value == pytest.approx(0.8, abs=0.2)
    sums, totals = np.bincount(users, weights=clicked), np.bincount(users, weights=chance)
    again = draw.integers(0, 300, (4000, 300))
    assert found.error == pytest.approx(np.std(sums[again].sum(axis=1) / totals[again].sum(axis=1)), rel=0.1)


def test_calibration_and_approval_move_beyond_threshold_and_noise_only() -> None:
    ratio = {"threshold": 0.1, "confidence": 0.99}
    assert ratio_moved(Ratio(1.0, 0.02), Ratio(1.3, 0.02), **ratio)
    assert ratio_moved(Ratio(1.0, 0.02), Ratio(0.8, 0.02), **ratio)
    assert not ratio_moved(Ratio(1.0, 0.02), Ratio(1.09, 0.002), **ratio), "under the threshold"
    assert not ratio_moved(Ratio(1.0, 0.1), Ratio(1.3, 0.1), **ratio), "within the noise"
    assert rate_moved((90, 100), (60, 100), **ratio)
    assert not rate_moved((900, 1000), (850, 1000), **ratio), "under the threshold"
    assert not rate_moved((9, 10), (7, 10), **ratio), "within the noise"
    assert not rate_moved((0, 0), (7, 10), **ratio)
