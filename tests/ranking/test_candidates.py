"""Claims about who may be shown what, about what retrieval keeps, and about popularity."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import settings as effort
from hypothesis import strategies as st

from contracts.errors import DataError, SettingsError
from contracts.settings import RankingSettings
from ranking.candidates import Retrieval, kept_share
from ranking.covisits import LAST, Browsed, leads, strengths
from ranking.eligibility import Eligibility, eligible
from ranking.popularity import popularity
from ranking.retrieval import NO_OPINION, Channel, retrieve

START = datetime(2025, 1, 1, tzinfo=UTC)
WHEN = {"at": pl.Datetime("us", "UTC")}


def moments(*days: tuple[str, float]) -> pl.DataFrame:
    rows = [(user, START + timedelta(days=day)) for user, day in days]
    return pl.DataFrame(rows, schema={"user_id": pl.String, **WHEN}, orient="row")


def shown(*rows: tuple[str, float, str]) -> pl.DataFrame:
    """Impressions: user, day, concept."""
    return pl.DataFrame(
        [(user, START + timedelta(days=day), concept) for user, day, concept in rows],
        schema={"user_id": pl.String, **WHEN, "concept_id": pl.String},
        orient="row",
    )


def open_concepts(names: list[str]) -> pl.DataFrame:
    """Concepts that are always active, not sensitive; advertiser = first letter."""
    never = pl.lit(None, pl.Datetime("us", "UTC"))
    return pl.DataFrame({"concept_id": names}).with_columns(
        advertiser=pl.col("concept_id").str.head(1), active_from=never, active_until=never, sensitive=pl.lit(False)
    )


def retrieval(
    concepts: pl.DataFrame,
    vectors: np.ndarray[Any, Any] | None = None,
    rates: list[float] | None = None,
    strength: sp.csr_array | None = None,
    log: pl.DataFrame | None = None,
    **changes: Any,
) -> Retrieval:
    settings = RankingSettings(**changes)
    eligibility = Eligibility.of(concepts, shown() if log is None else log, settings)
    place = np.zeros((len(concepts), 2)) if vectors is None else vectors
    placed = concepts.select("concept_id", vector=pl.Series(place.tolist(), dtype=pl.List(pl.Float32)))
    popular = concepts.select("concept_id", click_rate=pl.Series(rates or [0.1] * len(concepts)))
    return Retrieval.of(eligibility, placed, popular, strength, settings)


def dated(concepts: pl.DataFrame) -> pl.DataFrame:
    return concepts.with_columns(advertiser=pl.lit("x"))


def test_a_concept_runs_from_its_first_moment_to_just_before_its_last(concepts: pl.DataFrame) -> None:
    tick = timedelta(microseconds=1)
    assert eligible(concepts, START)["concept_id"].to_list() == ["b", "a"]
    assert eligible(concepts, START - tick)["concept_id"].to_list() == ["b", "d"]
    assert eligible(concepts, START + timedelta(days=9))["concept_id"].to_list() == ["b", "e"]


def test_sensitive_concepts_are_general_only(concepts: pl.DataFrame) -> None:
    assert "c" in eligible(concepts, START, personal=False)["concept_id"]
    finder = retrieval(dated(concepts), rates=[0.1, 0.2, 0.9, 0.1, 0.1], candidates=1)
    assert finder.everything(moments(("u", 0)))["concept_id"].to_list() == ["a", "b"]
    assert finder.shortlist(moments(("u", 0)), np.ones((1, 2)))["concept_id"].to_list() == ["a"]


def test_candidates_agree_with_eligible_at_every_moment(concepts: pl.DataFrame) -> None:
    asked = moments(("v", 2), ("u", -1), ("u", 9))
    found = retrieval(dated(concepts)).shortlist(asked, np.zeros((3, 2)))
    assert found.equals(found.sort("user_id", "at", "concept_id"))
    assert found.equals(retrieval(dated(concepts)).everything(asked))
    for user, at in asked.iter_rows():
        mine = found.filter((pl.col("user_id") == user) & (pl.col("at") == at))["concept_id"]
        assert mine.to_list() == sorted(eligible(concepts, at)["concept_id"])


def test_a_concept_shown_too_often_of_late_is_no_candidate() -> None:
    log = shown(("u", 0, "a1"), ("u", 1, "a1"), ("u", 2, "a1"), ("v", 2, "a1"), ("u", 2, "b1"), ("u", 2, "b1"))
    settings = RankingSettings(frequency_cap=3, frequency_days=4.0)
    rule = Eligibility.of(open_concepts(["a1", "b1"]), log, settings)
    asked = moments(("u", 2), ("u", 2.01), ("u", 4), ("u", 4.01), ("v", 3), ("nobody", 3))
    assert rule.mask(asked)[:, 0].tolist() == [True, False, False, True, True, True]  # day 2 itself is not yet known
    assert rule.mask(asked)[:, 1].all()
    late = Eligibility.of(open_concepts(["a1", "b1"]), log, settings, delay_seconds=86_400)
    assert late.mask(moments(("u", 2.01), ("u", 3.01)))[:, 0].tolist() == [True, False]
    free = Eligibility.of(open_concepts(["a1", "b1"]), log, settings.model_copy(update={"frequency_cap": 0}))
    assert free.mask(asked).all()


def test_an_advertiser_whose_budget_is_shown_leaves_the_candidates() -> None:
    log = shown(("u", 0, "a1"), ("v", 1, "a2"), ("v", 1, "b1"), ("w", 2, "a1"))
    settings = RankingSettings(advertiser_budgets={"a": 2, "b": 2}, budget_days=3.0)
    rule = Eligibility.of(open_concepts(["a1", "a2", "b1"]), log, settings)
    found = rule.mask(moments(("x", 1), ("x", 1.5), ("x", 3.5), ("x", 4.5)))
    assert found[:, 0].tolist() == found[:, 1].tolist() == [True, False, False, True]
    assert found[:, 2].all()
    pairs = moments(("x", 1), ("x", 1.5), ("x", 1.5)).with_columns(concept_id=pl.Series(["a1", "a1", "gone"]))
    assert rule.allows(pairs).tolist() == [True, False, False]
    with pytest.raises(SettingsError, match="no concept is of c"):
        Eligibility.of(open_concepts(["a1"]), log, RankingSettings(advertiser_budgets={"c": 2}))


def by_hand(allowed: list[bool], channels: list[tuple[float, list[float]]], limit: int) -> list[int]:
    """The union, one at a time: each column at the earliest rank / share."""
    asked: dict[int, tuple[int, int]] = {}
    for number, (share, merits) in enumerate(channels):
        known = [c for c in range(len(merits)) if allowed[c] and merits[c] > NO_OPINION]
        for rank, column in enumerate(sorted(known, key=lambda c: (-merits[c], c)), start=1):
            asked[column] = min(asked.get(column, (10**18, 0)), (round(rank / share * 256), number))
    return sorted(sorted(asked, key=lambda c: (*asked[c], c))[:limit])


@effort(max_examples=150, deadline=None)
@given(data=st.data(), width=st.integers(1, 12), limit=st.integers(1, 14))
def test_retrieval_is_the_union_as_a_loop_finds_it(data: st.DataObject, width: int, limit: int) -> None:
    merit = st.sampled_from([-1.0, 0.0, 0.25, 0.5, 1.0, float(NO_OPINION)])
    allowed = data.draw(st.lists(st.booleans(), min_size=width, max_size=width))
    channels = [
        (share, data.draw(st.lists(merit, min_size=width, max_size=width)))
        for share in data.draw(st.lists(st.sampled_from([0.1, 0.3, 0.6, 1.0]), min_size=1, max_size=3))
    ]
    other = [not value for value in allowed]
    found = retrieve(
        np.array([allowed, other]),
        [Channel(share, np.array([merits, merits], dtype=np.float32)) for share, merits in channels],
        limit,
    )
    for row, mask in zip(found, (allowed, other), strict=True):
        assert [int(column) for column in row if column >= 0] == by_hand(mask, channels, limit)
        assert (np.diff(row[row >= 0]) > 0).all()


@pytest.mark.parametrize("spread", [0.0, 1e-6, 1e-3, 1.0])
def test_retrieval_among_many_is_the_union_too(spread: float) -> None:
    """Merits that are equal, nearly equal, crowded and far apart; the last channel says the same of all moments."""
    rng = np.random.default_rng(5)
    own = np.clip(0.5 + spread * rng.normal(size=(6, 900)), -1, 1).round(5).astype(np.float32)
    own[rng.random(own.shape) < 0.2] = NO_OPINION
    common, allowed = rng.random((1, 900)).astype(np.float32).round(2), rng.random((6, 900)) < 0.9
    found = retrieve(allowed, [Channel(0.7, own), Channel(0.3, common)], 120)
    quantised = [(np.rint(merits * np.float32(1 << 20)) / (1 << 20)).tolist() for merits in (own, common)]
    for row, mask in enumerate(allowed.tolist()):
        assert found[row].tolist() == by_hand(mask, [(0.7, quantised[0][row]), (0.3, quantised[1][0])], 120)


def test_each_way_of_retrieving_brings_its_share() -> None:
    """100 concepts; what is near, what is led to and what is popular are different ones."""
    names = [f"c{index:03d}" for index in range(100)]
    vectors = np.where(np.arange(100)[:, None] < 30, [1.0, 0.0], [0.0, 1.0])
    rates = [0.5 if 30 <= index < 60 else 0.1 for index in range(100)]
    strength = np.zeros((1, 100), dtype=np.float32)
    strength[0, 60:90] = 1.0
    finder = retrieval(open_concepts(names), vectors, rates, sp.csr_array(strength), candidates=20)
    asked = moments(("known", 0), ("new", 0))
    found = finder.shortlist(asked, np.array([[0.3, 0.0], [0.0, 0.0]]), sp.csr_array([[1.0], [0.0]], dtype=np.float32))
    kinds = {
        user: [int(((place >= low) & (place < low + 30)).sum()) for low in (0, 30, 60)]
        for (user,), rows in found.group_by("user_id")
        for place in [np.array([int(name[1:]) for name in rows["concept_id"]])]
    }
    assert kinds == {"known": [10, 4, 6], "new": [0, 20, 0]}  # of a new user nothing is known but popularity


def test_advertisers_with_a_floor_are_among_the_candidates() -> None:
    names = [f"{'b' if index < 3 else 'a'}{index:02d}" for index in range(50)]
    vectors = np.where(np.arange(50)[:, None] < 3, [-1.0, 0.0], [1.0, 0.0])
    asked, taste = moments(("u", 0), ("new", 0)), np.array([[1.0, 0.0], [0.0, 0.0]])
    for floors, expected in (({}, 0), ({"b": 0.2}, 2)):
        found = retrieval(open_concepts(names), vectors, candidates=10, advertiser_floors=floors).shortlist(
            asked, taste
        )
        owned = found.filter(pl.col("concept_id").str.starts_with("b")).group_by("user_id").len()
        assert dict(owned.iter_rows()).get("u", 0) == expected


def test_a_shortlist_depends_on_its_own_moment_only(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    names, place = [f"c{index:03d}" for index in range(300)], rng.normal(size=(300, 8))
    place[150:] = place[:150]  # twins: ties everywhere
    finder = retrieval(open_concepts(names), place, rng.random(300).round(1).tolist(), candidates=40)
    asked, vectors = moments(*((f"u{index:03d}", 0) for index in range(200))), rng.normal(size=(200, 8))
    whole = finder.shortlist(asked, vectors)
    assert (whole.group_by("user_id").len()["len"] == 40).all()
    monkeypatch.setattr("ranking.candidates._BLOCK_CELLS", 2100)
    assert finder.shortlist(asked, vectors).equals(whole)
    assert finder.shortlist(asked[7:8], vectors[7:8]).equals(whole.filter(pl.col("user_id") == "u007"))


def test_items_lead_to_what_is_clicked_after_them_and_never_before() -> None:
    rng = np.random.default_rng(0)
    events = pl.DataFrame(
        [(f"u{user}", START + timedelta(hours=float(hour)), f"i{rng.integers(5)}")
         for user in range(20) for hour in rng.integers(0, 90, 25)],
        schema={"user_id": pl.String, **WHEN, "item_id": pl.String}, orient="row",
    )  # fmt: skip
    visits = shown(*((f"u{rng.integers(22)}", float(rng.integers(90)) / 24, f"c{rng.integers(4)}") for _ in range(60)))
    browsed, names = Browsed.of(events), pl.DataFrame({"concept_id": ["c0", "c1", "c2"]})
    together = np.zeros((5, 3))
    for user, at, concept in visits.iter_rows():
        mine = events.filter((pl.col("user_id") == user) & (pl.col("at") < at)).sort("at", "item_id")
        for back, item in enumerate(reversed(mine["item_id"].tail(LAST).to_list()), start=1):
            if concept != "c3":
                together[int(item[1]), int(concept[1])] += 1 / back
    expected = together / np.sqrt((together.sum(1) + 5)[:, None] * (together.sum(0) + 5))
    np.testing.assert_allclose(leads(browsed, visits, names).toarray(), expected, rtol=1e-5)
    later = pl.concat([events, events.with_columns(pl.col("at") + timedelta(days=9))])
    assert (Browsed.of(later).last_items(visits) != browsed.last_items(visits)).nnz == 0
    recent = browsed.last_items(visits)
    for some in (slice(7, 8), slice(20, 50)):
        assert (browsed.last_items(visits[some]) != recent[some]).nnz == 0
    product = (recent @ leads(browsed, visits, names)).toarray()
    scaled = product / np.maximum(product.max(axis=1, keepdims=True), 1e-30)
    np.testing.assert_array_equal(strengths(recent, leads(browsed, visits, names)), scaled)


def test_what_retrieval_has_lost_is_counted() -> None:
    wanted = shown(("u", 0, "a"), ("u", 0, "b"), ("v", 0, "a"))
    assert kept_share(wanted, shown(("u", 0, "b"), ("v", 0, "a"), ("v", 0, "c"))) == {
        "wanted": 3, "kept": 2, "share": pytest.approx(2 / 3),
    }  # fmt: skip
    assert kept_share(wanted.clear(), wanted)["share"] is None


def test_inputs_that_do_not_fit_are_refused(concepts: pl.DataFrame) -> None:
    finder = retrieval(dated(concepts))
    with pytest.raises(DataError, match="2 user vectors for 1 moments"):
        finder.shortlist(moments(("u", 0)), np.ones((2, 2)))
    with pytest.raises(DataError, match="a moment comes twice"):
        finder.shortlist(moments(("u", 0), ("u", 0)), np.ones((2, 2)))
    with pytest.raises(SettingsError, match=r"sum to 1\.10"):
        retrieval(dated(concepts), covisit_share=0.6, popularity_share=0.5)
    assert finder.shortlist(moments(), np.ones((0, 2))).is_empty()


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
