"""Turns a frozen space and a log into how well the one still explains the other, day by day, and whether to refit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Literal

import numpy as np
import polars as pl
import scipy.sparse as sp

from features.covisits import covisits, factors_of, mutual_information, unit
from features.history import Floats, codes, weights_of
from features.space import Space

RECENT_DAYS = 7
"""The rule looks at the last days of the log; the users' mean is compared with that of as many first days."""

LEAST_EVENTS_EXPLAINED = 0.8
LEAST_USERS_EXPLAINED = 0.8
LEAST_SPECTRUM_KEPT = 0.97
MOST_MEAN_SHIFT = 0.25
UNUSABLE_EVENTS_EXPLAINED = 0.5
"""Under this share the batch does not use a space at all."""

PART_EVENTS = 4_000_000
"""Days are looked at together while they have no more events."""

SPECTRUM_USERS = 100_000
"""Users whose co-visits say how much of the spectrum a space keeps, at most: each half of them fits a space of its own."""

Advice = Literal["keep", "refit", "unusable"]


@dataclass(frozen=True)
class Drift:
    """How well a space explains a log. Explained means: by a vector of its own, not by a guest's or its topics'.

    Attributes:
        days: day, events, users, items; events_explained and items_explained, shares; users_explained, share of users at
            least half of whose events of the day are explained; mean_shift, distance of the mean of the day's users
            from that of the first RECENT_DAYS days, in standard deviations of those users (null: no user is placed).
        events_explained, users_explained, items_explained, mean_shift: the same of the last RECENT_DAYS days as one.
        spectrum_kept: how much of those days' co-visits the space spans, over what a new one would; see `spectrum_kept`.
        advice: keep, refit or unusable.
        reasons: which parts of the rule say so, in words; empty for keep.
    """

    days: pl.DataFrame
    events_explained: float
    users_explained: float
    items_explained: float
    mean_shift: float | None
    spectrum_kept: float | None
    advice: Advice
    reasons: tuple[str, ...]


def drift(
    space: Space, events: pl.DataFrame | pl.LazyFrame, *, window: int, action_weights: Mapping[str, float]
) -> Drift:
    """Measures drift and applies the rule of docs/space.md.

    Args:
        space: the frozen one; its guests do not count as explained.
        events: table `events`, all of it; a scan of files is read some days at a time.
        window: as in `fit_space`.
        action_weights: as in `fit_space`.
    """
    own = pl.Series(space.fitted_ids, dtype=pl.String)
    dated = events.lazy().select("user_id", "at", "action", "item_id", "topics", day=pl.col("at").dt.date())
    moments, rows = {}, []
    for first, last in _spans(dated, PART_EVENTS):
        some = dated.filter(pl.col("day").is_between(first, last)).collect().sort("day")
        some = some.with_columns(
            own=pl.Series(codes(some["item_id"], own) >= 0),
            weight=pl.Series(weights_of(some["action"], action_weights)),
        )
        for frame in some.partition_by("day", maintain_order=True):
            moments[frame["day"][0]] = _Moments.of(space, frame)
            rows.append({"day": frame["day"][0], **_explained(frame)})
        del some
    first, last, span = min(moments), max(moments), timedelta(days=RECENT_DAYS)
    origin = _Moments.sum([found for day, found in moments.items() if day < first + span])
    rows = [{**row, "mean_shift": moments[row["day"]].shift(origin)} for row in rows]
    recent = dated.filter(pl.col("day") > last - span).select("user_id", "at", "action", "item_id").collect()
    recent = recent.with_columns(own=pl.Series(codes(recent["item_id"], own) >= 0))
    now = _explained(recent)
    shift = _Moments.sum([found for day, found in moments.items() if day > last - span]).shift(origin)
    kept = spectrum_kept(space, recent, window=window, action_weights=action_weights)
    advice, reasons = _advise(now["events_explained"], now["users_explained"], kept, shift)
    return Drift(
        days=pl.DataFrame(rows, schema_overrides={"mean_shift": pl.Float64}),
        events_explained=now["events_explained"],
        users_explained=now["users_explained"],
        items_explained=now["items_explained"],
        mean_shift=shift,
        spectrum_kept=kept,
        advice=advice,
        reasons=reasons,
    )


def _spans(dated: pl.LazyFrame, size: int) -> Iterator[tuple[date, date]]:
    """First and last day of spans of days that together have at most `size` events, or of one day that has more."""
    counts = dated.group_by("day").len().sort("day").collect(engine="streaming")
    span: list[date] = []
    held = 0
    for day, count in counts.iter_rows():
        if span and held + count > size:
            yield span[0], span[-1]
            span, held = [], 0
        span.append(day)
        held += count
    if span:
        yield span[0], span[-1]


def spectrum_kept(
    space: Space, events: pl.DataFrame, *, window: int, action_weights: Mapping[str, float]
) -> float | None:
    """How much of people's co-visits the space spans, over what a new space, fitted on other people, spans of them.

    Users, at most SPECTRUM_USERS of them, evenly spaced in order of id, are halved by alternate places. With M the positive mutual information of one half's co-visits
    among the space's items and Q an orthonormal basis of the columns of some item vectors, |Q'M|^2 / |M|^2 is the share
    of M's energy that they capture; the frozen vectors' share is divided by that of vectors fitted on the other half,
    and the mean taken of both ways. So noise helps neither: above 1, the frozen space, fitted on a longer log, knows
    more than a refit on these events would; below 1, a refit would know more. None: fewer than two items a dimension,
    or a space of texts, which was never meant to span co-visits.
    """
    if space.kind == "text":
        return None
    known = events.filter(pl.col("item_id").is_in(space.fitted_ids))
    items = known["item_id"].unique().sort()
    place = known["user_id"].rank("dense").to_numpy().astype(np.int64) - 1
    users = int(place.max(initial=-1)) + 1
    if users > SPECTRUM_USERS:
        chosen = np.full(users, -1)
        chosen[np.linspace(0, users - 1, SPECTRUM_USERS).astype(np.int64)] = np.arange(SPECTRUM_USERS)
        place = chosen[place]
        known, place = known.filter(pl.Series(place >= 0)), place[place >= 0]
    half = place % 2 == 1
    counts = [covisits(known.filter(pl.Series(side)), items, window, action_weights) for side in (half, ~half)]
    used = np.flatnonzero((counts[0].sum(axis=1) > 0) & (counts[1].sum(axis=1) > 0))
    if len(used) < 2 * space.dimensions:
        return None
    mutual = [mutual_information(one[used][:, used]) for one in counts]
    frozen = space.vectors[codes(items.gather(used), pl.Series(space.fitted_ids, dtype=pl.String))].astype(np.float64)
    fresh = [unit(factors_of(one, space.dimensions)) for one in mutual]
    ratios = [
        _captured(one, frozen) / _captured(one, other) for one, other in zip(mutual, reversed(fresh), strict=True)
    ]
    return float(np.mean(ratios))


def _captured(matrix: sp.csr_array, vectors: Floats) -> float:
    basis, _ = np.linalg.qr(vectors)
    return float(((matrix.T @ basis) ** 2).sum() / (matrix.data**2).sum())


@dataclass(frozen=True)
class _Moments:
    """Count, sum (D,) and sum of squared lengths of the mean vectors of users."""

    users: int
    total: Floats
    squares: float

    @staticmethod
    def of(space: Space, events: pl.DataFrame) -> _Moments:
        """One vector per user that is placed: the weighted mean of the vectors of the user's events."""
        user = events["user_id"].rank("dense").to_numpy().astype(np.int64) - 1
        row, column, share = space.entries(events)
        weight = share * events["weight"].to_numpy()[row]
        shape = (int(user.max(initial=-1)) + 1, len(space.anchors))
        placing = sp.csr_array((weight, (user[row], column)), shape=shape)
        mass = np.asarray(placing.sum(axis=1)).ravel()
        vectors = (placing @ space.anchors)[mass > 0] / mass[mass > 0, None]
        return _Moments(len(vectors), vectors.sum(axis=0), float((vectors**2).sum()))

    @staticmethod
    def sum(parts: list[_Moments]) -> _Moments:
        return _Moments(sum(p.users for p in parts), np.sum([p.total for p in parts], axis=0), sum(p.squares for p in parts))  # fmt: skip

    def shift(self, origin: _Moments) -> float | None:
        """Distance of the two means, in standard deviations of the origin's users."""
        if not self.users or not origin.users:
            return None
        mean = origin.total / origin.users
        spread = origin.squares / origin.users - float(mean @ mean)
        return float(np.linalg.norm(self.total / self.users - mean) / np.sqrt(spread)) if spread > 1e-12 else None


def _explained(events: pl.DataFrame) -> dict[str, float]:
    users = events.group_by("user_id").agg(pl.col("own").mean() >= 0.5)["own"]
    items = events.group_by("item_id").agg(pl.col("own").first())["own"]
    return {
        "events": len(events),
        "users": len(users),
        "items": len(items),
        "events_explained": float(events["own"].cast(pl.Int64).sum() / max(len(events), 1)),
        "users_explained": float(users.cast(pl.Int64).sum() / max(len(users), 1)),
        "items_explained": float(items.cast(pl.Int64).sum() / max(len(items), 1)),
    }


def _advise(events: float, users: float, kept: float | None, shift: float | None) -> tuple[Advice, tuple[str, ...]]:
    """The rule of docs/space.md."""
    if events < UNUSABLE_EVENTS_EXPLAINED:
        limit = f"{UNUSABLE_EVENTS_EXPLAINED:.0%}"
        return "unusable", (f"only {events:.0%} of recent events are on items of the space, fewer than {limit}",)
    reasons = [
        (events < LEAST_EVENTS_EXPLAINED, f"{events:.0%} of recent events are on items of the space, fewer than {LEAST_EVENTS_EXPLAINED:.0%}"),
        (users < LEAST_USERS_EXPLAINED, f"{users:.0%} of recent users are explained, fewer than {LEAST_USERS_EXPLAINED:.0%}"),
        (kept is not None and kept < LEAST_SPECTRUM_KEPT, f"the space spans {kept or 0:.1%} of what a new one would, less than {LEAST_SPECTRUM_KEPT:.0%}"),
        (shift is not None and shift > MOST_MEAN_SHIFT, f"the users' mean has moved by {shift or 0:.2f} standard deviations, more than {MOST_MEAN_SHIFT:g}"),
    ]  # fmt: skip
    found = tuple(words for holds, words in reasons if holds)
    return ("refit" if found else "keep"), found
