"""Each rule of the verdict is reached by a case made for it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from contracts.settings import EvaluationSettings
from evaluation import verdict as module
from evaluation.intervals import Interval
from evaluation.verdict import Evidence, cannot_say, digits_for, judge, per_hundred

SETTINGS = EvaluationSettings()
GOOD = Evidence(
    slates=10_000,
    effective_size=4_000.0,
    largest_weight_share=0.01,
    mean_weight=Interval(0.95, 1.06),
    balance=0.4,
    logged=0.22,
    target=0.25,
    difference=Interval(0.012, 0.048),
    effective_clicks=900.0,
    clicks=2_200,
)


def test_a_gain_that_is_clear_of_zero_ships_with_its_numbers() -> None:
    verdict = judge(GOOD, SETTINGS)
    assert verdict.outcome == "ship"
    assert verdict.sentence == (
        "Ship: the new policy is expected to earn 25.0 clicks per 100 slates against the 22.0 logged, a gain of 3.0 "
        "(95 % interval +1.2 to +4.8)."
    )
    assert all(rule.passed for rule in verdict.rules)


@pytest.mark.parametrize(
    ("difference", "words"),
    [(Interval(-0.01, 0.02), "could be nothing"), (Interval(0.0, 0.02), "could be nothing"),
     (Interval(-0.05, -0.01), "a loss of")],
)  # fmt: skip
def test_a_difference_that_reaches_zero_or_lies_below_it_holds(difference: Interval, words: str) -> None:
    verdict = judge(replace(GOOD, difference=difference, target=0.22 + difference.low / 2), SETTINGS)
    assert verdict.outcome == "hold"
    assert words in verdict.sentence
    assert verdict.rules[-1].passed is False


@pytest.mark.parametrize(
    ("change", "rule", "words"),
    [
        ({"effective_size": 150.0}, "Effective sample size", "10,000 logged slates are worth only 150, and 200"),
        ({"slates": 1_000_000}, "Effective share of the log", "only 0.4 % of the log"),
        ({"largest_weight_share": 0.11}, "Largest single weight", "carries 11 % of all weight"),
        ({"mean_weight": Interval(0.7, 0.9)}, "Mean weight", "0.70 to 0.90 where it must be 1"),
        ({"mean_weight": None}, "Mean weight", "unknown"),
        ({"effective_clicks": 1.0, "clicks": 1}, "Clicks behind the estimate", "holds 1 click, worth 1.0"),
        ({"unlogged_share": 0.4}, "Never logged", "40 % of the new policy's choices"),
        ({"disagreement": 5.5}, "Agreement of estimators", "5.5 standard errors apart"),
        ({"mean_weight": Interval(1.1, 1.2), "drifting_slot": 1}, "Mean weight", "chances of a slot alone"),
        ({"balance": 6.0}, "Model balance", "6.0 standard errors"),
        ({"difference": None}, "Interval of the difference", "no interval"),
        ({"target": float("nan")}, "Interval of the difference", "no interval"),
    ],
)
def test_each_rule_alone_makes_the_data_unable_to_say(change: dict[str, object], rule: str, words: str) -> None:
    verdict = judge(replace(GOOD, **change), SETTINGS)  # type: ignore[arg-type]
    assert verdict.outcome == "the data cannot say"
    assert [found.name for found in verdict.rules if found.passed is False] == [rule]
    assert words in verdict.sentence
    assert verdict.rules[-1].passed is None


def test_without_any_weight_the_effective_size_is_named_first() -> None:
    nothing = replace(GOOD, effective_size=0.0, largest_weight_share=float("nan"), mean_weight=Interval(0, 0))
    verdict = judge(nothing, SETTINGS)
    assert "worth only 0" in verdict.sentence
    assert "nan" not in str(verdict)


def test_thresholds_are_the_settings() -> None:
    assert judge(replace(GOOD, effective_size=150.0), EvaluationSettings(min_effective_size=100)).outcome == "ship"
    assert judge(GOOD, EvaluationSettings(min_effective_share=0.5)).outcome == "the data cannot say"


def test_no_model_is_no_reason_to_stay_silent() -> None:
    assert judge(replace(GOOD, balance=None), SETTINGS).outcome == "ship"


def test_a_log_without_propensities_cannot_say_and_says_why() -> None:
    verdict = cannot_say("the log carries no propensities")
    assert verdict.sentence == "The data cannot say: the log carries no propensities."
    assert verdict.rules[0].passed is False


@pytest.mark.parametrize(
    ("value", "signed", "text"),
    [(0.274, False, "27.4"), (0.038, True, "+3.8"), (-0.012, True, "\u22121.2"), (-1e-9, True, "0.0")],
)
def test_clicks_are_written_per_hundred_slates(value: float, signed: bool, text: str) -> None:
    assert per_hundred(value, signed=signed) == text


def test_narrow_intervals_get_more_decimals() -> None:
    assert [digits_for(width) for width in (0.02, 0.002, 0.0002, 0.0)] == [1, 2, 3, 1]


def test_the_written_rules_are_the_rules() -> None:
    page = (Path(__file__).parents[2] / "docs" / "verdict.md").read_text()
    places = [page.index(f"| {rule.name} |") for rule in judge(GOOD, SETTINGS).rules]
    assert places == sorted(places)
    for name in (
        "MIN_CLICKS",
        "LARGEST_WEIGHT_SHARE",
        "MEAN_WEIGHT_CONFIDENCE",
        "UNLOGGED_SHARE",
        "BALANCE_ERRORS",
        "AGREEMENT_ERRORS",
    ):
        value = getattr(module, name)
        assert any(f"{name} ({shown})" in page for shown in (f"{value:g}", f"{100 * value:g} %"))
