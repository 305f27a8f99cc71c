"""Creative by creative: shrunk rates, elements, fatigue and impressions needed, against planted truths and published figures."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from contracts.errors import DataError
from evaluation.ab_creatives import creatives
from evaluation.elements import element_effects
from evaluation.fatigue import FatigueCurve, fatigue_curve
from evaluation.shrinkage import click_rates

PUBLISHED = Path(__file__).resolve().parents[2] / ".." / "shared" / "datasets" / "creative_ctr" / "ctr_online.txt"


def world(creatives: int = 300, strength: float = 2_000, mean: float = 0.02, seed: int = 0) -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng(seed)
    rate = rng.beta(mean * strength, (1 - mean) * strength, creatives)
    shown = rng.integers(100, 20_000, creatives)
    return rate, rng.binomial(shown, rate), shown


def test_the_prior_is_recovered_and_so_are_the_impressions_that_a_creative_needs() -> None:
    _, clicks, shown = world(2_000)
    found = click_rates(clicks, shown)
    assert found.prior[0] == pytest.approx(0.02, rel=0.03)
    assert found.impressions_for(0.5) == pytest.approx(2_000, rel=0.15)
    assert found.impressions_for(0.8) == pytest.approx(4 * found.impressions_for(0.5))


def test_reliability_is_the_squared_correlation_of_observed_and_true_rates() -> None:
    rng = np.random.default_rng(1)
    rate = rng.beta(0.02 * 2_000, 0.98 * 2_000, 20_000)
    observed = rng.binomial(4_000, rate) / 4_000
    assert np.corrcoef(rate, observed)[0, 1] ** 2 == pytest.approx(4_000 / 6_000, abs=0.02)
    assert click_rates((observed * 4_000).round(), np.full(20_000, 4_000)).reliability[0] == pytest.approx(
        2 / 3, abs=0.02
    )


def test_shrunk_rates_are_nearer_to_the_truth_and_their_intervals_hold_it() -> None:
    rate, clicks, shown = world()
    found = click_rates(clicks, shown)
    assert ((found.rate - rate) ** 2).mean() < 0.6 * ((clicks / shown - rate) ** 2).mean()
    assert 0.92 <= ((found.low <= rate) & (rate <= found.high)).mean() <= 0.98
    assert found.p < 1e-6


def test_creatives_that_are_alike_are_said_to_be_alike() -> None:
    rng = np.random.default_rng(2)
    shown = rng.integers(500, 5_000, 50)
    calls = [click_rates(rng.binomial(shown, 0.02), shown).p < 0.05 for _ in range(30)]
    assert np.mean(calls) <= 0.2
    same = click_rates(np.full(20, 20), np.full(20, 1_000))
    assert same.prior[1] == np.inf
    assert same.rate == pytest.approx(np.full(20, 0.02))


@pytest.mark.parametrize(
    ("clicks", "shown", "words"),
    [
        ([1], [10], "fewer than two"),
        ([0, 0], [5, 9], "one class"),
        ([6, 1], [5, 9], "between 0"),
        ([1, 1], [0, 9], "between 0"),
    ],
)
def test_counts_that_cannot_be_are_refused(clicks: list[int], shown: list[int], words: str) -> None:
    with pytest.raises(DataError, match=words):
        click_rates(clicks, shown)


def test_the_published_additive_fit_is_met_and_called_too_weak_to_choose_by() -> None:
    if not PUBLISHED.exists():
        pytest.skip("creative_ctr is not there: ../shared/datasets/creative_ctr/ctr_online.txt")
    rows = [line.split("\t") for line in PUBLISHED.read_text().splitlines()]
    rate = [float(row[2]) for row in rows]
    levels = list(zip(*(row[1].split() for row in rows), strict=True))
    found = element_effects(rate, {f"e{place}": list(level) for place, level in enumerate(levels)})
    assert np.mean(rate) == pytest.approx(0.01861, abs=5e-6)
    assert max(rate) == pytest.approx(0.02711, abs=5e-6)
    assert round(found.r2, 2) == 0.10
    assert found.p > 0.05
    assert max(found.held_out_additive, found.held_out_pairs) < 0.05


def composed(
    count: int, *, pair: float, main: float, noise: float, seed: int
) -> tuple[np.ndarray, dict[str, list[str]]]:
    rng = np.random.default_rng(seed)
    a, b = rng.integers(0, 5, count), rng.integers(0, 6, count)
    mains, pairs = main * rng.normal(size=5), pair * rng.normal(size=(5, 6))
    y = 0.02 + mains[a] + pairs[a, b] + noise * rng.normal(size=count)
    return y, {"a": [f"a{n}" for n in a], "b": [f"b{n}" for n in b]}


def test_a_planted_interaction_is_found_as_one() -> None:
    y, factors = composed(400, pair=0.004, main=0.0, noise=0.002, seed=3)
    found = element_effects(y, factors)
    shares = {one.name: one.share for one in found.components}
    assert shares["a x b"] > 0.6
    assert found.held_out_pairs > 0.6
    assert found.held_out_pairs - found.held_out_additive > 0.3


def test_a_planted_element_is_found_and_noise_predicts_nothing() -> None:
    y, factors = composed(200, pair=0.0, main=0.004, noise=0.002, seed=4)
    found = element_effects(y, factors)
    best = max(found.effects, key=lambda one: one.effect)
    assert best.factor == "a"
    assert best.low > 0
    assert 0 < best.shrunk <= best.effect * 1.05
    held_out = [
        element_effects(*composed(200, pair=0, main=0, noise=0.002, seed=seed)).held_out_pairs for seed in range(6)
    ]
    assert np.mean(held_out) < 0.02


def test_left_out_predictions_are_those_of_fitting_without_the_creative() -> None:
    y, factors = composed(40, pair=0.0, main=0.003, noise=0.003, seed=5)
    found = element_effects(y, factors)
    shares = {one.name: one.share for one in found.components}
    codes = {name: np.unique(levels, return_inverse=True)[1] for name, levels in factors.items()}
    kernels = {name: (c[:, None] == c).astype(float) for name, c in codes.items()}
    kernels["a x b"] = kernels["a"] * kernels["b"]
    total = sum(shares[name] / (1 - k.mean()) * k for name, k in kernels.items()) + shares["unexplained"] * np.eye(40)
    errors = []
    for out in range(40):
        others = np.arange(40) != out
        inverse = np.linalg.inv(total[np.ix_(others, others)])
        mean = inverse.sum(axis=0) @ y[others] / inverse.sum()
        errors.append((y[out] - mean - total[out, others] @ inverse @ (y[others] - mean), y[out] - y[others].mean()))
    left, base = np.array(errors).T
    assert found.held_out_pairs == pytest.approx(1 - (left**2).sum() / (base**2).sum(), abs=1e-6)


def test_elements_that_say_the_same_are_told() -> None:
    y, factors = composed(100, pair=0, main=0.003, noise=0.002, seed=6)
    found = element_effects(y, factors | {"c": [level.replace("a", "c") for level in factors["a"]], "one": ["x"] * 100})
    assert "c" in found.aliased


def exposures(decay: float, seed: int = 0) -> FatigueCurve:
    """Keen users see more ads: the raw curve rises though each person's falls."""
    rng = np.random.default_rng(seed)
    rows = []
    for user in range(4_000):
        keen = rng.random() < 0.5
        for n in range(6 if keen else 2):
            rate = (0.3 if keen else 0.1) * decay**n
            rows.append(
                (f"u{user}", f"c{user % 7}", datetime(2026, 1, 1, tzinfo=UTC) + timedelta(hours=n), rng.random() < rate)
            )
    frame = pl.DataFrame(rows, schema=["user_id", "creative_id", "at", "clicked"], orient="row")
    found = fatigue_curve(frame.sample(fraction=1, shuffle=True, seed=1), confidence=0.95, resamples=300, seed=seed)
    assert isinstance(found, FatigueCurve)
    return found


def test_fatigue_within_people_is_seen_though_keen_people_see_more() -> None:
    found = exposures(0.9)
    assert found.rate[2] > found.rate[1]  # composition
    assert found.change is not None
    assert found.change_interval is not None
    assert found.change_interval.high < 0
    assert found.within[1] == pytest.approx(-0.02, abs=0.012)  # mean first rate 0.2, ten per cent less
    assert found.impressions.tolist()[:3] == [4_000, 4_000, found.impressions[2]]


def test_no_fatigue_is_claimed_without_one() -> None:
    found = exposures(1.0)
    assert found.change_interval is not None
    assert 0 in found.change_interval


def test_creatives_come_from_impressions_or_counts_alike() -> None:
    _, clicks, shown = world(30)
    counted = pl.DataFrame({"creative_id": [f"c{n}" for n in range(30)], "clicks": clicks, "impressions": shown})
    rows = pl.DataFrame({
        "creative_id": np.repeat(counted["creative_id"].to_numpy(), shown),
        "clicked": np.concatenate([np.arange(n) < k for k, n in zip(clicks, shown, strict=True)]),
    })  # fmt: skip
    one = creatives(counted, [], confidence=0.95, seed=1, where="x")[0]["rates"]
    other = creatives(rows, [], confidence=0.95, seed=1, where="x")[0]["rates"]
    assert one == other


def test_a_creative_with_two_of_an_element_is_refused() -> None:
    table = pl.DataFrame({"creative_id": ["a", "a", "b"], "clicked": [0, 1, 0], "scene": ["x", "y", "x"]})
    with pytest.raises(DataError, match="scene differs within a creative"):
        creatives(table, ["scene"], confidence=0.95, seed=1, where="x")
