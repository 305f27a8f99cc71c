"""The decision and the page: every rule can fail, every field is described, the page stands alone."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest

from contracts.settings import ExperimentSettings
from evaluation.ab_creatives import creatives
from evaluation.ab_report import build_abtest, render_abtest
from evaluation.ab_schema import FIELDS
from evaluation.experiment import experiment

START = datetime(2026, 3, 1, tzinfo=UTC)


def table(users: int = 6_000, *, gain: float = 0.0, seed: int = 0, days: int = 1) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    arm, before = rng.integers(0, 2, users), rng.normal(size=users)
    since = [START + timedelta(minutes=int(m)) for m in rng.integers(0, 5 * 1_440, users)]
    frames = []
    for day in range(days):
        y = 1 + before / 2 + gain * arm + rng.normal(size=users)
        frames.append(pl.DataFrame({
            "user_id": [f"u{n}" for n in range(users)], "arm": np.where(arm, "new", "old"), "y": y, "n": rng.poisson(3, users) + 1,
            "k": rng.binomial(1, 0.3, users), "before": before, "device": np.where(rng.random(users) < 0.5, "phone", "desk") if day == 0 else "x",
            "since": since, "at": [moment + timedelta(days=day, minutes=5) for moment in since]}))  # fmt: skip
    first = frames[0].select("user_id", "device")
    return pl.concat(frames).drop("device").join(first, on="user_id")


def report(frame: pl.DataFrame, **changes: Any) -> dict[str, Any]:
    plan = ExperimentSettings(**({"control": "old", "outcomes": ("y",), "covariates": ("before",)} | changes))
    return build_abtest(experiment(frame, plan, where="t.csv"), plan, name="t", seed=7)


def outcome(frame: pl.DataFrame, **changes: Any) -> str:
    return str(report(frame, **changes)["verdict"]["outcome"])


def failed(frame: pl.DataFrame, **changes: Any) -> list[str]:
    return [rule["name"] for rule in report(frame, **changes)["verdict"]["rules"] if rule["passed"] is False]


def test_a_planted_gain_ships_and_nothing_is_held() -> None:
    assert outcome(table(gain=0.3)) == "ship"
    assert outcome(table()) == "hold"
    assert outcome(table(gain=-0.3)) == "hold"
    assert outcome(table(gain=-0.3), less_is_better=("y",)) == "ship"


def test_before_the_planned_users_the_interval_is_the_wider_one() -> None:
    frame = table(gain=0.05)
    early, planned = report(frame, planned_users=8_000), report(frame, planned_users=6_000)
    assert (early["primary"]["design"], planned["primary"]["design"]) == ("always-valid", "planned")
    widths = [
        one["primary"]["arms"][0]["interval"]["high"] - one["primary"]["arms"][0]["interval"]["low"]
        for one in (early, planned)
    ]
    assert widths[0] > 1.2 * widths[1]


def test_a_relevant_lift_that_is_still_possible_is_not_a_hold() -> None:
    small = report(table(400), relevant_lift=0.02)
    assert small["verdict"]["outcome"] == "the data cannot say"
    needed = small["effects"][0]["power"]["users_for_relevant"]
    assert f"{needed:,}" in small["verdict"]["sentence"]
    assert outcome(table(60_000, seed=3), relevant_lift=0.2) == "hold"


def wild(users: int = 8_000) -> pl.DataFrame:
    rng = np.random.default_rng(7)
    arm = np.where(np.arange(users) % 50, "old", "new")
    return pl.DataFrame({"user_id": range(users), "arm": arm, "y": np.exp(2.5 * rng.normal(size=users))})


RULES: dict[str, tuple[pl.DataFrame, dict[str, Any], str]] = {
    "few users": (table(150), {}, "Users"),
    "one class": (table().with_columns(y=pl.lit(1.0)), {}, "Outcome varies"),
    "a split that is off": (table().filter((pl.col("arm") == "old") | (pl.int_range(pl.len()) % 5 > 0)), {}, "Split of users"),
    "users in both arms": (pl.concat([table(), table().head(200).with_columns(arm=pl.lit("old")), table().head(200).with_columns(arm=pl.lit("new"))]), {}, "One arm each"),
    "outcomes missing in one arm": (table().with_columns(y=pl.when((pl.col("arm") == "new") & (pl.int_range(pl.len()) % 20 == 0)).then(None).otherwise("y")), {}, "Nobody lost"),
    "an outcome too wild for a small arm": (wild(), {"shares": {"old": 0.98, "new": 0.02}, "covariates": ()}, "A/A check"),
    "covariates changed by the arm": (table().with_columns(before=pl.col("before") + 0.2 * (pl.col("arm") == "new")), {}, "Alike before"),
}  # fmt: skip


@pytest.mark.parametrize("fault", sorted(RULES))
def test_every_rule_can_fail_and_then_the_data_cannot_say(fault: str) -> None:
    frame, changes, rule = RULES[fault]
    assert rule in failed(frame, **changes)
    assert outcome(frame, **changes) == "the data cannot say"


def test_a_gain_with_a_guardrail_that_is_not_safe_is_held() -> None:
    frame = table(gain=0.3)
    bad = frame.with_columns(n=pl.col("n") * pl.when(pl.col("arm") == "new").then(0.8).otherwise(1.0))
    assert outcome(frame, outcomes=("y", "n"), guardrails={"n": 0.1}) == "ship"
    held = report(bad, outcomes=("y", "n"), guardrails={"n": 0.1})
    assert held["verdict"]["outcome"] == "hold"
    assert "n is harmed" in held["verdict"]["sentence"]


def whole() -> dict[str, Any]:
    frame = table(gain=0.3, days=9)
    third = frame.with_columns(arm=pl.when(pl.col("user_id").str.ends_with("7")).then(pl.lit("third")).otherwise("arm"))
    damaged = third.with_columns(before=pl.when(pl.col("user_id") == "u5").then(float("inf")).otherwise("before"))
    plan = ExperimentSettings(
        control="old", outcomes=("y", "k/n", "n"), covariates=("before",), segments=("device",), assigned_at="since", at="at",
        guardrails={"n": 0.1}, relevant_lift=0.1, shares={"old": 0.45, "new": 0.45, "third": 0.1}, less_is_better=("n",),
    )  # fmt: skip
    shown = pl.DataFrame({
        "creative_id": [f"c{n % 40}" for n in range(40_000)], "user_id": [f"u{n % 900}" for n in range(40_000)],
        "at": [START + timedelta(minutes=n) for n in range(40_000)], "scene": [f"s{n % 40 % 4}" for n in range(40_000)],
        "light": [f"l{n % 40 % 3}" for n in range(40_000)],
        "clicked": np.random.default_rng(1).random(40_000) < 0.05 + 0.05 * (np.arange(40_000) % 40 > 20),
    })  # fmt: skip
    section, _ = creatives(shown, ["scene", "light"], confidence=0.95, seed=7, where="shown")
    return build_abtest(experiment(damaged, plan, where="t"), plan, name="t <b>", seed=7, creatives=section)


@pytest.fixture(scope="module")
def made() -> dict[str, Any]:
    return whole()


def paths(value: Any, path: str = "") -> set[str]:
    if isinstance(value, dict):
        return (
            set().union(*(paths(inner, f"{path}.{key}" if path else key) for key, inner in value.items()))
            if value
            else set()
        )
    if isinstance(value, list):
        return set().union(*(paths(inner, f"{path}[]") for inner in value)) if value else set()
    return {path}


def test_every_field_is_described_and_every_description_is_of_a_field(made: dict[str, Any]) -> None:
    starred = re.compile(r"^(plan|lost\.users|table\.findings\[\]\.by_arm)\.(.+)$")
    found = {re.sub(r"\.(low|high)$", "", starred.sub(r"\1.*", path)) for path in paths(made)}
    ratio_low_high = {"creatives.rates.rows[]"}  # rows[].low and .high are fields of their own
    undescribed = {path for path in found - set(FIELDS) - ratio_low_high if not path.endswith(".absent")}
    undescribed -= {f"creatives.fatigue.{end}[]" for end in ("low", "high")}
    assert undescribed == set()
    never = set(FIELDS) - found
    allowed = {"verdict", "effects[].always_valid", "primary.against_next"}  # null in other reports
    allowed |= {path for path in FIELDS if path.startswith("split.")} | {
        "creatives.rates.rows[].low",
        "creatives.rates.rows[].high",
    }
    assert never <= allowed | {"creatives.elements.aliased[]"}


def test_the_report_is_json_and_the_same_each_time(made: dict[str, Any]) -> None:
    assert json.dumps(made, allow_nan=False, sort_keys=True) == json.dumps(whole(), allow_nan=False, sort_keys=True)


def test_the_page_stands_alone_and_says_in_words_what_charts_show(made: dict[str, Any], tags: Any) -> None:
    page = render_abtest(made)
    tags.feed(page)
    assert tags.open == []
    assert all(address.startswith("#") for address in tags.addresses)
    assert page.count("<svg") == page.count('role="img" aria-label="')
    assert page.count("<svg") >= 11
    assert "t &lt;b&gt;" in page
    for words in ("Infinite covariate", "By days since assignment", "Each further exposure", "safe"):
        assert words in page


@pytest.mark.parametrize("fault", sorted(RULES))
def test_a_report_that_cannot_say_has_a_page_too(fault: str) -> None:
    frame, changes, rule = RULES[fault]
    page = render_abtest(report(frame, **changes))
    assert "the data cannot say" in page
    assert rule in page
