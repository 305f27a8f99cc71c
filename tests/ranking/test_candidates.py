"""Claims about who may be shown what, and about popularity."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest

from contracts.errors import DataError
from ranking.candidates import best_pairs, eligible, pairs
from ranking.popularity import popularity

START = datetime(2025, 1, 1, tzinfo=UTC)


def moments(*days: tuple[str, int]) -> pl.DataFrame:
    rows = [(user, START + timedelta(days=day)) for user, day in days]
    return pl.DataFrame(rows, schema={"user_id": pl.String, "at": pl.Datetime("us", "UTC")}, orient="row")


def test_a_concept_runs_from_its_first_moment_to_just_before_its_last(concepts: pl.DataFrame) -> None:
    tick = timedelta(microseconds=1)
    assert eligible(concepts, START)["concept_id"].to_list() == ["b", "a"]
    assert eligible(concepts, START - tick)["concept_id"].to_list() == ["b", "d"]
    assert eligible(concepts, START + timedelta(days=9))["concept_id"].to_list() == ["b", "e"]


def test_sensitive_concepts_are_general_only(concepts: pl.DataFrame) -> None:
    assert "c" in eligible(concepts, START, personal=False)["concept_id"]
    assert "c" not in pairs(moments(("u", 0)), concepts)["concept_id"]
    near = best_pairs(moments(("u", 0)), concepts, limit=1, vectors=np.ones((1, 2)), concept_vectors=np.ones((5, 2)),
                      popularity=pl.DataFrame({"concept_id": ["c"], "click_rate": [0.9]}))  # fmt: skip
    assert near["concept_id"].to_list() == ["a"]


def test_pairs_agree_with_eligible_at_every_moment(concepts: pl.DataFrame) -> None:
    asked = moments(("v", 2), ("u", -1), ("u", 9), ("u", -1))
    found = pairs(asked, concepts)
    assert found.equals(found.sort("user_id", "at", "concept_id"))
    for user, at in asked.unique().iter_rows():
        mine = found.filter((pl.col("user_id") == user) & (pl.col("at") == at))["concept_id"]
        assert mine.to_list() == sorted(eligible(concepts, at)["concept_id"])


def test_the_shortlist_holds_the_nearest_and_most_popular_as_a_loop_finds_them() -> None:
    rng = np.random.default_rng(0)
    names = [f"c{index:02d}" for index in rng.permutation(30)]
    concepts = pl.DataFrame({"concept_id": names, "sensitive": [name < "c05" for name in names]}).with_columns(
        active_from=pl.lit(None, pl.Datetime("us", "UTC")), active_until=pl.lit(None, pl.Datetime("us", "UTC"))
    )
    place = rng.normal(size=(30, 4))
    rates = pl.DataFrame({"concept_id": names, "click_rate": rng.random(30)})
    asked, vectors = moments(("v", 0), ("u", 0), ("w", 0)), rng.normal(size=(3, 4))
    vectors[2] = 0.0  # nothing known: popularity alone
    found = best_pairs(asked, concepts, limit=7, vectors=vectors, concept_vectors=place, popularity=rates)
    most = max(rate for name, rate in rates.iter_rows() if name >= "c05")
    for (user, _), vector in zip(asked.iter_rows(), vectors, strict=True):
        merit = {
            name: rate / most
            + (float(vector @ spot) / np.linalg.norm(vector) / np.linalg.norm(spot) if vector.any() else 0.0)
            for (name, rate), spot in zip(rates.iter_rows(), place, strict=True)
            if name >= "c05"
        }
        assert set(found.filter(pl.col("user_id") == user)["concept_id"]) == set(
            sorted(merit, key=lambda name: -merit[name])[:7]
        )


def test_vectors_that_do_not_match_the_rows_are_refused(concepts: pl.DataFrame) -> None:
    rates = pl.DataFrame({"concept_id": ["a"], "click_rate": [0.1]})
    with pytest.raises(DataError, match="2 user and 5 concept vectors for 1 moments"):
        best_pairs(
            moments(("u", 0)),
            concepts,
            limit=1,
            vectors=np.ones((2, 3)),
            concept_vectors=np.ones((5, 3)),
            popularity=rates,
        )


def test_popularity_shrinks_rare_concepts_and_forgives_bad_slots() -> None:
    rng = np.random.default_rng(1)
    shown = []  # "high" is always in slot 0 (10 %), "low" always in slot 1 (5 %), as all others there
    for concept, slot, chance, times in (("high", 0, 0.1, 4000), ("low", 1, 0.05, 4000), ("rest", 0, 0.1, 4000)):
        shown += [(concept, slot, bool(click)) for click in rng.random(times) < chance]
    shown.append(("once", 0, True))
    log = pl.DataFrame(shown, schema=["concept_id", "slot", "clicked"], orient="row")
    asked = pl.DataFrame({"concept_id": ["never", "high", "low", "once"]})
    rates = dict(popularity(log, asked).select("concept_id", "click_rate").iter_rows())
    average = log["clicked"].mean()
    assert list(rates) == ["never", "high", "low", "once"]
    assert rates["never"] == pytest.approx(average, rel=1e-3)
    assert rates["low"] == pytest.approx(rates["high"], rel=0.15)  # raw rates: a factor of two
    assert average < rates["once"] < 2 * average  # raw rate: 1


def test_popularity_of_an_empty_log_is_the_same_for_all() -> None:
    empty = pl.DataFrame(schema={"concept_id": pl.String, "slot": pl.Int32, "clicked": pl.Boolean})
    rates = popularity(empty, pl.DataFrame({"concept_id": ["a", "b"]}))
    assert rates["click_rate"].n_unique() == 1
    assert rates["impressions"].to_list() == [0, 0]
