"""Claims about the rising curve: scikit-learn's isotonic steps, the planted bend, and no flat or falling piece."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import settings as effort
from hypothesis import strategies as st
from sklearn.isotonic import IsotonicRegression

from ranking import isotonic
from ranking.isotonic import isotonic_log_odds


def rows(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Base log-odds, a slot's offset, and clicks of a law that is flat, then steep."""
    rng = np.random.default_rng(seed)
    base = rng.normal(-1.0, 1.5, n)
    offset = np.where(rng.random(n) < 0.5, 0.0, -1.2)
    return base, offset, (rng.random(n) < 1 / (1 + np.exp(-(true_curve(base) + offset)))).astype(float)


def true_curve(base: np.ndarray) -> np.ndarray:
    return np.where(base < -1.0, -2.0 + 0.1 * (base + 1.0), -2.0 + 1.8 * (base + 1.0))


def test_without_offsets_its_steps_are_scikit_learns(monkeypatch: object) -> None:
    base, _, clicked = rows(6000)
    monkeypatch.setattr(isotonic, "PRIOR_ROWS", 1e-9)  # type: ignore[attr-defined]
    monkeypatch.setattr(isotonic, "BIN_ROWS", 100)  # type: ignore[attr-defined]
    cuts = isotonic._cuts(np.sort(base))
    order = np.argsort(base)
    middles = [float(np.mean(base[order][a:b])) for a, b in pairwise(cuts)]
    rates = [float(np.mean(clicked[order][a:b])) for a, b in pairwise(cuts)]
    oracle = IsotonicRegression().fit(middles, rates, sample_weight=np.diff(cuts)).predict(middles)
    knots = np.array(isotonic_log_odds(base, np.zeros(6000), clicked))
    np.testing.assert_allclose(1 / (1 + np.exp(-knots[:, 1])), np.unique(np.round(oracle, 12)), atol=1e-6)


def test_a_bend_is_found_through_the_offsets_of_slots() -> None:
    base, offset, clicked = rows(60_000)
    knots = np.array(isotonic_log_odds(base, offset, clicked))
    assert np.abs(knots[:, 1] - true_curve(knots[:, 0])).mean() < 0.12
    blind = np.array(isotonic_log_odds(base, np.zeros_like(offset), clicked))
    assert np.abs(blind[:, 1] - true_curve(blind[:, 0])).mean() > 0.3


def test_equal_values_are_never_torn_apart() -> None:
    base = np.repeat([-1.0, 0.5], 500)
    clicked = np.tile([0.0, 1.0, 0.0, 0.0], 250)
    assert [x for x, _ in isotonic_log_odds(base, np.zeros(1000), clicked)] in ([-1.0, 0.5], [-0.25])


@effort(max_examples=40, deadline=None)
@given(seed=st.integers(0, 1000), n=st.integers(1, 900), rate=st.floats(0, 1))
def test_knots_rise_and_are_finite(seed: int, n: int, rate: float) -> None:
    rng = np.random.default_rng(seed)
    base = rng.normal(size=n).round(1)
    knots = np.array(isotonic_log_odds(base, np.zeros(n), (rng.random(n) < rate).astype(float)))
    assert np.isfinite(knots).all()
    assert np.all(np.diff(knots, axis=0) > 0)
