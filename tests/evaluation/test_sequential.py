"""Always-valid intervals: the published formula, and no more false positives than promised however often one looks."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluation.sequential import always_valid_p, differences, half_width, mixing_variance, watched


@given(st.floats(1e-6, 10), st.floats(1e-6, 10), st.floats(0.001, 0.4))
def test_the_interval_holds_0_exactly_where_p_is_above_the_level(variance: float, mixing: float, alpha: float) -> None:
    edge = half_width(variance, mixing, alpha)
    assert always_valid_p(edge, variance, mixing) == pytest.approx(alpha, rel=1e-6)
    assert always_valid_p(1.01 * edge, variance, mixing) < alpha < always_valid_p(0.99 * edge, variance, mixing)


def test_it_is_the_asymptotic_confidence_sequence_of_the_paper() -> None:
    t, rho, sigma, alpha = 500.0, 0.07, 2.0, 0.05  # Waudby-Smith et al. 2021, theorem 2.2
    paper = sigma * np.sqrt(2 * (t * rho**2 + 1) / (t**2 * rho**2) * np.log(np.sqrt(t * rho**2 + 1) / alpha))
    assert half_width(sigma**2 / t, (rho * sigma) ** 2, alpha) == pytest.approx(paper)


def test_the_tuned_mixture_is_the_tightest_where_it_was_tuned_for() -> None:
    best = mixing_variance(1.0, 0.05)
    widths = half_width(1.0, best * np.array([0.25, 0.5, 1.0, 2.0, 4.0]), 0.05)
    assert widths.argmin() == 2
    assert widths[2] < 1.02 * half_width(1.0, best * np.linspace(0.3, 3, 300), 0.05).min()


def test_peeking_is_wrong_far_too_often_and_the_band_is_not() -> None:
    rng = np.random.default_rng(4)
    tests, looks, step = 1_000, 200, 50
    shape = (tests, 2, looks)
    sums = np.cumsum(rng.normal(size=shape) * np.sqrt(step), axis=2)
    counts = np.broadcast_to(step * np.arange(1, looks + 1.0), shape)
    squares = np.cumsum(rng.chisquare(step, size=shape), axis=2)  # of unit normals; their tie to the sums is small
    gap, variance = differences(counts, sums, np.maximum(squares, sums**2 / counts))
    seen = counts[0, 0] >= 100
    p = always_valid_p(gap, variance, mixing_variance(2 / 10_000, 0.05))[:, seen].min(axis=1)
    peeked = (np.abs(gap) > 1.96 * np.sqrt(variance))[:, seen].any(axis=1)
    assert (p < 0.05).mean() <= 0.05
    assert peeked.mean() > 0.3


def test_an_effect_is_found_and_p_never_rises() -> None:
    rng = np.random.default_rng(6)
    treated = rng.random(20_000) < 0.5
    values = rng.normal(size=20_000) + 0.1 * treated
    path = watched(values, treated, np.arange(20_000), planned=20_000, alpha=0.05, critical=1.96)
    assert path.p[-1] < 0.05
    assert (np.diff(path.p) <= 0).all()
    assert (path.half_width > path.fixed_half_width).all()
    assert path.users[-1] == 20_000
    plain = values[treated].mean() - values[~treated].mean()
    assert path.difference[-1] == pytest.approx(plain)
