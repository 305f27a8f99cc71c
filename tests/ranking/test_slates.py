"""Claims about slates: propensities are exact, draws are private to a user and repeatable."""

from __future__ import annotations

from itertools import permutations
from math import exp

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import settings as effort
from hypothesis import strategies as st

from contracts.settings import RankingSettings
from contracts.tables import EVERYONE, Slates
from ranking.plackett_luce import draw, sequential_propensity
from ranking.slates import general_slate, policy_hash, sample_slates

HASH = "0" * 64


def scored(users: dict[str, dict[str, float]]) -> pl.DataFrame:
    """Scores whose calibrated log-odds equal the score."""
    rows = [(user, concept, score) for user, concepts in users.items() for concept, score in concepts.items()]
    frame = pl.DataFrame(rows, schema=["user_id", "concept_id", "score"], orient="row")
    return frame.with_columns(click_chance=1.0 / (1.0 + (-pl.col("score")).exp()))


def crowd(users: int, concepts: int = 9) -> pl.DataFrame:
    rng = np.random.default_rng(0)
    return scored(
        {f"u{user}": {f"c{concept}": rng.normal() for concept in range(concepts - user % 3)} for user in range(users)}
    )


@effort(max_examples=50, deadline=None)
@given(
    odds=st.lists(st.floats(-30, 30), min_size=1, max_size=5),
    size=st.integers(1, 5),
    temperature=st.sampled_from([0.0, 0.05, 0.35, 1.0, 20.0]),
)
def test_the_chances_of_all_slates_sum_to_one(odds: list[float], size: int, temperature: float) -> None:
    every = np.array(list(permutations(range(len(odds)), min(size, len(odds)))))
    chance = sequential_propensity(np.tile(odds, (len(every), 1)), every, temperature).prod(axis=1)
    assert chance.sum() == pytest.approx(1.0, abs=1e-12)


def test_the_chance_is_the_formula_even_where_exp_overflows() -> None:
    odds, chosen = np.array([[0.2, -1.0, 0.7, -np.inf]]), np.array([[2, 0]])
    u = [exp(0.2 / 0.5), exp(-1.0 / 0.5), exp(0.7 / 0.5)]
    expected = [[u[2] / sum(u), u[0] / (u[0] + u[1])]]
    np.testing.assert_allclose(sequential_propensity(odds, chosen, 0.5), expected, rtol=1e-13)
    np.testing.assert_allclose(sequential_propensity(odds + 1e4, chosen, 0.5), expected, rtol=1e-9)


def test_what_is_absent_repeated_or_used_up_has_chance_zero() -> None:
    odds = np.array([[0.0, 1.0, -np.inf], [-np.inf] * 3])
    np.testing.assert_array_equal(sequential_propensity(odds, np.array([[1, 1, 0, 2], [0, 1, 2, -1]]), 1.0)[:, 1:],
                                  [[0.0, 1.0, 0.0], [0.0, 0.0, 0.0]])  # fmt: skip
    assert sequential_propensity(odds, np.array([[-1, 1], [0, 0]]), 1.0)[0, 1] == pytest.approx(1 / (1 + exp(-1)))


def test_draws_are_as_frequent_as_their_propensities() -> None:
    odds, n = np.array([0.3, -0.4, 0.9, -1.5]), 20_000
    noise = np.random.default_rng(5).gumbel(size=(n, 4))
    chosen, propensity = draw(np.tile(odds, (n, 1)), 2, 0.7, noise)
    for slate in permutations(range(4), 2):
        hit = (chosen == slate).all(axis=1)
        chance = sequential_propensity(odds[None], np.array([slate]), 0.7).prod()
        assert hit.mean() == pytest.approx(chance, abs=4.5 * np.sqrt(chance * (1 - chance) / n))
        np.testing.assert_allclose(propensity[hit].prod(axis=1), chance)


def test_users_streams_are_as_frequent_as_their_propensities() -> None:
    n = 4_000
    slates = sample_slates(
        scored({f"u{user}": {"a": 0.0, "b": 0.5, "c": -0.5} for user in range(n)}),
        size=1, temperature=0.5, seed=7, policy_hash=HASH,
    )  # fmt: skip
    for _, rows in slates.group_by("concept_id"):
        chance = rows["propensity"][0]
        assert rows.height / n == pytest.approx(chance, abs=4.5 * np.sqrt(chance * (1 - chance) / n))


def test_slates_keep_the_contract_and_are_short_where_candidates_are() -> None:
    slates = sample_slates(crowd(50), size=8, temperature=0.35, seed=7, policy_hash=HASH)
    Slates.validate(slates)
    assert slates.equals(slates.sort("user_id", "position"))
    for (user,), rows in slates.group_by("user_id"):
        candidates = 9 - int(str(user)[1:]) % 3
        assert rows["position"].to_list() == list(range(min(8, candidates)))
        assert rows["concept_id"].n_unique() == rows.height
    assert sample_slates(crowd(1).clear(), size=8, temperature=0.35, seed=7, policy_hash=HASH).is_empty()


def test_a_slate_depends_on_its_own_user_only() -> None:
    everyone = crowd(5_000, 5)  # more than one block
    together = sample_slates(everyone, size=3, temperature=0.35, seed=7, policy_hash=HASH)
    for user in ("u0", "u17", "u4999"):
        mine = pl.col("user_id") == user
        alone = everyone.filter(mine).sample(fraction=1.0, shuffle=True, seed=1)
        assert together.filter(mine).equals(sample_slates(alone, size=3, temperature=0.35, seed=7, policy_hash=HASH))


def test_equal_seed_and_policy_repeat_the_draw_and_others_do_not() -> None:
    people = crowd(60)
    first = sample_slates(people, size=4, temperature=0.35, seed=7, policy_hash=HASH)
    assert first.equals(sample_slates(people, size=4, temperature=0.35, seed=7, policy_hash=HASH))
    for other in ({"seed": 8, "policy_hash": HASH}, {"seed": 7, "policy_hash": "1" * 64}):
        drawn = sample_slates(people, size=4, temperature=0.35, **other)  # type: ignore[arg-type]
        assert not first["concept_id"].equals(drawn["concept_id"])


def test_temperature_zero_sorts_by_score_then_name() -> None:
    people = scored({"u": {"d": 1.0, "b": 2.0, "a": 1.0, "c": 50.0, "e": 60.0}})  # 50 and 60: both chances round to 1
    slates = sample_slates(people, size=4, temperature=0.0, seed=7, policy_hash=HASH)
    assert slates["concept_id"].to_list() == ["e", "c", "b", "a"]
    assert slates["propensity"].to_list() == [1.0] * 4


def test_a_constant_chance_draws_evenly() -> None:
    people = crowd(20).with_columns(click_chance=pl.lit(0.06))
    slates = sample_slates(
        people.filter(pl.col("concept_id") < "c4"), size=4, temperature=0.35, seed=7, policy_hash=HASH
    )
    np.testing.assert_allclose(
        slates["propensity"].to_numpy().reshape(-1, 4), np.tile([1 / 4, 1 / 3, 1 / 2, 1], (20, 1))
    )


def test_the_general_slate_follows_popularity_for_everyone() -> None:
    rates = pl.DataFrame({"concept_id": ["a", "b", "c"], "click_rate": [0.05, 0.2, 0.1]})
    concepts = pl.DataFrame({"concept_id": ["c", "b"]})  # a may not be shown
    slate = general_slate(concepts, rates, size=4, temperature=0.0, seed=7, policy_hash=HASH)
    Slates.validate(slate)
    assert slate["concept_id"].to_list() == ["b", "c"]
    assert slate["user_id"].unique().to_list() == [EVERYONE]
    drawn = general_slate(concepts, rates, size=1, temperature=1.0, seed=7, policy_hash=HASH)
    odds = {"b": 0.2 / 0.8, "c": 0.1 / 0.9}
    assert drawn["propensity"][0] == pytest.approx(odds[drawn["concept_id"][0]] / sum(odds.values()))


def test_the_policy_hash_knows_ranker_and_policy_and_nothing_else() -> None:
    settings = RankingSettings()
    known = policy_hash("r", settings)
    assert known == policy_hash("r", settings.model_copy(update={"rounds": 3}))
    others = [policy_hash("s", settings)] + [
        policy_hash("r", settings.model_copy(update=change))
        for change in ({"temperature": 0.1}, {"slate_size": 5}, {"candidates": 7})
    ]
    assert len({known, *others}) == 5
