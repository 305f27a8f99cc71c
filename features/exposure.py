"""Turns logged impressions into what was known of each concept's and each user's past exposure at any moment."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from features.history import Floats, Groups, Ints, at_place, codes, micros, seen

CONCEPT_PRIOR_IMPRESSIONS = 50.0
USER_PRIOR_IMPRESSIONS = 20.0


@dataclass(frozen=True)
class _Count:
    """Impressions of some groups, in order of (group, time), with running clicks.

    Attributes:
        groups: rows by group.
        clicks: (n + 1,) clicks in the rows before each place.
    """

    groups: Groups
    clicks: Ints

    @staticmethod
    def of(group_codes: Ints, clicked: Ints) -> _Count:
        groups = Groups.of(group_codes, np.arange(len(clicked), dtype=np.int64), len(clicked))
        return _Count(groups, np.concatenate(([0], np.cumsum(clicked[groups.rows]))))

    def at(self, group_codes: Ints, known: Ints) -> tuple[Ints, Ints, Ints]:
        """Shown, clicked, and the row number of the last one (-1 for none), each (M,)."""
        start, stop = self.groups.span(group_codes, known)
        return stop - start, self.clicks[stop] - self.clicks[start], self.groups.last_row(start, stop)


def exposure_columns(
    impressions: pl.DataFrame,
    *,
    users: pl.Series,
    concepts: pl.DataFrame,
    who: Ints,
    concept: Ints,
    at: Ints,
    delay_seconds: float,
) -> dict[str, Floats]:
    """Exposure features of (user, concept) at moments, from impressions with at < moment - delay_seconds.

    A slate's own impressions share its moment, so they are never counted; a click is known when its impression is.

    Args:
        impressions: table `impressions`, of all users.
        users: vocabulary of user ids.
        concepts: distinct concept_id, advertiser.
        who: (N,) places in `users`.
        concept: (N,) places in `concepts`, -1 for an unknown one.
        at: (N,) microseconds.
        delay_seconds: >= 0.

    Returns:
        Columns of shape (N,), NaN where a thing is not known; see `table.FEATURES`.
    """
    impressions = impressions.select("user_id", "concept_id", "clicked", "at").sort("at", maintain_order=True)
    times = micros(impressions["at"])
    clicked = impressions["clicked"].to_numpy().astype(np.int64)
    log_user = codes(impressions["user_id"], users)
    log_concept = codes(impressions["concept_id"], concepts["concept_id"])
    known = seen(times, at, delay_seconds)
    names = concepts["advertiser"].unique().sort()
    advertiser = np.append(codes(concepts["advertiser"], names), -1)  # the last one is for code -1

    base = _rate(known, np.concatenate(([0], np.cumsum(clicked)))[known])
    shown, clicks, _ = _Count.of(log_concept, clicked).at(concept, known)
    columns = {
        "concept_shown": _where_known(concept, shown),
        "concept_click_rate": _where_known(concept, _smoothed(shown, clicks, base, CONCEPT_PRIOR_IMPRESSIONS)),
    }
    shown, clicks, last = _Count.of(_pair(log_user, log_concept, len(concepts)), clicked).at(
        _pair(who, concept, len(concepts)), known
    )
    columns["user_concept_shown"] = _where_known(concept, shown)
    columns["user_concept_clicked"] = _where_known(concept, clicks)
    columns["hours_since_user_concept_shown"] = (at - at_place(times, last)) / 3.6e9
    shown, _, _ = _Count.of(_pair(log_user, advertiser[log_concept], len(names)), clicked).at(
        _pair(who, advertiser[concept], len(names)), known
    )
    columns["user_advertiser_shown"] = _where_known(concept, shown)
    shown, clicks, _ = _Count.of(log_user, clicked).at(who, known)
    columns["user_shown"] = shown.astype(np.float64)
    columns["user_click_rate"] = _smoothed(shown, clicks, base, USER_PRIOR_IMPRESSIONS)
    return columns


def _pair(users: Ints, things: Ints, count: int) -> Ints:
    return np.where((users >= 0) & (things >= 0), users * count + things, -1)


def _rate(shown: Ints, clicks: Ints) -> Floats:
    """clicks / shown, NaN for none shown."""
    return np.where(shown > 0, clicks / np.maximum(shown, 1), np.nan)


def _smoothed(shown: Ints, clicks: Ints, base: Floats, strength: float) -> Floats:
    """(clicks + strength * base) / (shown + strength); NaN where no rate is known at all."""
    return (clicks + strength * base) / (shown + strength)


def _where_known(codes_: Ints, values: Ints | Floats) -> Floats:
    return np.where(codes_ >= 0, values, np.nan)
