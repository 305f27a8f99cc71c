"""Claims about slates: propensities are exact, draws are private to a user and repeatable."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from contracts.errors import ModelError
from contracts.settings import RankingSettings, SlateSettings
from contracts.tables import EVERYONE, Slates
from ranking.policy import Policy
from ranking.shares import boosted
from ranking.slates import general_slate, sample_slates
from tests.ranking.policies import catalogue, crowd, plain, scored

NAMED = pl.DataFrame({"concept_id": list("abcde"), "advertiser": list("vwvwv"), "topics": [[c] for c in "abcde"]})


def test_users_streams_are_as_frequent_as_their_propensities() -> None:
    n = 4_000
    slates = sample_slates(
        scored({f"u{user}": {"a": 0.0, "b": 0.5, "c": -0.5} for user in range(n)}),
        NAMED,
        policy=plain(slate_size=1, temperature=0.5),
        seed=7,
    )
    for _, rows in slates.group_by("concept_id"):
        chance = rows["propensity"][0]
        assert rows.height / n == pytest.approx(chance, abs=4.5 * np.sqrt(chance * (1 - chance) / n))


def test_slates_keep_the_contract_and_are_short_where_candidates_are() -> None:
    slates = sample_slates(crowd(50), catalogue(), policy=plain(slate_size=8, temperature=0.35), seed=7)
    Slates.validate(slates)
    assert slates.equals(slates.sort("user_id", "position"))
    for (user,), rows in slates.group_by("user_id"):
        candidates = 9 - int(str(user)[1:]) % 3
        assert rows["position"].to_list() == list(range(min(8, candidates)))
        assert rows["concept_id"].n_unique() == rows.height
    assert sample_slates(crowd(1).clear(), catalogue(), policy=plain(slate_size=8, temperature=0.35), seed=7).is_empty()


def test_a_slate_depends_on_its_own_user_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ranking.slates._BLOCK_CELLS", 1000)
    everyone, policy = crowd(1_000, 5), Policy(SlateSettings())
    together = sample_slates(everyone, catalogue(), policy=policy, seed=7)
    for user in ("u0", "u17", "u999"):
        mine = pl.col("user_id") == user
        alone = everyone.filter(mine).sample(fraction=1.0, shuffle=True, seed=1)
        assert together.filter(mine).equals(sample_slates(alone, catalogue(), policy=policy, seed=7))


def test_equal_seed_and_policy_repeat_the_draw_and_others_do_not() -> None:
    people, policy = crowd(60), Policy(SlateSettings())
    first = sample_slates(people, catalogue(), policy=policy, seed=7)
    assert first.equals(sample_slates(people, catalogue(), policy=policy, seed=7))
    for other, seed in ((policy, 8), (Policy(SlateSettings(), "another ranker"), 7)):
        assert not first["concept_id"].equals(sample_slates(people, catalogue(), policy=other, seed=seed)["concept_id"])


def test_temperature_zero_sorts_by_score_then_name() -> None:
    people = scored({"u": {"d": 1.0, "b": 2.0, "a": 1.0, "c": 50.0, "e": 60.0}})  # 50 and 60: both chances round to 1
    slates = sample_slates(people, NAMED, policy=plain(slate_size=4, temperature=0.0), seed=7)
    assert slates["concept_id"].to_list() == ["e", "c", "b", "a"]
    assert slates["propensity"].to_list() == [1.0] * 4


def test_a_constant_chance_draws_evenly() -> None:
    people = crowd(20).with_columns(click_chance=pl.lit(0.06))
    slates = sample_slates(
        people.filter(pl.col("concept_id") < "c4"), catalogue(), policy=plain(slate_size=4, temperature=0.35), seed=7
    )
    np.testing.assert_allclose(
        slates["propensity"].to_numpy().reshape(-1, 4), np.tile([1 / 4, 1 / 3, 1 / 2, 1], (20, 1))
    )


def test_the_general_slate_follows_popularity_for_everyone() -> None:
    rates = pl.DataFrame({"concept_id": ["a", "b", "c"], "click_rate": [0.05, 0.2, 0.1]})
    concepts = NAMED[[2, 1]]  # a may not be shown
    slate = general_slate(concepts, rates, policy=plain(slate_size=4, temperature=0.0), seed=7)
    Slates.validate(slate)
    assert slate["concept_id"].to_list() == ["b", "c"]
    assert slate["user_id"].unique().to_list() == [EVERYONE]
    drawn = general_slate(concepts, rates, policy=plain(slate_size=1, temperature=1.0), seed=7)
    odds = {"b": 0.2 / 0.8, "c": 0.1 / 0.9}
    assert drawn["propensity"][0] == pytest.approx(odds[drawn["concept_id"][0]] / sum(odds.values()))


def test_a_lone_candidate_is_shown_for_certain() -> None:
    slates = sample_slates(scored({"u": {"c3": -2.0}}), catalogue(), policy=Policy(SlateSettings()), seed=7)
    assert slates.select("position", "concept_id", "propensity").rows() == [(0, "c3", 1.0)]


def test_rows_reproduce_from_the_stored_policy_and_seed(tmp_path: Path) -> None:
    people, settings = crowd(200), RankingSettings(advertiser_floors={"z": 0.4}, advertiser_slots=2, exploration=0.1)
    policy = boosted(Policy(settings, "ranker"), people, catalogue(), seed=7)
    drawn = sample_slates(people, catalogue(), policy=policy, seed=99)
    policy.save(tmp_path / "policy.json")
    stored = Policy.load(tmp_path / "policy.json")
    assert stored.hash == policy.hash
    assert stored.boosts["z"] > 0
    assert sample_slates(people, catalogue(), policy=stored, seed=99).equals(drawn)


def test_a_stored_policy_that_was_altered_or_torn_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "policy.json"
    Policy(SlateSettings(), "ranker").save(path)
    whole = path.read_text()
    for text, match in (
        (whole.replace('"exploration": 0.01', '"exploration": 0.2'), "match its hash"),
        (whole[:50], "read"),
    ):
        assert text != whole
        path.write_text(text)
        with pytest.raises(ModelError, match=match):
            Policy.load(path)


def test_the_policy_hash_knows_ranker_boosts_and_every_setting_of_slates_and_nothing_else() -> None:
    settings = RankingSettings()
    known = Policy(settings, "r").hash
    assert known == Policy(settings.model_copy(update={"rounds": 3, "leaves": 7}), "r").hash
    others = [Policy(settings, "s").hash, Policy(settings, "r", {"x": 0.1}).hash, Policy(settings, "r", {}, "c").hash]
    others.append(Policy(settings, "r", resting=("x",)).hash)
    for name in SlateSettings.model_fields:
        value = getattr(settings, name)
        change: Any = {"x": 1} if isinstance(value, dict) else type(value)(value + 1)
        others.append(Policy(settings.model_copy(update={name: change}), "r").hash)
    assert len({known, *others}) == len(SlateSettings.model_fields) + 5
