"""Turns logs of strings into compact arrays of codes, sorted by user and time; strings never reach a compiled loop."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from contracts.compiled import compiled_with_arrays
from contracts.tables import ACTIONS
from features.history import MICROS_PER_SECOND, Floats, Ints, codes, micros
from features.space import Space, Vectors

DEVICES = ("phone", "desktop", "tablet")
Small = npt.NDArray[np.int8]
Codes = npt.NDArray[np.int32]


class Events(NamedTuple):
    """Events of some users, sorted by user, then time; ties keep the order of the log. E events, U users.

    Attributes:
        begin: (U + 1,) where each user's events begin. at: (E,) microseconds.
        action: (E,) place in ACTIONS, -1 for another one. device: (E,) place in DEVICES, -2 for another one, -1 for none.
        item: (E,) place in the space, -1 for an unknown one. dwell: (E,) seconds, NaN for none.
        first, last: (E,) range of the event's topics in `topics`. topics: codes, -1 for none.
    """

    begin: Ints
    at: Ints
    action: Small
    device: Small
    item: Codes
    dwell: Vectors
    first: Ints
    last: Ints
    topics: Codes


class Pairs(NamedTuple):
    """What is asked for: users and concepts at moments, sorted by user, then moment. N pairs, U users.

    Attributes:
        begin: (U + 1,) where each user's pairs begin. at: (N,) moments, microseconds.
        horizon: (N,) only rows with at < horizon were known. concept: (N,) code, -1 for an unknown one.
        row: (N,) place in the table that was asked for. user: (N,) code.
    """

    begin: Ints
    at: Ints
    horizon: Ints
    concept: Ints
    row: Ints
    user: Ints


class Impressions(NamedTuple):
    """Logged impressions, I of them.

    Attributes:
        user, concept: (I,) codes, -1 for unknown ones. at: (I,) microseconds. clicked: (I,) 0 or 1.
        slot: (I,) from 0, NaN where it is not known.
    """

    user: Ints
    concept: Ints
    at: Ints
    clicked: Ints
    slot: Floats


class Concepts(NamedTuple):
    """The concepts, C of them.

    Attributes:
        begin: (C + 1,) where each concept's topics begin in `topics`, which are distinct codes.
        advertiser: (C,) code. vectors: (C, D) unit length, or zeros for one that has no place.
        alike: (C,) code of its topics as they stand. place: (C,) code of its vector.
    """

    begin: Ints
    topics: Codes
    advertiser: Ints
    vectors: Vectors
    alike: Ints
    place: Ints


def topic_codes(space: Space) -> pl.Series:
    """The space's topics, numbered from 0; its dtype numbers the topics of a log as they come.

    The numbering lasts as long as a series of the dtype does, so keep this one. No feature depends on the numbers.
    """
    return pl.Series(space.topics, dtype=pl.String).cast(pl.Categorical(pl.Categories.random()))


def code_events(
    events: pl.DataFrame | pl.LazyFrame, users: pl.Series, space: Space, topics: pl.Series, needed: frozenset[str]
) -> Events:
    """Events of `users`, coded in batches on all threads: a scan of files is never held as strings.

    Args:
        events: table `events`; dwell_seconds and device may be missing.
        users: distinct ids. space: places the items. topics: from `topic_codes`.
        needed: of action, device, item_id, dwell_seconds and topics; the rest stays empty.
    """
    lazy = events.lazy()
    present = lazy.collect_schema().names()
    coding = {
        "action": _place("action", ACTIONS).cast(pl.Int8).fill_null(-1),
        "device": pl.when(pl.col("device").is_null())
        .then(pl.lit(-1, dtype=pl.Int8))
        .otherwise(_place("device", DEVICES).cast(pl.Int8).fill_null(-2)),
        "item_id": _place("item_id", space.item_ids).cast(pl.Int32).fill_null(-1),
        "dwell_seconds": pl.col("dwell_seconds").cast(pl.Float32).fill_null(np.nan),
        "topics": pl.col("topics").cast(pl.List(topics.dtype)),
    }
    absent = {"device": pl.lit(-1, dtype=pl.Int8), "dwell_seconds": pl.lit(np.nan, dtype=pl.Float32)}
    frame = lazy.select(
        _place("user_id", users).alias("user"),
        pl.col("at").dt.epoch("us"),
        *((coding if name in present else absent)[name].alias(name) for name in sorted(needed)),
    ).collect(engine="streaming")
    if frame["user"].null_count():
        frame = frame.filter(pl.col("user").is_not_null())
    at = frame["at"].to_numpy()
    begin, order = by_user(frame["user"].cast(pl.Int64).to_numpy(), at, len(users))

    def column(name: str, empty: npt.DTypeLike) -> npt.NDArray[Any]:
        values = frame[name].to_numpy() if name in needed else np.zeros(0, empty)
        return sealed(values if order is None or not len(values) else values[order])

    offsets, flat = _lists(frame["topics"]) if "topics" in needed else (np.zeros(1, np.int64), np.zeros(0, np.int32))
    ends = offsets[:-1], offsets[1:]
    first, last = ends if order is None or not len(ends[0]) else (ends[0][order], ends[1][order])
    return Events(
        begin,
        sealed(at if order is None else at[order]),
        column("action", np.int8),
        column("device", np.int8),
        column("item_id", np.int32),
        column("dwell_seconds", np.float32),
        sealed(first),
        sealed(last),
        sealed(flat),
    )


def code_pairs(pairs: pl.DataFrame, users: pl.Series, concepts: pl.DataFrame, delay_seconds: float) -> Pairs:
    """What is asked for; `users` and the ids of `concepts` are distinct."""
    user, at = codes(pairs["user_id"], users), micros(pairs["at"])
    concept = codes(pairs["concept_id"], concepts["concept_id"])
    begin, order = by_user(user, at, len(users))
    row = np.arange(len(at), dtype=np.int64) if order is None else order
    horizon = at - round(delay_seconds * MICROS_PER_SECOND)
    return Pairs(begin, sealed(at[row]), sealed(horizon[row]), sealed(concept[row]), sealed(row), sealed(user[row]))


def code_impressions(impressions: pl.DataFrame, users: pl.Series, concepts: pl.DataFrame) -> Impressions:
    """Logged impressions in the order of the log; slot may be missing."""
    missing = pl.lit(None) if "slot" not in impressions.columns else pl.col("slot")
    frame = impressions.select(
        "user_id", "concept_id", "at", "clicked", slot=missing.cast(pl.Float64).fill_null(np.nan)
    )
    return Impressions(
        sealed(codes(frame["user_id"], users)),
        sealed(codes(frame["concept_id"], concepts["concept_id"])),
        sealed(micros(frame["at"])),
        sealed(frame["clicked"].cast(pl.Int64).to_numpy()),
        sealed(frame["slot"].to_numpy()),
    )


def in_order(impressions: Impressions, order: Ints | None) -> Impressions:
    """The impressions in another order; None: as they stand."""
    return impressions if order is None else Impressions(*(sealed(column[order]) for column in impressions))


def code_concepts(concepts: pl.DataFrame, space: Space, topics: pl.Series) -> Concepts:
    """Distinct concepts, placed in the space."""
    begin, flat = _lists(concepts["topics"].list.unique(maintain_order=True).cast(pl.List(topics.dtype)))
    vectors = space.place_concepts(concepts)
    length = np.linalg.norm(vectors.astype(np.float64), axis=1, keepdims=True)
    unit = np.where(length > 0, vectors / np.where(length > 0, length, 1.0), 0.0).astype(np.float32)
    names = concepts["advertiser"].unique().sort()
    advertiser = codes(concepts["advertiser"], names)
    alike = _kinds(flat[low:high] for low, high in pairwise(begin))
    return Concepts(sealed(begin), sealed(flat), sealed(advertiser), sealed(unit), alike, _kinds(unit))


def by_user(user: npt.NDArray[Any], at: Ints, users: int) -> tuple[Ints, Ints | None]:
    """Where each user's rows begin (U + 1,), and the order of rows by (user, at, row); None if they stand so already."""
    begin, sorted_already = _count(sealed(user), sealed(at), users)
    return sealed(begin), None if sorted_already else _order(sealed(user), sealed(at), sealed(begin))


def sealed(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """A contiguous, read-only view: a compiled loop knows one type of each array."""
    values = np.ascontiguousarray(values).view()
    values.flags.writeable = False
    return values


def _place(column: str, vocabulary: Iterable[str]) -> pl.Expr:
    """Place of a string in a vocabulary, null where it is not in it."""
    return pl.col(column).cast(pl.Enum(vocabulary), strict=False).to_physical()


def _lists(lists: pl.Series) -> tuple[Ints, Codes]:
    """Offsets (N + 1,) and codes of lists of categories; -1 for none."""
    arrow = lists.to_physical().rechunk().to_arrow()
    flat = pl.Series(arrow.values).cast(pl.Int32).fill_null(-1).to_numpy()
    return arrow.offsets.to_numpy(), flat


def _kinds(rows: Iterable[npt.NDArray[Any]]) -> Ints:
    """A code of each array: equal ones have the same."""
    known: dict[bytes, int] = {}
    return sealed(np.array([known.setdefault(row.tobytes(), len(known)) for row in rows], dtype=np.int64))


@compiled_with_arrays
def _count(user: npt.NDArray[Any], at: Ints, users: int) -> tuple[Ints, bool]:
    begin, ordered = np.zeros(users + 1, dtype=np.int64), True
    for row in range(len(user)):
        begin[user[row] + 1] += 1
        if row and (user[row] < user[row - 1] or (user[row] == user[row - 1] and at[row] < at[row - 1])):
            ordered = False
    for code in range(users):
        begin[code + 1] += begin[code]
    return begin, ordered


@compiled_with_arrays
def _order(user: npt.NDArray[Any], at: Ints, begin: Ints) -> Ints:
    """A counting sort by user, then a merge sort of the users whose rows are not in order of time."""
    order, place = np.empty(len(user), dtype=np.int64), begin.copy()
    for row in range(len(user)):
        order[place[user[row]]] = row
        place[user[row]] += 1
    for code in range(len(begin) - 1):
        rows = order[begin[code] : begin[code + 1]]
        for place_ in range(1, len(rows)):
            if at[rows[place_]] < at[rows[place_ - 1]]:
                rows[:] = rows[np.argsort(at[rows], kind="mergesort")]
                break
    return order
