"""The ranking table against plain Python, pair by pair, on random logs."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from contracts.errors import DataError, SettingsError
from contracts.settings import FeatureSettings, Settings
from features.exposure import CONCEPT_PRIOR_IMPRESSIONS, USER_PRIOR_IMPRESSIONS
from features.table import FEATURES, features_markdown, features_of, ranking_table

SECOND, DAY = 1_000_000, 86_400_000_000
START = 1_200_000_000 * SECOND
WEIGHTS = Settings().features.action_weights
TOPIC_NAMES = ["coffee", "hiking", "music", "travel"]

instants = st.one_of(
    st.integers(0, 5).map(lambda n: START + n * SECOND),  # same second, ties
    st.integers(0, 60).map(lambda n: START + n * DAY),
    st.integers(0, 20 * 365).map(lambda n: START + n * DAY),
)
event_rows = st.tuples(
    st.sampled_from(["u0", "u1", "u2"]),
    instants,
    st.sampled_from(sorted(WEIGHTS)),
    st.sampled_from(["i0", "i1", "i2", "new"]),
    st.lists(st.sampled_from(TOPIC_NAMES), max_size=3),
)
pair_rows = st.tuples(
    st.sampled_from(["u0", "u1", "u2", "*"]),
    instants,
    st.sampled_from(["c0", "c1", "c2", "i1", "unknown"]),
    st.booleans(),
)


def plain_features(pair: dict[str, Any], log: dict[str, Any], settings: FeatureSettings) -> dict[str, float | None]:
    """Every default feature of one pair, the slow and obvious way."""
    t, horizon = pair["at"], pair["at"] - round(settings.delay_seconds * SECOND)
    known = [e for e in log["events"] if e["user_id"] == pair["user_id"] and e["at"] < horizon]
    shown = [i for i in log["impressions"] if i["at"] < horizon]
    concept = log["concepts"].get(pair["concept_id"])
    topics = list(dict.fromkeys(concept["topics"])) if concept else []
    row: dict[str, float | None] = {}

    def sums(half_life: float) -> dict[str, float]:
        total: dict[str, list[float]] = defaultdict(list)
        anchor = max((e["at"] for e in known if e["topics"]), default=0)  # shares do not depend on it
        for e in known:
            for topic in set(e["topics"]):
                total[topic].append(WEIGHTS[e["action"]] * 2.0 ** ((e["at"] - anchor) / (half_life * DAY)))
        return {topic: math.fsum(terms) for topic, terms in total.items()}

    for half_life in settings.affinity_half_lives_days:
        of, label = sums(half_life), f"{half_life:g}d"
        anchor = max((e["at"] for e in known if e["topics"]), default=0)
        fade = 2.0 ** ((anchor - t) / (half_life * DAY))
        mine = math.fsum(of.get(topic, 0.0) for topic in topics)
        row[f"affinity_{label}"] = mine * fade / len(topics) if of and topics else None
        row[f"affinity_share_{label}"] = mine / math.fsum(of.values()) / len(topics) if of and topics else None
    for days in (1, 7, 30):
        row[f"events_{days}d"] = sum(e["at"] >= horizon - days * DAY for e in known)
    row["topic_events_7d"] = (
        sum(topic in e["topics"] for e in known for topic in topics if e["at"] >= horizon - 7 * DAY) if topics else None
    )
    hours = 3_600 * SECOND
    row["hours_since_event"] = min(((t - e["at"]) / hours for e in known), default=None)
    row["hours_since_topic_event"] = min(
        ((t - e["at"]) / hours for e in known if set(e["topics"]) & set(topics)), default=None
    )
    of = sums(settings.half_life_days)
    total = math.fsum(of.values())
    row["interest_entropy"] = -math.fsum(s / total * math.log(s / total) for s in of.values() if s > 0) if of else None
    row["embedding_cosine"], row["embedding_mass"] = plain_embedding(pair, known, concept, log["space"], settings)
    rate = sum(i["clicked"] for i in shown) / len(shown) if shown else None

    def smoothed(part: list[dict[str, Any]], strength: float) -> float | None:
        return None if rate is None else (sum(i["clicked"] for i in part) + strength * rate) / (len(part) + strength)

    same = [i for i in shown if i["concept_id"] == pair["concept_id"]]
    own = [i for i in shown if i["user_id"] == pair["user_id"]]
    both = [i for i in same if i["user_id"] == pair["user_id"]]
    row["concept_shown"] = len(same) if concept else None
    row["concept_click_rate"] = smoothed(same, CONCEPT_PRIOR_IMPRESSIONS) if concept else None
    row["user_concept_shown"] = len(both) if concept else None
    row["user_concept_clicked"] = sum(i["clicked"] for i in both) if concept else None
    row["hours_since_user_concept_shown"] = (
        min(((t - i["at"]) / hours for i in both), default=None) if concept else None
    )
    advertisers = {name: c["advertiser"] for name, c in log["concepts"].items()}
    row["user_advertiser_shown"] = (
        sum(advertisers.get(i["concept_id"]) == concept["advertiser"] for i in own) if concept else None
    )
    row["user_shown"] = len(own)
    row["user_click_rate"] = smoothed(own, USER_PRIOR_IMPRESSIONS)
    row["hour"] = t // hours % 24
    row["weekday"] = (t // DAY + 3) % 7 + 1  # 1 January 1970 was a Thursday
    return row


def plain_embedding(
    pair: dict[str, Any],
    known: list[dict[str, Any]],
    concept: dict[str, Any] | None,
    space: Any,
    settings: FeatureSettings,
) -> tuple[float | None, float]:
    items = dict(zip(space.item_ids, space.vectors.astype(float), strict=True))
    topics = dict(zip(space.topics, space.topic_vectors.astype(float), strict=True))

    def place(name: str, of: list[str]) -> np.ndarray[Any, Any] | None:
        if name in items:
            return np.asarray(items[name])
        found = [topics[topic] for topic in dict.fromkeys(of) if topic in topics]
        return np.mean(found, axis=0) if found else None

    placed = [(e, place(e["item_id"], e["topics"])) for e in known]
    placed = [(e, v) for e, v in placed if v is not None]
    scale = settings.half_life_days * DAY
    mass = math.fsum(WEIGHTS[e["action"]] * 2.0 ** ((e["at"] - pair["at"]) / scale) for e, _ in placed)
    target = place(pair["concept_id"], concept["topics"]) if concept else None
    if not placed or target is None:
        return None, mass
    anchor = max(e["at"] for e, _ in placed)
    user = sum(WEIGHTS[e["action"]] * 2.0 ** ((e["at"] - anchor) / scale) * v for e, v in placed)
    target = target.astype(np.float32).astype(float)  # concepts are placed in float32
    length = float(np.linalg.norm(user) * np.linalg.norm(target))
    return (float(user @ target) / length if length > 1e-9 else None), mass


@pytest.mark.parametrize("delay", [0.0, 1.0, 86_400.0])
def test_every_feature_equals_plain_python(make: dict[str, Callable[..., Any]], delay: float) -> None:
    settings = Settings().features.model_copy(update={"delay_seconds": delay})

    @hypothesis_settings(max_examples=40, deadline=None)
    @given(
        st.lists(event_rows, max_size=25),
        st.lists(pair_rows, min_size=1, max_size=15),
        st.lists(pair_rows, max_size=12),
    )
    def check(events: list[Any], wanted: list[Any], shown: list[Any]) -> None:
        pairs = make["impressions"](wanted)
        frame = ranking_table(
            pairs,
            events=make["events"](events),
            impressions=make["impressions"](shown),
            concepts=make["concepts"](),
            space=make["space"](),
            settings=settings,
        )
        log = {
            "events": [dict(zip(("user_id", "at", "action", "item_id", "topics"), e, strict=True)) for e in events],
            "impressions": [dict(zip(("user_id", "at", "concept_id", "clicked"), i, strict=True)) for i in shown],
            "concepts": {c["concept_id"]: c for c in make["concepts"]().to_dicts()},
            "space": make["space"](),
        }
        for pair, row in zip(wanted, frame.to_dicts(), strict=True):
            asked = dict(zip(("user_id", "at", "concept_id", "clicked"), pair, strict=True))
            expected = plain_features(asked, log, settings)
            assert set(expected) == {feature.name for feature in FEATURES}
            for name, value in expected.items():
                assert (row[name] is None) == (value is None), (name, row[name], value)
                if value is not None:
                    assert row[name] == pytest.approx(value, rel=1e-9, abs=1e-12), name

    check()


def build(log: Any, settings: FeatureSettings, pairs: pl.DataFrame) -> pl.DataFrame:
    return ranking_table(
        pairs,
        events=log.events,
        impressions=log.impressions,
        concepts=log.concepts,
        space=log.space,
        settings=settings,
    )


def test_pairs_keep_their_order_and_their_columns(log: Any, settings: FeatureSettings) -> None:
    pairs = log.impressions.sample(fraction=1.0, shuffle=True, seed=5).with_row_index("mark")
    table = build(log, settings, pairs)
    assert table.columns == [*pairs.columns, *(feature.name for feature in FEATURES)]
    assert table.select(pairs.columns).equals(pairs)
    assert all(table[feature.name].dtype == pl.Float64 for feature in FEATURES)
    assert not any(table[feature.name].is_nan().any() for feature in FEATURES)


def test_a_row_does_not_depend_on_the_pairs_beside_it(log: Any, settings: FeatureSettings) -> None:
    whole = build(log, settings, log.impressions)
    half = build(log, settings, log.impressions.gather_every(2))
    for feature in FEATURES:
        ours, theirs = half[feature.name].to_numpy(), whole[feature.name].gather_every(2).to_numpy()
        np.testing.assert_allclose(ours, theirs, rtol=1e-12, atol=1e-15, err_msg=feature.name)


def test_a_nobody_in_an_empty_log_has_nulls_and_true_zeros(make: dict[str, Callable[..., Any]], settings: Any) -> None:
    pairs = make["impressions"]([("*", START, "c0", False)])
    nothing = make["log"](events=0, slates=0)
    row = build(nothing, settings, pairs).row(0, named=True)
    unknown = {name for name, value in row.items() if value is None}
    assert {"affinity_7d", "affinity_share_7d", "hours_since_event", "interest_entropy"} <= unknown
    assert {"embedding_cosine", "concept_click_rate", "user_click_rate"} <= unknown
    assert row["events_30d"] == row["user_shown"] == row["embedding_mass"] == 0.0
    assert build(nothing, settings, pairs.clear()).height == 0


def test_shares_and_embedding_outlive_the_sums_in_a_far_future(log: Any, settings: Any, make: Any) -> None:
    late = START + 600_000 * DAY
    row = build(log, settings, make["impressions"]([("u1", late, "c0", False)])).row(0, named=True)
    assert row["affinity_1d"] == 0.0
    assert 0.0 < row["affinity_share_1d"] < 1.0
    assert row["interest_entropy"] > 0.0
    assert row["embedding_cosine"] is not None


def test_the_position_is_not_a_feature() -> None:
    assert not any("slot" in feature.name or "position" in feature.name for feature in FEATURES)


def test_every_feature_is_documented_once() -> None:
    text = features_markdown()
    assert all(text.count(f"| `{feature.name}` |") == 1 and feature.unit and feature.formula for feature in FEATURES)
    assert len(text.splitlines()) == len(FEATURES) + 2


def test_other_half_lives_make_other_columns(log: Any, settings: FeatureSettings) -> None:
    other = settings.model_copy(update={"affinity_half_lives_days": (0.5, 90.0), "half_life_days": 3.0})
    names = [feature.name for feature in features_of(other)]
    assert names[:4] == ["affinity_0p5d", "affinity_90d", "affinity_share_0p5d", "affinity_share_90d"]
    assert build(log, other, log.impressions).columns[-len(names) :] == names


def test_equal_half_lives_are_refused(settings: FeatureSettings) -> None:
    with pytest.raises(SettingsError, match="differ"):
        features_of(settings.model_copy(update={"affinity_half_lives_days": (7.0, 7.0)}))


def test_a_pair_column_named_like_a_feature_is_refused(log: Any, settings: FeatureSettings) -> None:
    with pytest.raises(DataError, match="user_shown"):
        build(log, settings, log.impressions.with_columns(user_shown=pl.lit(1)))
