"""Turns browsing events into each user's decayed topic interests at one moment."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

import numpy as np
import polars as pl

from contracts.tables import Interests, polars_schema
from features.browsing import Browsing
from features.history import coded, micros


def interests(
    events: pl.DataFrame,
    *,
    as_of: datetime,
    half_life_days: float,
    delay_seconds: float,
    action_weights: Mapping[str, float],
) -> pl.DataFrame:
    """What each user is into at `as_of`, from events with at < as_of - delay_seconds.

    weight(user, topic) = sum of action_weight * 2^(-(as_of - at) / half_life) over the user's events with that topic,
    divided by its sum over the user's topics. An event of two topics counts fully for both.

    Args:
        events: table `events`.
        as_of: an aware datetime.
        half_life_days: > 0.
        delay_seconds: >= 0.
        action_weights: weight of each action; one that is not named counts 0.

    Returns:
        Table `interests`, sorted by user_id and topic. A user without a known event that has a topic has no rows.
    """
    users = events["user_id"].unique().sort()
    topics = events["topics"].explode().drop_nulls().unique().sort()
    browsing = Browsing.of(coded(events, users, action_weights), topics, delay_seconds=delay_seconds)
    moment = pl.Series([as_of]).cast(pl.Datetime("us", "UTC"))
    everyone = np.arange(len(users), dtype=np.int64)
    chunks = browsing.shares(browsing.affinity(half_life_days), everyone, np.repeat(micros(moment), len(users)))
    frames = [
        pl.DataFrame({"user_id": users.gather(owner), "topic": topics.gather(topic), "weight": share})
        for owner, topic, share in chunks
    ]
    schema = polars_schema(Interests)
    if not frames:
        return pl.DataFrame(schema=schema)
    return pl.concat(frames).with_columns(pl.lit(moment[0], dtype=schema["as_of"]).alias("as_of")).select(list(schema))
