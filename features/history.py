"""Turns a log into rows in order of time, grouped by packed keys, so that "what was known then" is one binary search.

The one idea: rows are numbered in order of time, and the rows known at a moment are those with a number below
`seen(times, moment)`. That search is the only place where the future is kept out; every feature goes through it.
A group (a user, a user and a topic, ...) is found in an array of int64 keys, `code << bits | row number`, sorted once.
Row numbers take the place of timestamps, so the bits needed do not depend on the unit or the length of the history.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from contracts.errors import DataError, SettingsError

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

MICROS_PER_SECOND = 1_000_000
MICROS_PER_HOUR = 3_600 * MICROS_PER_SECOND
MICROS_PER_DAY = 24 * MICROS_PER_HOUR


def micros(at: pl.Series) -> Ints:
    """Datetimes as int64 microseconds since 1970 UTC, shape (N,)."""
    return at.dt.epoch("us").to_numpy().astype(np.int64)


def codes(values: pl.Series, vocabulary: pl.Series) -> Ints:
    """Place of each value in a vocabulary of distinct values, shape (N,); -1 where it is not in it."""
    places = values.cast(pl.Enum(vocabulary), strict=False).to_physical()
    return places.cast(pl.Int64).fill_null(-1).to_numpy()


def weights_of(actions: pl.Series, action_weights: Mapping[str, float]) -> Floats:
    """Weight of each event's action, shape (N,); an action without a weight counts nothing (0).

    Raises:
        SettingsError: a weight is negative or not finite.
    """
    wrong = sorted(name for name, weight in action_weights.items() if not 0.0 <= weight < float("inf"))
    if wrong:
        raise SettingsError(
            f"negative or not finite for {', '.join(wrong)}",
            where="features.action_weights",
            fix="Give every action a weight of 0 or more.",
        )
    names = pl.Series(list(action_weights), dtype=pl.String)
    table = np.array([*action_weights.values(), 0.0])  # the last one is for code -1
    return table[codes(actions.cast(pl.String), names)]


def coded(events: pl.DataFrame, users: pl.Series, action_weights: Mapping[str, float]) -> pl.DataFrame:
    """Events of the given users: user (place in `users`), at (microseconds), weight, item_id, topics; same order."""
    who = codes(events["user_id"], users)
    frame = events.select(
        pl.Series("user", who),
        pl.Series("at", micros(events["at"])),
        pl.Series("weight", weights_of(events["action"], action_weights)),
        "item_id",
        "topics",
    )
    return frame if (who >= 0).all() else frame.filter(pl.col("user") >= 0)


def seen(times: Ints, moments: Ints, delay_seconds: float = 0.0, *, days_before: float = 0.0) -> Ints:
    """How many rows of a log were known at each moment: those with time < moment - delay - days_before.

    Args:
        times: (N,) microseconds, ascending.
        moments: (M,) microseconds, any order.
        delay_seconds: rows younger than this are not yet known.
        days_before: look back further, for the far end of a window.

    Returns:
        (M,) row counts in [0, N]; row r is known when r < count.
    """
    shift = round(delay_seconds * MICROS_PER_SECOND) + round(days_before * MICROS_PER_DAY)
    return np.searchsorted(times, moments - shift, side="left").astype(np.int64)


def ragged(starts: Ints, lengths: Ints) -> tuple[Ints, Ints]:
    """Every index of many ranges: owner (which range) and index, both of shape (sum of lengths,)."""
    owner = np.repeat(np.arange(len(lengths), dtype=np.int64), lengths)
    before = np.cumsum(lengths) - lengths
    return owner, np.arange(len(owner), dtype=np.int64) + (starts - before)[owner]


@dataclass(frozen=True)
class Groups:
    """Rows of a time-ordered log, sorted by (group, time).

    Attributes:
        keys: (n,) sorted and distinct, `code << bits | row`.
        bits: how many low bits hold the row number.
        known: sorted distinct group codes, where they had to be renumbered to fit into the key; else None.
    """

    keys: Ints
    bits: int
    known: Ints | None = None

    @staticmethod
    def of(group_codes: Ints, rows: Ints, row_count: int) -> Groups:
        """Groups of the given rows; a code < 0 is left out, a repeated (code, row) counts once.

        The bits are sized from the data. Where code and row number do not fit into 63 bits, the codes are renumbered
        densely, which fits for every log of fewer than 2**31 rows.

        Raises:
            DataError: the log is too long even so.
        """
        keep = group_codes >= 0
        if not keep.all():
            group_codes, rows = group_codes[keep], rows[keep]
        bits = int(row_count).bit_length()
        known: Ints | None = None
        if len(group_codes) and int(group_codes.max()).bit_length() + bits > 63:
            known, dense = np.unique(group_codes, return_inverse=True)
            group_codes = dense.astype(np.int64)
            if len(known).bit_length() + bits > 63:
                raise DataError("too many rows for one batch", where="log", fix="Split the log by users.")
        keys = np.sort(group_codes << bits | rows)
        if len(keys):
            distinct = np.concatenate(([True], keys[1:] != keys[:-1]))
            keys = keys if distinct.all() else keys[distinct]
        return Groups(keys, bits, known)

    @property
    def rows(self) -> Ints:
        """Row numbers in order of (group, time), shape (n,)."""
        return self.keys & ((1 << self.bits) - 1)

    @property
    def first(self) -> Bools:
        """True at the first row of each group, shape (n,)."""
        code = self.keys >> self.bits
        return np.concatenate((np.ones(min(1, len(code)), dtype=np.bool_), code[1:] != code[:-1]))

    def last_row(self, start: Ints, stop: Ints) -> Ints:
        """Row number of the last row of each range, shape (M,); -1 for an empty range."""
        if not len(self.keys):
            return np.full(len(start), -1, dtype=np.int64)
        return np.where(stop > start, self.keys[np.maximum(stop - 1, 0)] & ((1 << self.bits) - 1), -1)

    def span(self, group_codes: Ints, known_rows: Ints) -> tuple[Ints, Ints]:
        """Where the known rows of a group stand: [start, stop) into the sorted rows; empty for an unknown group.

        Args:
            group_codes: (M,) codes; -1 is nobody.
            known_rows: (M,) from `seen`.
        """
        if self.known is not None:
            place = np.minimum(np.searchsorted(self.known, group_codes), max(len(self.known) - 1, 0))
            group_codes = np.where(self.known[place] == group_codes, place, -1)
        low = group_codes << self.bits
        start = np.searchsorted(self.keys, low).astype(np.int64)
        stop = np.searchsorted(self.keys, low | known_rows).astype(np.int64)
        return start, stop


def at_place(values: Ints | Floats, place: Ints) -> Floats:
    """values[place] as floats, shape (M,); NaN where the place is -1. Microseconds stay exact (below 2**53)."""
    if not len(values):
        return np.full(len(place), np.nan)
    return np.where(place >= 0, values[np.maximum(place, 0)], np.nan)
