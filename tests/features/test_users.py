"""Interests and user embeddings, point in time."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest

import features.embeddings
from contracts.settings import FeatureSettings
from contracts.tables import Embeddings, Interests
from features.embeddings import embeddings, embeddings_at
from features.interests import interests

NOW = datetime(2023, 12, 10, tzinfo=UTC)
Make = dict[str, Callable[..., Any]]


@pytest.fixture
def knobs(settings: FeatureSettings) -> dict[str, Any]:
    return {"half_life_days": 7.0, "delay_seconds": 3_600.0, "action_weights": settings.action_weights}


def test_interests_keep_their_contract_and_sum_to_one(log: Any, knobs: dict[str, Any]) -> None:
    frame = interests(log.events, as_of=NOW, **knobs)
    Interests.validate(frame)
    sums = frame.group_by("user_id").agg(pl.col("weight").sum())["weight"]
    np.testing.assert_allclose(sums.to_numpy(), 1.0, rtol=1e-12)
    assert frame.equals(frame.sort("user_id", "topic"))


def test_interests_equal_plain_python(log: Any, knobs: dict[str, Any]) -> None:
    sums: dict[tuple[str, str], float] = {}
    for event in log.events.to_dicts():
        age = (NOW - event["at"]).total_seconds()
        if age > 3_600.0:
            for topic in set(event["topics"]):
                key = event["user_id"], topic
                sums[key] = sums.get(key, 0.0) + knobs["action_weights"][event["action"]] * 2.0 ** (-age / 604_800)
    frame = interests(log.events, as_of=NOW, **knobs)
    assert set(frame.select("user_id", "topic").rows()) == set(sums)
    for user, topic, weight in frame.select("user_id", "topic", "weight").iter_rows():
        assert weight == pytest.approx(sums[user, topic] / sum(v for k, v in sums.items() if k[0] == user), rel=1e-10)


def test_a_user_whose_events_are_all_ahead_has_no_rows(make: Make, knobs: dict[str, Any], log: Any) -> None:
    late = make["events"]([("u0", int(NOW.timestamp() * 1e6), "view", "i0", ["music"])])
    assert interests(late, as_of=NOW, **knobs).is_empty()
    assert embeddings(late, log.space, as_of=NOW, **knobs).is_empty()
    assert interests(late.clear(), as_of=NOW, **knobs).schema == interests(log.events, as_of=NOW, **knobs).schema


def test_the_batch_equals_the_point_in_time(log: Any, knobs: dict[str, Any]) -> None:
    batch = embeddings(log.events, log.space, as_of=NOW, **knobs)
    Embeddings.validate(batch)
    moments = batch.select("user_id").with_columns(at=pl.lit(NOW).cast(pl.Datetime("us", "UTC")))
    vectors = embeddings_at(log.events, log.space, moments, **knobs)
    assert np.array_equal(np.array(batch["vector"].to_list(), dtype=np.float32), vectors)


def test_embeddings_at_equal_the_plain_mean_at_every_moment(log: Any, knobs: dict[str, Any]) -> None:
    items = dict(zip(log.space.item_ids, log.space.vectors, strict=True))
    topics = dict(zip(log.space.topics, log.space.topic_vectors, strict=True))
    moments = log.impressions.sample(60, seed=2, shuffle=True)
    vectors = embeddings_at(log.events, log.space, moments, **knobs)
    events = log.events.to_dicts()
    for moment, vector in zip(moments.to_dicts(), vectors, strict=True):
        total, mass = np.zeros(3), 0.0
        for event in events:
            age = (moment["at"] - event["at"]).total_seconds()
            near = [topics[topic] for topic in sorted(set(event["topics"])) if topic in topics]
            if event["user_id"] == moment["user_id"] and age > 3_600.0 and (event["item_id"] in items or near):
                weight = knobs["action_weights"][event["action"]] * 2.0 ** (-age / 604_800)
                total += weight * (items[event["item_id"]] if event["item_id"] in items else np.mean(near, axis=0))
                mass += weight
        np.testing.assert_allclose(vector, total / mass if mass else total, atol=1e-6)


def test_chunks_of_users_do_not_change_the_result(
    log: Any, knobs: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    moments = log.impressions
    vectors = embeddings_at(log.events, log.space, moments, **knobs)
    monkeypatch.setattr(features.embeddings, "_CHUNK_ROWS", 50)
    assert np.array_equal(embeddings_at(log.events, log.space, moments, **knobs), vectors)


def test_nobody_is_zeros_and_counts_are_of_placed_events(make: Make, log: Any, knobs: dict[str, Any]) -> None:
    early = int((NOW - timedelta(days=2)).timestamp() * 1e6)
    events = make["events"](
        [
            ("u0", early, "view", "i0", ["music"]),
            ("u0", early, "cart", "never seen", ["coffee", "music", "coffee"]),
            ("u0", early, "view", "never seen", ["unheard of"]),
            ("u1", early, "view", "never seen", []),
        ]
    )
    frame = embeddings(events, log.space, as_of=NOW, **knobs)
    assert frame.select("user_id", "events").rows() == [("u0", 2)]
    expected = (log.space.vectors[0] + 3.0 * (log.space.topic_vectors[0] + log.space.topic_vectors[2]) / 2) / 4.0
    np.testing.assert_allclose(frame["vector"][0].to_list(), expected, atol=1e-6)
    moments = pl.DataFrame({"user_id": ["u1", "*"], "at": [NOW, NOW]})
    assert not embeddings_at(events, log.space, moments, **knobs).any()


def test_actions_weigh_as_they_are_told(make: Make, log: Any) -> None:
    early = int((NOW - timedelta(days=2)).timestamp() * 1e6)
    events = make["events"]([("u0", early, "view", "i0", ["music"]), ("u0", early, "cart", "i1", ["coffee"])])
    knobs = {"half_life_days": 7.0, "delay_seconds": 0.0, "action_weights": {"cart": 1.0}}
    assert interests(events, as_of=NOW, **knobs).select("topic", "weight").rows() == [("coffee", 1.0)]
    assert embeddings(events, log.space, as_of=NOW, **knobs)["vector"][0].to_list() == [0.0, 1.0, 0.0]
