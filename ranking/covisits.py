"""Turns browsing and clicks into how strongly each item leads to each concept, and users into their last items."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl
import scipy.sparse as sp

from contracts.compiled import compiled
from ranking.frames import Ints

LAST = 10
"""Items looked back at, by user."""

_MAX_VISITS = 2_000_000  # the latest so many teach enough
_PRIOR = 5.0  # visits by which rare items and concepts are shrunk


@dataclass(frozen=True, eq=False)
class Browsed:
    """Events of all users in order of (user, time).

    Attributes:
        users: (U,) distinct user ids, ascending.
        items: (I,) distinct item ids, ascending.
        user, at, item: (E,) place of the user, microseconds, place of the item; places as int32.
    """

    users: pl.Series
    items: pl.Series
    user: npt.NDArray[np.int32]
    at: Ints
    item: npt.NDArray[np.int32]

    @classmethod
    def of(cls, events: pl.DataFrame, items: pl.Series | None = None) -> Browsed:
        """From user_id, at, item_id; `items` are those of all users where the events are some users'."""
        users = events["user_id"].unique().sort()
        items = events["item_id"].unique().sort() if items is None else items
        coded = pl.DataFrame(
            {
                "user": _places(events["user_id"], users).astype(np.int32),
                "at": events["at"].dt.epoch("us"),
                "item": _places(events["item_id"], items).astype(np.int32),
            }
        ).sort("user", "at", "item")
        return cls(users, items, *(coded[name].to_numpy() for name in ("user", "at", "item")))

    def last_items(self, moments: pl.DataFrame, *, delay_seconds: float = 0.0) -> sp.csr_array:
        """(N, I) float32: 1 / k for the k-th last item before each moment (user_id, at), k up to LAST, summed by item.

        Only events with at < moment - delay_seconds are looked at.
        """
        who = self._who(moments["user_id"])
        known = moments["at"].dt.epoch("us").to_numpy() - round(delay_seconds * 1e6)
        stop = self._before(who, known)
        start = np.searchsorted(self.user, who)
        row, item, weight = [], [], []
        for back in range(1, LAST + 1):
            there = np.flatnonzero((who >= 0) & (stop - back >= start))
            row.append(there)
            item.append(self.item[stop[there] - back])
            weight.append(np.full(len(there), 1.0 / back, dtype=np.float32))
        entries = np.concatenate(weight), (np.concatenate(row), np.concatenate(item))
        return sp.coo_array(entries, shape=(len(moments), len(self.items))).tocsr()

    def _who(self, users: pl.Series) -> npt.NDArray[np.int32]:
        """Places of users, -1 of one without events; of many users in a row only those between them are looked at."""
        if not len(users):
            return np.zeros(0, dtype=np.int32)
        first, last = str(users.min()), str(users.max())
        low, high = self.users.search_sorted(first, "left"), self.users.search_sorted(last, "right")
        places = _places(users, self.users[low:high])
        return np.where(places < 0, -1, places + low).astype(np.int32)

    def _before(self, who: npt.NDArray[np.int32], known: Ints) -> Ints:
        """How many events stand before each moment in order of (user, time): all users' by halving at once."""
        low, high = (np.searchsorted(self.user, who, side) for side in ("left", "right"))
        while (open_ := np.flatnonzero(low < high)).size:
            middle = (low[open_] + high[open_]) // 2
            earlier = self.at[middle] < known[open_]
            low[open_[earlier]] = middle[earlier] + 1
            high[open_[~earlier]] = middle[~earlier]
        return low


def leads(
    browsed: Browsed, visits: pl.DataFrame, concepts: pl.DataFrame, *, delay_seconds: float = 0.0
) -> sp.csr_array:
    """How strongly each item leads to each concept, (I, C) float32, from what was browsed before visits of concepts.

    strength(i, c) = n(i, c) / sqrt((n(i) + m) * (n(c) + m)), where n(i, c) sums 1 / k over the visits of c before which
    i was the k-th last item, n(i) and n(c) are its sums, and m = 5 visits: the cosine of item-item retrieval (Sarwar et
    al. 2001), from earlier to later.

    Args:
        browsed: the events.
        visits: user_id, at, concept_id: clicks on concepts, and events whose item is a concept.
        concepts: concept_id, C rows.
        delay_seconds: as at serving.
    """
    latest = visits.sort("at", "user_id", "concept_id").tail(_MAX_VISITS)
    concept = _places(latest["concept_id"], concepts["concept_id"])
    before = browsed.last_items(latest, delay_seconds=delay_seconds)
    known = np.flatnonzero(concept >= 0)
    of_concept = sp.csr_array(
        (np.ones(len(known), dtype=np.float32), (known, concept[known])), shape=(len(latest), len(concepts))
    )
    together = sp.csr_array(before.T @ of_concept)
    item, visited = (np.asarray(together.sum(axis=axis)).ravel() + _PRIOR for axis in (1, 0))
    scaled = sp.diags_array(1 / np.sqrt(item)) @ together @ sp.diags_array(1 / np.sqrt(visited))
    return sp.csr_array(scaled, dtype=np.float32)


def strengths(recent: sp.csr_array, leads: sp.csr_array) -> npt.NDArray[np.float32]:
    """How strongly last items (N, I) lead to concepts (I, C), (N, C): the largest of a row is 1; 0 where nothing leads."""
    found = np.zeros((recent.shape[0], leads.shape[1]), dtype=np.float32)
    _follow(*_parts(recent), *_parts(leads), found)
    return found


def _parts(matrix: sp.csr_array) -> tuple[Ints, Ints, npt.NDArray[np.float32]]:
    return matrix.indptr.astype(np.int64), matrix.indices.astype(np.int64), matrix.data.astype(np.float32)


@compiled
def _follow(
    first: Ints,
    item: Ints,
    weight: npt.NDArray[np.float32],
    begin: Ints,
    concept: Ints,
    lead: npt.NDArray[np.float32],
    found: npt.NDArray[np.float32],
) -> None:
    """Adds up a sparse matrix product in `found`, zeros before, and divides each row by its largest."""
    for row in range(len(found)):
        strength = found[row]
        for entry in range(first[row], first[row + 1]):
            for place in range(begin[item[entry]], begin[item[entry] + 1]):
                strength[concept[place]] += weight[entry] * lead[place]
        most = np.float32(1e-30)
        for value in strength:
            most = max(most, value)
        for column in range(len(strength)):
            strength[column] /= most


def _places(values: pl.Series, vocabulary: pl.Series) -> Ints:
    """Place of each value among distinct ones, -1 where it is not there."""
    places = values.cast(pl.Enum(vocabulary), strict=False).to_physical()
    return places.cast(pl.Int64).fill_null(-1).to_numpy()
