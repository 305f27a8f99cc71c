"""Which events made which interest, and which the embedding: planted, by plain Python, and exact in sum."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from features.embeddings import embeddings
from features.explanations import explain_embedding, explain_interests
from features.interests import interests

NOW = datetime(2023, 12, 10, tzinfo=UTC)
MICROS = int(NOW.timestamp() * 1e6)
DAY = 86_400_000_000
KNOBS: dict[str, Any] = {
    "as_of": NOW,
    "half_life_days": 7.0,
    "delay_seconds": 3_600.0,
    "action_weights": {"view": 1.0, "cart": 3.0, "search": 0.0},
}
Make = dict[str, Callable[..., Any]]


def test_a_planted_event_is_named_with_its_share(make: Make) -> None:
    events = make["events"](
        [
            ("u", MICROS - 7 * DAY, "cart", "kettle", ["coffee"]),  # 3 / 2
            ("u", MICROS - 14 * DAY, "view", "beans", ["coffee"]),  # 1 / 4
            ("u", MICROS - 14 * DAY, "view", "boots", ["hiking"]),  # 1 / 4
            ("u", MICROS - 1, "view", "too late", ["music"]),
            ("u", MICROS - DAY, "search", "counts nothing", ["music"]),
        ]
    )
    found = explain_interests(events, **KNOBS)
    assert found.select("topic", "item_id").rows() == [("coffee", "kettle"), ("coffee", "beans"), ("hiking", "boots")]
    np.testing.assert_allclose(found["share"].to_numpy(), [0.75, 0.125, 0.125], rtol=1e-12)


topic_lists = st.lists(st.sampled_from(["coffee", "hiking", "music"]), max_size=3)
rows = st.lists(
    st.tuples(
        st.sampled_from(["u0", "u1"]), st.integers(0, 400).map(lambda n: MICROS - n * DAY // 4),
        st.sampled_from(["view", "cart", "search", "like"]), st.sampled_from(["i0", "i1", "new"]), topic_lists,
    ),
    max_size=30,
)  # fmt: skip


@hypothesis_settings(max_examples=60, deadline=None)
@given(rows)
def test_shares_add_up_to_the_interest_to_the_last_bit_and_equal_plain_python(make: Make, log: list[Any]) -> None:
    events = make["events"](log)
    found = explain_interests(events, **KNOBS)
    weights = {(u, t): w for u, t, w in interests(events, **KNOBS).select("user_id", "topic", "weight").iter_rows()}
    sums: dict[tuple[str, str], list[float]] = defaultdict(list)
    for user, topic, share in found.select("user_id", "topic", "share").iter_rows():
        sums[user, topic].append(share)
    assert {key: math.fsum(shares) for key, shares in sums.items()} == weights
    assert all(share >= 0 for shares in sums.values() for share in shares)

    plain: dict[tuple[Any, ...], float] = defaultdict(float)
    for user, at, action, item, topics in log:
        weight = KNOBS["action_weights"].get(action, 0.0)
        if at < MICROS - 3_600_000_000 and weight:
            for topic in set(topics):
                plain[user, topic, at, action, item] += weight * 2.0 ** (-(MICROS - at) / (7 * DAY))
    totals = {user: math.fsum(v for k, v in plain.items() if k[0] == user) for user in ("u0", "u1")}
    ours: dict[tuple[Any, ...], float] = defaultdict(float)
    for row in found.with_columns(pl.col("at").dt.epoch("us")).iter_rows(named=True):
        ours[row["user_id"], row["topic"], row["at"], row["action"], row["item_id"]] += row["share"]
    assert set(ours) == set(plain)
    for key, share in ours.items():
        assert share == pytest.approx(plain[key] / totals[key[0]], rel=1e-9)


@hypothesis_settings(max_examples=40, deadline=None)
@given(rows)
def test_the_events_of_an_embedding_make_it_again(make: Make, log: list[Any]) -> None:
    events, space = make["events"](log), make["space"]()
    found = explain_embedding(events, space, **KNOBS)
    vectors = embeddings(events, space, **KNOBS)
    assert set(found["user_id"]) == set(vectors["user_id"])
    for user, vector, count in vectors.select("user_id", "vector", "events").iter_rows():
        mine = found.filter(pl.col("user_id") == user)
        assert len(mine) == count
        assert math.fsum(mine["share"]) == 1.0
        topics = {(e[1], e[2], e[3]): e[4] for e in log if e[0] == user}
        alone = [topics[at, action, item] for at, action, item in mine.select(pl.col("at").dt.epoch("us"), "action", "item_id").iter_rows()]  # fmt: skip
        if len(topics) == sum(e[0] == user for e in log):  # no two events that only their topics tell apart
            places = space.place(mine.with_columns(topics=pl.Series(alone, dtype=pl.List(pl.String))))
            np.testing.assert_allclose(mine["share"].to_numpy() @ places, vector, atol=1e-6)
        if mine["pull"].null_count() == 0:
            assert math.fsum(mine["pull"]) == pytest.approx(1.0, abs=1e-9)


def test_an_event_against_the_rest_pulls_the_other_way(make: Make) -> None:
    from dataclasses import replace

    space = make["space"]()
    turned = replace(space, vectors=np.array([[1, 0, 0], [1, 0, 0], [-1, 0, 0]], dtype=np.float32))
    at = MICROS - DAY
    events = make["events"]([("u", at, "cart", "i0", []), ("u", at, "view", "i2", []), ("u", at, "view", "new", ["x"])])
    found = explain_embedding(events, turned, **KNOBS)
    assert found.select("item_id", "standing", "share", "pull").rows() == [
        ("i0", "own", 0.75, 1.5),
        ("i2", "own", 0.25, -0.5),
    ]


def test_nobody_and_the_far_future_are_no_fault(make: Make, log: Any) -> None:
    nothing = make["events"]([])
    assert explain_interests(nothing, **KNOBS).is_empty()
    assert explain_embedding(nothing, log.space, **KNOBS).is_empty()
    late = KNOBS | {"as_of": NOW + timedelta(days=200_000)}
    assert explain_interests(log.events, **late)["weight"].min() > 0  # type: ignore[operator]
    assert explain_embedding(log.events, log.space, **late)["share"].is_finite().all()
