"""Turns logged impressions into what any number of ranking tables ask of them, each thing done once."""

from __future__ import annotations

from dataclasses import dataclass, field
from threading import Lock

import numpy as np
import polars as pl

from features.exposure import Tallies, blank_tallies, count_until
from features.history import Ints, ragged
from features.log import Impressions, by_user, code_impressions, in_order, sealed


@dataclass(frozen=True, eq=False)
class Shown:
    """Impressions of U users, coded once for any number of tables, and counted once up to where all of those begin.

    Attributes:
        users: (U,) distinct ids, ascending; the codes of the impressions' users.
        in_time: the impressions by time; ties keep the order of the log.
        by_user: the same by user, then time. begin: (U + 2,) where each user's begin in it; user U was shown nothing.
        concepts: how many.
    """

    users: pl.Series
    in_time: Impressions
    by_user: Impressions
    begin: Ints
    concepts: int

    @staticmethod
    def of(impressions: pl.DataFrame, concepts: pl.DataFrame) -> Shown:
        """From the tables; the ids of `concepts` are distinct."""
        users = impressions["user_id"].unique().sort()
        coded = code_impressions(impressions, users, concepts)
        begin, order = by_user(coded.user, coded.at, len(users))
        in_time = in_order(coded, np.argsort(coded.at, kind="stable"))
        return Shown(users, in_time, in_order(coded, order), np.append(begin, begin[-1]), len(concepts))

    def codes(self, users: pl.Series) -> Ints:
        """Code of each user, U for one who was shown nothing."""
        if not len(self.users):
            return np.zeros(len(users), dtype=np.int64)
        place = self.users.search_sorted(users).to_numpy().astype(np.int64)
        held = self.users.gather(np.minimum(place, len(self.users) - 1)) == users
        return np.where(held.to_numpy(), place, len(self.users))

    def to(self, codes: Ints) -> tuple[Ints, Impressions]:
        """The impressions of some users by user, then time, and (n + 1,) where each one's begin."""
        lengths = self.begin[codes + 1] - self.begin[codes]
        _, rows = ragged(self.begin[codes], lengths)
        return sealed(np.concatenate(([0], np.cumsum(lengths)))), in_order(self.by_user, rows)

    def tallies(self, horizon: int) -> Tallies:
        """What is counted of the impressions before a moment, microseconds; the caller's own, to be moved on.

        The earliest moment ever asked for is kept, and others start from it: where many tables of one day are asked for,
        the log is counted once.
        """
        with self._lock:
            if not self._kept or horizon < self._kept[0][0]:
                blank = blank_tallies(len(self.users) + 1, self.concepts)
                count_until(horizon, self.in_time, blank)
                self._kept[:] = [(horizon, blank)]
            tallies = Tallies._make(column.copy() for column in self._kept[0][1])
        count_until(horizon, self.in_time, tallies)
        return tallies

    _lock: Lock = field(default_factory=Lock, init=False, repr=False)
    _kept: list[tuple[int, Tallies]] = field(default_factory=list, init=False, repr=False)
