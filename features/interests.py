"""Turns browsing events into each user's decayed topic interests at one moment."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping

import numpy as np
import polars as pl

from contracts.tables import Interests, polars_schema
from features.history import MICROS_PER_DAY, weights_of


def interests(
    events: pl.DataFrame,
    *,
    as_of: dt.datetime,
    half_life_days: float,
    delay_seconds: float,
    action_weights: Mapping[str, float],
) -> pl.DataFrame:
    """What each user is into at `as_of`, from events with at < as_of - delay_seconds.

    weight(user, topic) = sum of action_weight * 2^(-(as_of - at) / half_life) over the user's events with that topic,
    divided by its sum over the user's topics; ages are taken from the user's last event, which changes no share. An event of two topics counts fully for both.

    Args:
        events: table `events`.
        as_of: an aware datetime.
        half_life_days: > 0.
        delay_seconds: >= 0.
        action_weights: weight of each action; one that is not named counts 0.

    Returns:
        Table `interests`, sorted by user_id and topic. A user without a known event that has a topic has no rows.
    """
    horizon = as_of - dt.timedelta(seconds=delay_seconds)
    age = (pl.col("at").max().over("user_id") - pl.col("at")).dt.total_microseconds()
    weights = pl.Series(weights_of(events["action"], action_weights))
    shares = (
        events.select("user_id", "at", topic=pl.col("topics").list.unique(maintain_order=True), weight=weights)
        .filter(pl.col("at") < horizon, pl.col("weight") > 0, pl.col("topic").list.len() > 0)
        .with_columns(pl.col("weight") * (-age / (half_life_days * MICROS_PER_DAY) * np.log(2.0)).exp())
        .sort("user_id", "at", maintain_order=True)
        .explode("topic")
        .group_by("user_id", "topic")
        .agg(pl.col("weight").sum())
        .filter(pl.col("weight") > 0)
        .sort("user_id", "topic")
        .with_columns(pl.col("weight") / pl.col("weight").sum().over("user_id"))
    )
    schema = polars_schema(Interests)
    moment = pl.Series([as_of]).cast(schema["as_of"])[0]
    return shares.with_columns(pl.lit(moment, dtype=schema["as_of"]).alias("as_of")).select(
        pl.col(name).cast(dtype) for name, dtype in schema.items()
    )
