"""Claims about shares of positions: floors, caps and budgets hold for the slates that are drawn, and no chance is wrong for it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest

from contracts.errors import SettingsError
from contracts.settings import RankingSettings, SlateSettings
from ranking.eligibility import Eligibility
from ranking.policy import Policy
from ranking.replay import logged_policy
from ranking.shares import boosted, exposed, exposure
from ranking.slates import sample_slates
from tests.ranking.policies import PLAIN, catalogue, crowd, scored


def floor_settings(**floors: float) -> SlateSettings:
    return SlateSettings(**{**PLAIN, "advertiser_floors": floors, "exploration": 0.05, "topic_penalty": 0.3})


def test_floors_are_kept_by_the_slates_that_are_drawn() -> None:
    people = crowd(3_000)
    before = exposure(people, catalogue(), policy=Policy(floor_settings()), seed=1)
    policy = boosted(Policy(floor_settings(z=0.45, x=0.3)), people, catalogue(), seed=1)
    assert before["z"] < 0.35
    drawn = sample_slates(people, catalogue(), policy=policy, seed=5).join(catalogue(), on="concept_id")
    shares = dict(drawn.group_by("advertiser").agg(share=pl.len() / drawn.height).iter_rows())
    noise = 4 * np.sqrt(0.25 / drawn.height)
    assert shares["z"] == pytest.approx(0.45, abs=noise + 0.002)
    assert shares["x"] >= 0.3 - noise
    told = exposure(people, catalogue(), policy=policy, seed=8)
    assert told["z"] == pytest.approx(shares["z"], abs=noise)


def test_a_floor_that_is_kept_anyway_changes_nothing() -> None:
    people = crowd(300)
    policy = boosted(Policy(floor_settings(z=0.05)), people, catalogue(), seed=1)
    assert dict(policy.boosts) == {"z": 0.0}
    free = Policy(policy.settings, policy.ranker_hash)
    mine, theirs = (exposure(people, catalogue(), policy=one, seed=3) for one in (policy, free))
    assert mine == theirs


def test_a_floor_is_kept_without_chance_too() -> None:
    settings = floor_settings(z=0.45).model_copy(update={"temperature": 0.0, "exploration": 0.0})
    policy = boosted(Policy(settings), crowd(500), catalogue(), seed=1)
    assert 0.45 <= exposure(crowd(500), catalogue(), policy=policy, seed=2)["z"] < 0.55


@pytest.mark.parametrize(
    ("floors", "match"),
    [
        ({"x": 0.7, "y": 0.6}, "sum to 1.3"),
        ({"nobody": 0.1}, "no concept is of nobody"),
        ({"x": 0.9}, "cannot be kept: x reaches 0.[5-8]"),  # 3 of 7 to 9 candidates, 4 positions
    ],
)
def test_floors_that_cannot_be_kept_are_refused(floors: dict[str, float], match: str) -> None:
    with pytest.raises(SettingsError, match=match):
        boosted(Policy(floor_settings(**floors)), crowd(100), catalogue(), seed=1)


def bounded(**changes: object) -> SlateSettings:
    return SlateSettings(**{**PLAIN, "exploration": 0.05, "topic_penalty": 0.3, **changes})  # type: ignore[arg-type]


def drawn_counts(people: pl.DataFrame, policy: Policy, seed: int = 5) -> dict[str, int]:
    slates = sample_slates(people, catalogue(), policy=policy, seed=seed)
    return dict(slates.join(catalogue(), on="concept_id").group_by("advertiser").len().iter_rows())


def test_a_cap_holds_beside_a_floor_in_the_slates_that_are_drawn() -> None:
    people = crowd(3_000)
    free = exposure(people, catalogue(), policy=Policy(bounded()), seed=1)
    assert free["x"] > 0.3
    policy = boosted(
        Policy(bounded(advertiser_caps={"x": 0.2}, advertiser_floors={"z": 0.4})), people, catalogue(), seed=1
    )
    assert policy.boosts["x"] < 0 < policy.boosts["z"]
    counts = drawn_counts(people, policy)
    noise = 4 * np.sqrt(0.25 / sum(counts.values()))
    assert counts["x"] / sum(counts.values()) == pytest.approx(0.2, abs=noise + 0.002)
    assert counts["z"] / sum(counts.values()) >= 0.4 - noise


def test_a_batch_shows_what_a_budget_leaves_and_no_more_in_expectation() -> None:
    people = crowd(3_000)
    shown = exposed(people, catalogue(), policy=Policy(bounded()), seed=1)[0]
    assert shown["x"] > 3_000
    policy = boosted(Policy(bounded()), people, catalogue(), seed=1, left={"x": 1_500, "y": 10**6})
    assert policy.boosts["x"] < 0.0 == policy.boosts["y"]
    told = [exposed(people, catalogue(), policy=policy, seed=seed)[0]["x"] for seed in range(2, 6)]
    counts = [drawn_counts(people, policy, seed)["x"] for seed in range(5)]
    assert max(*told, *counts) <= 1_500
    assert min(*told, *counts) >= 1_500 - 5 * np.sqrt(2 * 1_500)


def test_a_sample_of_the_users_stands_for_all_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    people = crowd(3_000)
    monkeypatch.setattr("ranking.shares.MAX_USERS", 1_000)
    policy = boosted(Policy(bounded()), people, catalogue(), seed=1, left={"x": 1_500})
    assert exposed(people, catalogue(), policy=policy, seed=2)[0]["x"] == pytest.approx(
        1_500 - 2 * np.sqrt(4 * 1_500), rel=0.05
    )


def test_what_exploration_alone_would_overspend_rests_and_others_take_its_place() -> None:
    people = crowd(600)
    policy = boosted(Policy(bounded(slate_size=2)), people, catalogue(), seed=1, left={"x": 3, "y": 400})
    assert policy.resting == ("x",)
    counts = drawn_counts(people, policy)
    assert "x" not in counts
    assert 300 < counts["y"] <= 400
    assert sum(counts.values()) == 2 * 600


def test_a_floor_is_promised_while_the_budget_lasts() -> None:
    people, settings = crowd(600), bounded(advertiser_floors={"z": 0.5})
    lasting = boosted(Policy(settings), people, catalogue(), seed=1, left={"z": 10**6})
    assert exposure(people, catalogue(), policy=lasting, seed=2)["z"] == pytest.approx(0.5, abs=0.02)
    ending = boosted(Policy(settings), people, catalogue(), seed=1, left={"z": 300})
    assert exposed(people, catalogue(), policy=ending, seed=2)[0]["z"] == pytest.approx(
        300 - 2 * np.sqrt(600), rel=0.05
    )
    spent = boosted(Policy(settings), people, catalogue(), seed=1, left={"z": 0})
    assert spent.resting == ("z",)


def test_chances_under_budgets_are_those_that_a_replay_finds() -> None:
    people = crowd(200)
    policy = boosted(Policy(bounded(slate_size=2)), people, catalogue(), seed=1, left={"x": 2, "y": 150})
    assert policy.resting == ("x",)
    assert policy.boosts["y"] < 0
    at = datetime(2026, 1, 5, tzinfo=UTC)
    slates = sample_slates(people, catalogue(), policy=policy, seed=3)
    moment = pl.lit(at, pl.Datetime("us", "UTC")).alias("at")
    logged = slates.select("user_id", moment, "concept_id", slot="position").with_row_index("impression_id")
    answers = logged_policy(logged, people.with_columns(moment), catalogue(), policy=policy)
    np.testing.assert_allclose(answers["target_propensity"], slates["propensity"], rtol=1e-14)


def test_draws_under_a_budget_are_as_frequent_as_their_chances() -> None:
    one = scored({"u": {f"c{concept}": 0.3 * concept for concept in range(6)}})
    many = pl.concat([one.with_columns(user_id=pl.lit(f"u{user:04d}")) for user in range(4_000)])
    policy = boosted(Policy(bounded(slate_size=2)), many, catalogue(), seed=1, left={"z": 1_000})
    assert policy.boosts["z"] < 0
    slates = sample_slates(many, catalogue(), policy=policy, seed=9)
    pairs = slates.group_by("user_id", maintain_order=True).agg("concept_id", chance=pl.col("propensity").product())
    found = pairs.group_by("concept_id").agg(pl.len(), pl.col("chance").first())
    expected = 4_000 * found["chance"].to_numpy()
    spread = (found["len"].to_numpy() - expected) / np.sqrt(expected * (1 - found["chance"].to_numpy()))
    assert np.abs(spread).max() < 4.5
    assert found["chance"].sum() == pytest.approx(1.0, abs=1e-9)


def test_what_budgets_leave_is_counted_at_a_moment() -> None:
    start = datetime(2026, 1, 5, tzinfo=UTC)
    days = [0.0, 1.0, 1.5, 4.0]
    log = pl.DataFrame(
        {"user_id": "u", "concept_id": ["c0", "c3", "c1", "c0"], "at": [start + timedelta(days=day) for day in days]},
        schema_overrides={"at": pl.Datetime("us", "UTC")},
    )
    never = pl.lit(None, pl.Datetime("us", "UTC"))
    concepts = catalogue().with_columns(sensitive=pl.lit(False), active_from=never, active_until=never)
    settings = RankingSettings(advertiser_budgets={"x": 2, "y": 5}, budget_days=3.0)
    rule = Eligibility.of(concepts, log, settings)
    assert rule.budgets_left(start + timedelta(days=2)) == {"x": 0, "y": 4}
    assert rule.budgets_left(start + timedelta(days=3.5)) == {"x": 1, "y": 4}
    assert rule.budgets_left(start + timedelta(days=9)) == {"x": 2, "y": 5}


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"advertiser_caps": {"x": 0.001}}, "cannot be kept: x still has 0.0[1-3].*, more than 0.0010"),  # explored
        ({"advertiser_caps": {"nobody": 0.1}}, "no concept is of nobody"),
        ({"advertiser_caps": {"x": 0.1}, "advertiser_floors": {"x": 0.2}}, "floors above caps: x 0.2000 > 0.1000"),
        ({"advertiser_caps": {"x": 0.2, "y": 0.2, "z": 0.2}}, "cannot be kept"),
    ],
)
def test_caps_that_cannot_be_kept_are_refused(changes: dict[str, object], match: str) -> None:
    with pytest.raises(SettingsError, match=match):
        boosted(Policy(bounded(**changes)), crowd(100), catalogue(), seed=1)
