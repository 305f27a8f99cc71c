"""The tilt: as much approval as two bounds allow, and no other distribution within them does better."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from contracts.errors import ModelError
from generators.taste.tilt import FILE, Tilt, fit_tilt
from generators.taste.variety import Looks

Doubles = npt.NDArray[np.float64]


def world(count: int = 60, seed: int = 0, numbers: int = 4) -> tuple[Looks, Doubles]:
    """Pictures that are told by the same numbers as they differ by."""
    rng = np.random.default_rng(seed)
    looks = rng.normal(size=(count, numbers)).astype(np.float32)
    log_chance = np.asarray(-np.logaddexp(0, -(2.0 * looks[:, 0] - looks[:, 1] ** 2 - 0.5).astype(np.float64)))
    return Looks(looks, looks), log_chance


def mean_distance(looks: Looks, weights: Doubles) -> float:
    apart = np.linalg.norm(looks.thumbnails[:, None] - looks.thumbnails[None], axis=2)
    return float(weights @ apart @ weights)


@settings(deadline=None, max_examples=6)
@given(st.integers(0, 50), st.sampled_from([0.1, 0.5, 2.0]), st.sampled_from([0.9, 0.95, 0.99]))
def test_both_bounds_hold_and_approval_rises(seed: int, most_kl: float, least: float) -> None:
    looks, log_chance = world(seed=seed)
    found = fit_tilt(looks, log_chance, most_kl=most_kl, least_diversity=least)
    even = np.full(len(looks), 1 / len(looks))
    some = found.weights[found.weights > 0]
    assert float((some * np.log(some * len(looks))).sum()) <= most_kl + 1e-9
    assert mean_distance(looks, found.weights) >= (least - 1e-6) * mean_distance(looks, even)
    assert found.approval > found.approval_before
    assert found.approval == pytest.approx(float(found.weights @ np.exp(log_chance)))


def test_without_a_floor_of_diversity_it_is_the_exponential_tilt_and_strength_one_is_bayes_rule() -> None:
    looks, log_chance = world()
    chance = np.exp(log_chance)
    bayes = chance / chance.sum()
    kl = float((bayes * np.log(bayes * len(looks))).sum())
    found = fit_tilt(looks, log_chance, most_kl=kl + 1e-4, least_diversity=0.01)
    assert found.push == 0
    assert found.strength == pytest.approx(1.0, abs=0.02)
    assert found.weights == pytest.approx(bayes, abs=1e-3)


def test_no_other_distribution_within_the_bounds_is_approved_more() -> None:
    """Another road: a general optimiser from SciPy on the same problem."""
    looks, log_chance = world(40)
    found = fit_tilt(looks, log_chance, most_kl=0.7, least_diversity=0.97)
    even = np.full(40, 1 / 40)
    least = 0.97 * mean_distance(looks, even)

    def soft(values: Doubles) -> Doubles:
        weights = np.exp(values - values.max())
        return np.asarray(weights / weights.sum())

    bounds = [
        {"type": "ineq", "fun": lambda v: 0.7 - float((soft(v) * np.log(np.maximum(soft(v) * 40, 1e-300))).sum())},
        {"type": "ineq", "fun": lambda v: mean_distance(looks, soft(v)) - least},
    ]
    best = minimize(lambda v: -float(soft(v) @ log_chance), np.zeros(40), constraints=bounds, method="SLSQP",
                    options={"maxiter": 300})  # fmt: skip
    assert float(found.weights @ log_chance) >= -best.fun - 2e-3


def test_stopping_before_diversity_falls_costs_some_approval_and_saves_the_variety() -> None:
    looks, log_chance = world(300)
    kept, lost = (fit_tilt(looks, log_chance, most_kl=2.5, least_diversity=least) for least in (0.95, 0.01))
    assert lost.approval > kept.approval > 2 * kept.approval_before
    assert kept.diversity >= 0.95 - 1e-9
    assert lost.diversity < 0.85


def test_drawing_by_the_weights_gives_the_tilted_distribution_also_for_looks_it_never_saw() -> None:
    looks, log_chance = world(300)
    fresh, fresh_chance = world(4000, seed=9)
    found = fit_tilt(looks, log_chance, most_kl=0.8, least_diversity=0.95)
    weights = found.log_weights(fresh.thumbnails, fresh_chance)
    rng = np.random.default_rng(0)
    drawn = np.array([int((weights + rng.gumbel(size=4000)).argmax()) for _ in range(4000)])  # Gumbel's trick
    assert np.exp(fresh_chance[drawn]).mean() == pytest.approx(found.approval, abs=0.06)
    sample = np.bincount(drawn, minlength=4000) / 4000
    assert mean_distance(fresh, sample) > 0.9 * mean_distance(
        fresh, np.full(4000, 1 / 4000)
    )  # other looks, other spread


def test_where_all_looks_are_approved_alike_nothing_changes() -> None:
    looks, _ = world()
    found = fit_tilt(looks, np.full(len(looks), -0.7), most_kl=1.0, least_diversity=0.95)
    assert found.weights == pytest.approx(np.full(len(looks), 1 / len(looks)))


def test_it_is_kept_and_read_back_and_damage_is_named(tmp_path: Path) -> None:
    looks, log_chance = world(50)
    found = fit_tilt(looks, log_chance, most_kl=0.5, least_diversity=0.95)
    assert Tilt.load(tmp_path) is None
    found.save(tmp_path)
    again = Tilt.load(tmp_path)
    assert again is not None
    assert (again.log_weights(looks.thumbnails, log_chance) == found.log_weights(looks.thumbnails, log_chance)).all()
    assert again.looks[:2].features.tolist() == looks.features[:2].tolist()
    assert (again.kl, again.strength, again.push) == (found.kl, found.strength, found.push)
    (tmp_path / FILE).write_bytes(b"no tensors at all, none")
    with pytest.raises(ModelError, match="go back"):
        Tilt.load(tmp_path)
