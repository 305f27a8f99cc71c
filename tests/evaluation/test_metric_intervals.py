"""Draws of figures that are no sums, against resampled rows taken one draw at a time."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics as sk

from evaluation import metrics
from evaluation.metric_intervals import auc_draws, basic, calibration_draws, entropy_draws


def rows(seed: int = 0, users: int = 60) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    who = np.repeat(np.arange(users), 6)
    chance = np.clip(rng.beta(2, 6, who.size) + 0.1 * rng.normal(size=users)[who], 0.02, 0.98).round(2)
    return (rng.random(who.size) < chance).astype(float), chance, who


def slow(
    figure: object, clicked: np.ndarray, chance: np.ndarray, users: np.ndarray, resamples: int = 1500
) -> np.ndarray:
    rng, names, found = np.random.default_rng(9), np.unique(users), []
    of = {name: np.flatnonzero(users == name) for name in names}
    for _ in range(resamples):
        drawn = np.concatenate([of[name] for name in rng.choice(names, names.size)])
        found.append(figure(clicked[drawn], chance[drawn]))  # type: ignore[operator]
    return np.array(found)


def test_spreads_are_those_of_slow_bootstraps() -> None:
    clicked, chance, users = rows()
    at = {"resamples": 1500, "seed": 1, "name": "t"}
    loss, entropy = entropy_draws(clicked, chance, users, **at)
    known = {
        sk.roc_auc_score: auc_draws(clicked, chance, users, **at),
        metrics.log_loss: loss,
        metrics.normalised_entropy: entropy,
    }
    for figure, draws in known.items():
        expected = slow(figure, clicked, chance, users)
        assert draws.std() == pytest.approx(expected.std(), rel=0.12)  # sd of a ratio of two bootstrap sds: 2.6 %
        assert draws.mean() == pytest.approx(expected.mean(), abs=0.2 * expected.std())


def test_draws_without_a_click_have_no_auc() -> None:
    clicked, users = np.array([1.0, 0.0, 0.0, 0.0]), np.arange(4)
    draws = auc_draws(clicked, np.array([0.9, 0.1, 0.5, 0.2]), users, resamples=200, seed=1, name="t")
    assert np.isnan(draws).any()
    assert set(draws[np.isfinite(draws)]) == {1.0}


def test_calibration_error_is_pushed_up_by_resampling_and_the_mirrored_interval_takes_it_back() -> None:
    hit = plain = 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        users, chance = np.arange(3000), rng.uniform(0.1, 0.5, 3000)
        clicked = (rng.random(3000) < chance + 0.05).astype(float)  # a planted error of 0.05
        value = metrics.expected_calibration_error(clicked, chance)
        draws = calibration_draws(clicked, chance, users, bins=10, resamples=200, seed=seed, name="t")
        assert draws.mean() > value - 0.001
        ends = basic(value, draws, 0.95, lowest=0.0)
        assert ends is not None
        hit += 0.05 in ends
        plain += value > 0
    assert hit >= 34  # nominal 38
    assert plain == 40
