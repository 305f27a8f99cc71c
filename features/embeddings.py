"""Turns browsing events and a frozen space into user embeddings: the decayed mean of item vectors, at any moment."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import polars as pl
import scipy.sparse as sp

from contracts.tables import Embeddings, polars_schema
from features.decay import decay_over, decayed_sums
from features.history import Floats, Groups, Ints, at_place, coded, codes, micros, ragged, seen
from features.space import Space, Vectors

_CHUNK_ROWS = 2_000_000


@dataclass(frozen=True)
class UserStates:
    """Users at some moments.

    Attributes:
        means: (M, D) decayed mean of the vectors of the known events; zeros where there are none.
        mass: (M,) decayed sum of their weights, at the moment.
        events: (M,) how many there are.
    """

    means: Floats
    mass: Floats
    events: Ints


def embeddings(
    events: pl.DataFrame,
    space: Space,
    *,
    as_of: datetime,
    half_life_days: float,
    delay_seconds: float,
    action_weights: Mapping[str, float],
) -> pl.DataFrame:
    """Every user's embedding at `as_of`, from events with at < as_of - delay_seconds; see `embeddings_at`.

    Returns:
        Table `embeddings`, sorted by user_id. A user without a known event that stands in the space has no row.
    """
    users = events["user_id"].unique().sort()
    moment = pl.Series([as_of]).cast(pl.Datetime("us", "UTC"))
    states = user_states(
        coded(events, users, action_weights),
        space,
        np.arange(len(users), dtype=np.int64),
        np.repeat(micros(moment), len(users)),
        half_life_days=half_life_days,
        delay_seconds=delay_seconds,
    )
    known = pl.Series(states.events > 0)
    vectors = pl.Series(states.means.astype(np.float32), dtype=pl.Array(pl.Float32, space.dimensions))
    frame = pl.DataFrame({"user_id": users, "vector": vectors, "events": states.events}).filter(known)
    schema = polars_schema(Embeddings)
    return frame.select(pl.col(name).cast(dtype) for name, dtype in schema.items())


def embeddings_at(
    events: pl.DataFrame,
    space: Space,
    moments: pl.DataFrame,
    *,
    half_life_days: float,
    delay_seconds: float,
    action_weights: Mapping[str, float],
) -> Vectors:
    """User embeddings at given moments, exactly: never a snapshot of another time.

    embedding = sum of w * v / sum of w over the user's events with at < moment - delay_seconds and w > 0, where
    w = action_weight * 2^(-(moment - at) / half_life) and v is the item's vector, or the mean of its known topics'
    vectors where the item is not in the space. Its length is at most 1, and says how concentrated the user is.

    Args:
        events: table `events`.
        space: where items stand.
        moments: columns user_id, at; N rows, any order.
        half_life_days: > 0.
        delay_seconds: >= 0.
        action_weights: weight of each action; one that is not named counts 0.

    Returns:
        (N, D) float32, in the order of `moments`; zeros for a user of whom nothing is known yet.
    """
    users = moments["user_id"].unique().sort()
    who, at = codes(moments["user_id"], users), micros(moments["at"])
    order = np.lexsort((at, who))
    states = user_states(
        coded(events, users, action_weights),
        space,
        who[order],
        at[order],
        half_life_days=half_life_days,
        delay_seconds=delay_seconds,
    )
    vectors = np.empty((len(moments), space.dimensions), dtype=np.float32)
    vectors[order] = states.means
    return vectors


def user_states(
    events: pl.DataFrame,
    space: Space,
    who: Ints,
    at: Ints,
    *,
    half_life_days: float,
    delay_seconds: float,
) -> UserStates:
    """States of users at moments, in chunks of users, from `history.coded` events.

    `who` holds the user codes of the moments; the moments are sorted by it, then by `at`.
    """
    log = _Log.of(events, space)
    start, stop = log.by_user.span(who, seen(log.times, at, delay_seconds))
    anchor = at_place(log.times, log.by_user.last_row(start, stop))
    means = np.zeros((len(who), space.dimensions))
    mass = np.zeros(len(who))
    for low, high in _chunks(who, start, stop):
        part = slice(low, high)
        sums = log.sums(space.anchors, who[part], start[part], stop[part], anchor[part], half_life_days)
        some = stop[part] > start[part]
        total = np.where(some, sums[:, -1], 1.0)
        means[part] = sums[:, :-1] / total[:, None]
        mass[part] = np.where(some, total * decay_over(at[part] - anchor[part], half_life_days), 0.0)
    events_before = np.concatenate(([0], np.cumsum(log.leads)))
    return UserStates(means, mass, events_before[stop] - events_before[start])


@dataclass(frozen=True)
class _Log:
    """Entries of events in the space, (n,), in order of time; an event of an unknown item has one per known topic.

    Attributes:
        times: microseconds, ascending.
        columns: place among the anchors of the space.
        weights: action weight times share of the event, above 0.
        by_user: entries by user.
        rows: entries in order of (user, time), the order of `by_user`.
        leads: 1 at the first entry of each event, in the order of `by_user`.
    """

    times: Ints
    columns: Ints
    weights: Floats
    by_user: Groups
    rows: Ints
    leads: Ints

    @staticmethod
    def of(events: pl.DataFrame, space: Space) -> _Log:
        if not (events["weight"] > 0).all():
            events = events.filter(pl.col("weight") > 0)
        who, weight = events["user"].to_numpy(), events["weight"].to_numpy()
        event, column, share = space.entries(events)
        at = events["at"].to_numpy()[event]
        order = np.argsort(at, kind="stable")
        event = event[order]
        by_user = Groups.of(who[event], np.arange(len(event), dtype=np.int64), len(event))
        rows = by_user.rows
        leads = np.ones(len(rows), dtype=np.int64)
        leads[1:] = event[rows[1:]] != event[rows[:-1]]
        return _Log(at[order], column[order], weight[event] * share[order], by_user, rows, leads)

    def sums(
        self, vectors: Floats, who: Ints, start: Ints, stop: Ints, anchor: Floats, half_life_days: float
    ) -> Floats:
        """Decayed sums of (vector, 1) at each moment's anchor, (m, D + 1), for all moments of some users.

        The entries that became known since the user's previous moment are summed first (a sparse matrix product), then
        the moments of a user are chained by the same recurrence as any other decayed sum.
        """
        first = np.ones(len(who), dtype=np.bool_)
        first[1:] = who[1:] != who[:-1]
        since = start.copy()
        since[1:] = np.where(first[1:], start[1:], stop[:-1])
        moment, place = ragged(since, stop - since)
        row = self.rows[place]
        weight = self.weights[row] * decay_over(anchor[moment] - self.times[row], half_life_days)
        bounds = np.concatenate(([0], np.cumsum(stop - since)))
        fresh = sp.csr_array((weight, self.columns[row], bounds), shape=(len(who), len(vectors)))
        news = np.concatenate([fresh @ vectors, np.asarray(fresh.sum(axis=1))[:, None]], axis=1)
        times = np.where(np.isnan(anchor), -(2.0**62), anchor)  # nothing known yet: long ago
        return decayed_sums(times, news, first, half_life_days)


def _chunks(who: Ints, start: Ints, stop: Ints) -> Iterator[tuple[int, int]]:
    """Ranges of moments of whole users, each of about _CHUNK_ROWS entries and moments together."""
    heads = np.flatnonzero(np.concatenate((np.ones(min(1, len(who)), dtype=np.bool_), who[1:] != who[:-1])))
    tails = np.append(heads[1:], len(who))[: len(heads)]
    cost = np.cumsum(stop[tails - 1] - start[heads] + 8 * (tails - heads))
    low = 0
    while low < len(heads):
        spent = cost[low - 1] if low else 0
        high = max(low + 1, int(np.searchsorted(cost, spent + _CHUNK_ROWS)))
        yield int(heads[low]), int(tails[high - 1])
        low = high
