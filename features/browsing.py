"""Turns browsing events into what was known of each user's interests at any moment: counts, recency, topic sums."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import polars as pl

from features.decay import decay_over, decayed_sums
from features.history import Floats, Groups, Ints, at_place, codes, ragged, seen

_RAGGED_ROWS = 4_000_000


@dataclass(frozen=True)
class Affinity:
    """Decayed sums at one half-life, just after each row.

    Attributes:
        half_life_days: the half-life.
        by_topic: (n,) per (user, topic), rows of `Browsing.by_topic`.
        total: (m,) per user over all topics, rows of `Browsing.by_any_topic`.
    """

    half_life_days: float
    by_topic: Floats
    total: Floats


@dataclass(frozen=True)
class Lookup:
    """Where the known rows of (user, topic) stand at some moments, each of shape (K,).

    Attributes:
        at: the moments, microseconds.
        start, stop: range of rows in `Browsing.by_topic`.
        last: time of the last of them, NaN if there is none.
        total_place: the user's last row in `Browsing.by_any_topic`, -1 if there is none.
        anchor: its time.
    """

    at: Ints
    start: Ints
    stop: Ints
    last: Floats
    total_place: Ints
    anchor: Floats

    def sums(self, affinity: Affinity) -> tuple[Floats, Floats]:
        """Decayed sum of (user, topic) at each moment, and its share of the user's total; both of shape (K,).

        The share is taken at the user's last known event, so it does not fade with the sums in a far future.
        NaN where the user has no known event with a topic; 0 where there are some, but none with this one.
        """
        some = self.stop > self.start
        value = at_place(affinity.by_topic, np.where(some, self.stop - 1, -1))
        total = at_place(affinity.total, self.total_place)
        sums = np.where(some, value * decay_over(self.at - self.last, affinity.half_life_days), 0.0)
        share = np.where(some, value * decay_over(self.anchor - self.last, affinity.half_life_days) / total, 0.0)
        nobody = self.total_place < 0
        return np.where(nobody, np.nan, sums), np.where(nobody, np.nan, share)


@dataclass(frozen=True)
class Browsing:
    """Events of some users in order of time, grouped.

    Attributes:
        times: (N,) microseconds, ascending.
        weights: (N,) of the actions.
        by_user: rows by user code.
        by_topic: rows by user code * topic_count + topic code.
        by_any_topic: rows with a topic and a weight above 0, by user code.
        topic_count: size of the topic vocabulary.
        topics_per_row: (N,) distinct topics of each event.
        delay_seconds: events younger than this are not yet known.
    """

    times: Ints
    weights: Floats
    by_user: Groups
    by_topic: Groups
    by_any_topic: Groups
    topic_count: int
    topics_per_row: Ints
    delay_seconds: float

    @staticmethod
    def of(events: pl.DataFrame, topics: pl.Series, *, delay_seconds: float) -> Browsing:
        """From `history.coded` events, in any order; `topics` is the vocabulary of topics."""
        at = events["at"].to_numpy()
        order = np.argsort(at, kind="stable")
        times, who, weights = at[order], events["user"].to_numpy()[order], events["weight"].to_numpy()[order]
        rank = np.empty(len(order), dtype=np.int64)
        rank[order] = np.arange(len(order))
        exploded = events.select("topics").with_columns(pl.Series("row", rank)).explode("topics").drop_nulls("topics")
        row, topic = exploded["row"].to_numpy(), codes(exploded["topics"], topics)
        by_topic = Groups.of(np.where(topic >= 0, who[row] * len(topics) + topic, -1), row, len(times))
        topics_per_row = np.bincount(by_topic.rows, minlength=len(times)).astype(np.int64)
        counts = np.flatnonzero((topics_per_row > 0) & (weights > 0))
        return Browsing(
            times=times,
            weights=weights,
            by_user=Groups.of(who, np.arange(len(times), dtype=np.int64), len(times)),
            by_topic=by_topic,
            by_any_topic=Groups.of(who[counts], counts, len(times)),
            topic_count=len(topics),
            topics_per_row=topics_per_row,
            delay_seconds=delay_seconds,
        )

    def seen(self, at: Ints, days_before: float = 0.0) -> Ints:
        """Events known at each moment, see `history.seen`."""
        return seen(self.times, at, self.delay_seconds, days_before=days_before)

    def topic_span(self, users: Ints, topics: Ints, known: Ints) -> tuple[Ints, Ints]:
        """Where the known rows of (user, topic) stand in `by_topic`: [start, stop), each (M,)."""
        return self.by_topic.span(np.where(users >= 0, users * self.topic_count + topics, -1), known)

    def affinity(self, half_life_days: float) -> Affinity:
        """Decayed action-weighted sums per (user, topic), and per user over all topics."""
        rows, total_rows = self.by_topic.rows, self.by_any_topic.rows
        return Affinity(
            half_life_days,
            decayed_sums(self.times[rows], self.weights[rows], self.by_topic.first, half_life_days),
            decayed_sums(
                self.times[total_rows],
                self.weights[total_rows] * self.topics_per_row[total_rows],
                self.by_any_topic.first,
                half_life_days,
            ),
        )

    def look_up(self, users: Ints, at: Ints, moment: Ints, topics: Ints) -> Lookup:
        """Finds what was known of topics at moments.

        Args:
            users: (M,) user codes of the moments, -1 is nobody.
            at: (M,) the moments, microseconds.
            moment: (K,) which moment.
            topics: (K,) which topic, code.
        """
        known = self.seen(at)
        start, stop = self.topic_span(users[moment], topics, known[moment])
        total_start, total_stop = self.by_any_topic.span(users, known)
        anchor = at_place(self.times, self.by_any_topic.last_row(total_start, total_stop))
        return Lookup(
            at=at[moment],
            start=start,
            stop=stop,
            last=at_place(self.times, self.by_topic.last_row(start, stop)),
            total_place=np.where(total_stop > total_start, total_stop - 1, -1)[moment],
            anchor=anchor[moment],
        )

    def shares(self, affinity: Affinity, users: Ints, at: Ints) -> Iterator[tuple[Ints, Ints, Floats]]:
        """Topic shares of every moment, in chunks: (moment, topic, share); shares are above 0 and sum to 1 a moment."""
        present = self.by_topic.distinct()
        start = np.searchsorted(present, users * self.topic_count).astype(np.int64)
        length = np.searchsorted(present, (users + 1) * self.topic_count).astype(np.int64) - start
        length[users < 0] = 0
        cuts = np.searchsorted(np.cumsum(length), np.arange(0, int(length.sum()), _RAGGED_ROWS), side="right")
        for low, high in pairwise([*cuts, len(users)]):
            part = slice(low, high)
            owner, place = ragged(start[part], length[part])
            topic = present[place] - users[part][owner] * self.topic_count
            _, share = self.look_up(users[part], at[part], owner, topic).sums(affinity)
            keep = share > 0
            owner, topic, share = owner[keep], topic[keep], share[keep]
            yield owner + low, topic, share / np.bincount(owner, weights=share, minlength=1)[owner]


def entropy(chunks: Iterator[tuple[Ints, Ints, Floats]], moments: int) -> Floats:
    """Shannon entropy of topic shares, nats, shape (moments,); NaN where there are none."""
    total, count = np.zeros(moments), np.zeros(moments, dtype=np.int64)
    for owner, _, share in chunks:
        total -= np.bincount(owner, weights=share * np.log(share), minlength=moments)
        count += np.bincount(owner, minlength=moments)
    return np.where(count > 0, np.maximum(total, 0.0), np.nan)
