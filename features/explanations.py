"""Turns a user's browsing into which event made which interest, and which events made the embedding, in exact shares."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import numpy as np
import polars as pl

from features.decay import decay_over
from features.history import MICROS_PER_SECOND, Floats, micros, weights_of
from features.interests import interests
from features.space import STANDINGS, Space


def explain_interests(
    events: pl.DataFrame,
    *,
    as_of: datetime,
    half_life_days: float,
    delay_seconds: float,
    action_weights: Mapping[str, float],
) -> pl.DataFrame:
    """What each event adds to each of its user's interests, for the users of `events`.

    An event with a topic adds action_weight * 2^(-(as_of - at) / half_life), over the sum of that over all events and
    topics of the user. The shares of an interest add up to its weight in the table `interests` exactly: their
    correctly rounded sum (`math.fsum`) is that number to the last bit, what rounding leaves over being given to the
    largest of them that can take it.

    Args:
        events: table `events`, of the users to explain.
        as_of, half_life_days, delay_seconds, action_weights: as given to `interests.interests`.

    Returns:
        user_id, topic, weight (of the interest), share (of this event, in [0, weight]), at, action, item_id; by user,
        weight and share, the largest first.
    """
    knobs: dict[str, Any] = {"as_of": as_of, "half_life_days": half_life_days, "delay_seconds": delay_seconds}
    weights = interests(events, **knobs, action_weights=action_weights).drop("as_of")
    known = _known(events, as_of, delay_seconds, action_weights)
    rows = known.with_columns(pl.col("topics").list.unique(maintain_order=True)).explode("topics").drop_nulls("topics")
    rows = _with_faded(rows.rename({"topics": "topic"}), half_life_days).join(weights, on=["user_id", "topic"])
    total = pl.col("faded").sum().over("user_id")
    rows = rows.with_columns(share=pl.col("faded") / total).sort(
        "user_id", "weight", "topic", "share", "at", "item_id", "action", descending=[False, True, False, True, True, False, False]
    )  # fmt: skip
    lengths = rows.select(pl.struct("user_id", "topic").rle().struct.field("len")).to_series().to_numpy()
    starts = np.cumsum(lengths) - lengths
    share = rows["share"].to_numpy().copy()
    for start, length, weight in zip(starts, lengths, rows["weight"].to_numpy()[starts], strict=True):
        _settle(share[start : start + length], float(weight))
    return rows.with_columns(share=share).select("user_id", "topic", "weight", "share", "at", "action", "item_id")


def explain_embedding(
    events: pl.DataFrame,
    space: Space,
    *,
    as_of: datetime,
    half_life_days: float,
    delay_seconds: float,
    action_weights: Mapping[str, float],
) -> pl.DataFrame:
    """What each event adds to its user's embedding, for the users of `events`.

    The embedding is the sum of share * place over the events that stand in the space; the shares add up to 1 exactly
    (`math.fsum`). With u the embedding, pull = share * (place . u) / (u . u) is the event's part of its length: the pulls
    add up to 1, and one that is negative pulled the other way.

    Returns:
        user_id, share, pull (null where the embedding is 0), standing (see `space.STANDINGS`), at, action, item_id; by
        user and share, the largest first.
    """
    known = _known(events, as_of, delay_seconds, action_weights)
    known = known.with_columns(standing=space.standing(known)).filter(pl.col("standing") != STANDINGS[-1])
    order = ["user_id", "faded", "at", "item_id", "action"]
    known = _with_faded(known, half_life_days).sort(order, descending=[False, True, True, False, False])
    user = known["user_id"].rle_id().to_numpy().astype(np.int64)
    lengths = np.bincount(user)
    share = known["faded"].to_numpy() / np.bincount(user, weights=known["faded"].to_numpy())[user]
    for stop, length in zip(np.cumsum(lengths), lengths, strict=True):
        _settle(share[stop - length : stop], 1.0)
    places = space.place(known)
    means = np.zeros((len(lengths), space.dimensions))
    np.add.at(means, user, share[:, None] * places)
    square = np.einsum("nd,nd->n", means, means)[user]
    along = share * np.einsum("nd,nd->n", places, means[user])
    pull = np.where(square > 1e-24, along / np.where(square > 1e-24, square, 1.0), np.nan)
    return known.with_columns(share=share, pull=pl.Series(pull, nan_to_null=True)).select(
        "user_id", "share", "pull", pl.col("standing").cast(pl.String), "at", "action", "item_id"
    )


def _known(
    events: pl.DataFrame, as_of: datetime, delay_seconds: float, action_weights: Mapping[str, float]
) -> pl.DataFrame:
    """The events that count at the moment, with their action weights, above 0."""
    moment = micros(pl.Series([as_of]).cast(pl.Datetime("us", "UTC")))[0]
    horizon = moment - round(delay_seconds * MICROS_PER_SECOND)
    weighed = events.with_columns(action_weight=pl.Series(weights_of(events["action"], action_weights)))
    return weighed.filter(pl.Series(micros(events["at"]) < horizon), pl.col("action_weight") > 0)


def _with_faded(rows: pl.DataFrame, half_life_days: float) -> pl.DataFrame:
    """Adds faded: the action's weight as of the user's last row, so that nothing fades away in a far future."""
    age = micros(rows.select(pl.col("at").max().over("user_id"))["at"]) - micros(rows["at"])
    return rows.with_columns(faded=rows["action_weight"].to_numpy() * decay_over(age, half_life_days))


def _settle(shares: Floats, total: float) -> None:
    """Gives what rounding left over to the largest share that can take it, in place, until their sum is `total` exactly.

    Args:
        shares: >= 0, descending.
        total: what they add up to, but for rounding.
    """
    for _ in range(len(shares) + 8):
        if math.fsum(shares) == total:
            return
        left = math.fsum([total, *(-share for share in shares)])
        takes = np.flatnonzero((shares + left != shares) & (shares + left >= 0))
        if not len(takes):
            return
        shares[takes[0]] += left
