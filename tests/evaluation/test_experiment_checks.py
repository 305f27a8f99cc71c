"""Checks of an experiment find what is planted and leave sound experiments alone."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from contracts.settings import ExperimentSettings
from evaluation.aa_check import aa_check, balance
from evaluation.effects import Effect, arm_means, contrast
from evaluation.guardrails import guardrail
from evaluation.intervals import Interval
from evaluation.sample_ratio import ALARM_LEVEL, WARNING_LEVEL, likely_causes, sample_ratio, suspects
from evaluation.segments import adjusted_p


def test_52_to_48_at_10_000_users_is_flagged_with_95_percent_power_and_sound_splits_seldom_are() -> None:
    rng = np.random.default_rng(0)

    def flagged(share: float) -> tuple[float, float]:
        first = rng.binomial(10_000, share, 20_000)
        p = stats.chisquare(np.stack([first, 10_000 - first]), axis=0).pvalue
        ours = [sample_ratio(np.array([one, 10_000 - one]), [1, 1]).p for one in first[:200]]
        assert ours == pytest.approx(p[:200])
        return float((p < WARNING_LEVEL).mean()), float((p < ALARM_LEVEL).mean())

    assert flagged(0.52)[0] >= 0.95
    warned, alarmed = flagged(0.5)
    assert warned == pytest.approx(WARNING_LEVEL, abs=0.004)
    assert alarmed <= 0.002


def test_the_planned_split_need_not_be_even() -> None:
    assert sample_ratio(np.array([9_000, 1_000]), [0.9, 0.1]).level == "sound"
    assert sample_ratio(np.array([9_000, 1_000]), [1, 1]).level == "alarm"
    assert sample_ratio(np.array([5_125, 4_875]), [1, 1]).level == "warning"


def test_the_segment_that_loses_users_is_named_as_the_cause() -> None:
    rng = np.random.default_rng(1)
    arm, browser = rng.integers(0, 2, 20_000), rng.integers(0, 4, 20_000)
    kept = ~((browser == 2) & (arm == 1) & (rng.random(20_000) < 0.3))
    arm, browser = arm[kept], browser[kept]
    segments = {"browser": (("chrome", "edge", "safari", "firefox"), browser)}
    found = suspects(arm, [1, 1], segments)
    assert [one.level for one in found] == ["safari"]
    ratio = sample_ratio(np.bincount(arm), [1, 1])
    causes = likely_causes(ratio, ["old", "new"], crossovers=5, left_out={}, suspected=found)
    assert "safari" in causes[0]
    assert any("users of new" in cause.lower() for cause in causes)
    assert (
        likely_causes(sample_ratio(np.array([50, 50]), [1, 1]), ["a", "b"], crossovers=0, left_out={}, suspected=[])
        == []
    )


def test_the_aa_check_passes_a_sound_outcome_and_its_spread_is_1() -> None:
    found = aa_check(np.random.default_rng(2).normal(size=5_000), share=0.5, splits=2_000, seed=1)
    assert found is not None
    assert found.sound
    assert found.spread == pytest.approx(1.0, abs=0.05)
    assert found.p_values.sum() == pytest.approx(1.0)


def test_long_tails_in_a_small_arm_fail_the_aa_check_and_in_halves_do_not() -> None:
    spend = np.exp(2.5 * np.random.default_rng(7).normal(size=5_000))
    small, half = (aa_check(spend, share=share, splits=1_000, seed=1) for share in (0.02, 0.5))
    assert small is not None
    assert half is not None
    assert not small.sound
    assert half.sound


def test_the_aa_check_needs_users_and_an_outcome_that_varies() -> None:
    assert aa_check(np.ones(1_000), share=0.5, splits=100, seed=1) is None
    assert aa_check(np.arange(10.0), share=0.5, splits=100, seed=1) is None


def test_unlike_covariates_are_seen_and_alike_ones_are_not_whatever_their_number() -> None:
    rng = np.random.default_rng(3)
    p = []
    for _ in range(200):
        x, arm = rng.normal(size=(500, 10)), rng.integers(0, 3, 500)
        found = balance(np.column_stack([x, x[:, :1] + x[:, 1:2]]), arm, 3)
        assert found is not None
        p.append(found.p)
    assert stats.kstest(p, "uniform").pvalue > 0.001
    shifted = balance(np.column_stack([x, x[:, :1] + 0.5 * (arm[:, None] == 1)]), arm, 3)
    assert shifted is not None
    assert shifted.p < 1e-6
    assert balance(np.zeros((10, 0)), np.arange(10) % 2, 2) is None


def test_false_discoveries_are_kept_to_their_share() -> None:
    rng = np.random.default_rng(4)
    shares = []
    for _ in range(300):
        real = np.arange(40) < 10
        p = 2 * stats.norm.sf(np.abs(rng.normal(size=40) + 4 * real))
        found = adjusted_p(p, "bh") < 0.1
        shares.append((found & ~real).sum() / max(found.sum(), 1))
        assert (adjusted_p(p, "by") >= adjusted_p(p, "bh")).all()
    assert np.mean(shares) <= 0.1
    assert np.mean(shares) > 0.04  # the level is used, not wasted


def state(loss: float, users: int, *, less_is_better: bool = False, margin: float = 0.05) -> str:
    rng = np.random.default_rng(5)
    arm = np.arange(2 * users) % 2
    values = 10 + rng.normal(size=2 * users) * 3
    change = -10 * loss if not less_is_better else 10 * loss
    effect = contrast(arm_means(values + change * arm, arm, 2), 1)
    return guardrail(effect, margin, less_is_better=less_is_better, confidence=0.95, reach=1.645).state


def test_a_guardrail_is_safe_only_when_shown() -> None:
    assert state(0.0, 5_000) == "safe"
    assert state(0.0, 40) == "not shown"
    assert state(0.2, 5_000) == "harmed"
    assert state(0.02, 50_000) == "safe"  # worse, but by less than the margin
    assert state(0.2, 5_000, less_is_better=True) == "harmed"
    assert state(-0.2, 5_000, less_is_better=True) == "safe"


def test_a_loss_at_the_margin_is_called_safe_as_often_as_promised() -> None:
    rng = np.random.default_rng(6)
    safe = 0
    for _ in range(600):
        a, b = rng.normal(10, 3, 500), rng.normal(9.5, 3, 500)
        found = contrast(arm_means(np.concatenate([a, b]), np.repeat([0, 1], 500), 2), 1)
        safe += guardrail(found, 0.05, less_is_better=False, confidence=0.95, reach=1.645).state == "safe"
    assert safe / 600 <= 0.08


def test_a_control_of_0_shows_nothing_safe() -> None:
    effect = Effect(0.0, 1.0, 1.0, 0.1, Interval(0.8, 1.2), 0.0, None, None)
    assert guardrail(effect, 0.1, less_is_better=False, confidence=0.95, reach=1.6).state == "not shown"


def test_settings_refuse_a_margin_of_0() -> None:
    with pytest.raises(ValueError, match="greater than 0"):
        ExperimentSettings(guardrails={"y": 0.0})
