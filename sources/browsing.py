"""Turns the planted users' interests and styles into their browsing: what they looked at, when, how they took it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from contracts.seeds import stream
from sources.law import LOOKS, Floats
from sources.population import DAY, Items, Users, blocks_of, user_names

_STYLE_PULL = 0.75  # how strongly the style of a user and of an item attract, per unit of their inner product
_BY_CHANCE = 0.12  # share of events on items chosen by popularity alone
_MEDIAN_EVENTS, _EVENTS_SPREAD, _MOST_EVENTS = 26.0, 0.95, 400  # over 30 days: a mean of about 40
_EVENTS_PER_SESSION, _SAME_TOPIC = 5, 0.5
_MINUTE = 60_000_000
_ACTIONS = np.array(["like", "cart", "purchase", "click", "search", "view"])
_ACTION_SHARES, _ACTION_LIFTS = np.array([0.04, 0.025, 0.012, 0.07, 0.035]), np.array([0.7, 0.6, 0.6, 0.3, 0.0])
_DEVICES, _DEVICE_SHARES = np.array(["phone", "desktop", "tablet"]), (0.6, 0.32, 0.08)


@dataclass(frozen=True)
class Browsing:
    """The events of one block of users, sorted by user and time; E events.

    Attributes:
        user: (E,) row of the user in the whole world. at: (E,) microseconds from the start.
        item: (E,) row of the item. action: (E,) names. dwell: (E,) seconds, NaN where not known.
        device: (E,) names, "" where not known.
    """

    user: npt.NDArray[np.int64]
    at: npt.NDArray[np.int64]
    item: npt.NDArray[np.int64]
    action: npt.NDArray[np.str_]
    dwell: Floats
    device: npt.NDArray[np.str_]


def browse(users: Users, items: Items, days: int, seed: int, block: int) -> Browsing:
    """All browsing of one block of users over `days` days."""
    rng = stream(seed, "browsing", block)
    rows = blocks_of(len(users.ids))[block]
    drawn = np.round(_MEDIAN_EVENTS * days / 30 * rng.lognormal(0.0, _EVENTS_SPREAD, len(rows)))
    counts = np.clip(drawn, 2, round(_MOST_EVENTS * days / 30) + 2).astype(np.int64)
    local = np.repeat(np.arange(len(rows)), counts)
    at, session_draw = _times(local, counts, days, rng)
    user = local + rows.start
    topic = _draw_topics(users.mix_at(user, at), session_draw, rng)
    item = _draw_items(users.style[rows.start : rows.stop], items, local, topic, rng)
    affinity = (users.style[user] * items.style[item]).sum(1) / np.sqrt(len(LOOKS))
    action = _draw_actions(affinity, rng)
    dwell = np.round(18 * np.exp(0.45 * affinity + 0.8 * rng.standard_normal(len(user))), 1)
    dwell[(action == "search") | (rng.random(len(user)) < 0.08)] = np.nan
    main = rng.choice(_DEVICES, len(rows), p=_DEVICE_SHARES)[local]
    device = np.where(rng.random(len(user)) < 0.85, main, rng.choice(_DEVICES, len(user), p=_DEVICE_SHARES))
    device = np.where(rng.random(len(user)) < 0.03, "", device)
    order = np.lexsort((at, user))
    return Browsing(user[order], at[order], item[order], action[order], dwell[order], device[order])


def events_table(browsing: Browsing, users: Users, items: Items, start: int) -> pl.DataFrame:
    """Browsing as rows of the events table; `start` is the world's first moment in microseconds since 1970."""
    item = pl.Series(browsing.item)
    return pl.DataFrame(
        {
            "user_id": user_names(users, browsing.user),
            "at": pl.Series(browsing.at + start).cast(pl.Datetime("us", "UTC")),
            "action": browsing.action,
            "item_id": pl.Series(items.ids).gather(item),
            "topics": pl.Series([list(topics) for topics in items.topics]).gather(item),
            "dwell_seconds": pl.Series(browsing.dwell).fill_nan(None),
            "device": pl.Series(browsing.device).replace("", None),
        }
    )


def _times(
    local: npt.NDArray[np.int64], counts: npt.NDArray[np.int64], days: int, rng: np.random.Generator
) -> tuple[npt.NDArray[np.int64], Floats]:
    """Moments of the events (E,), bunched in sessions around midday and evening, and one uniform draw per session."""
    sessions = -(-counts // _EVENTS_PER_SESSION)
    first = np.cumsum(sessions) - sessions
    session = first[local] + np.floor(rng.random(len(local)) * sessions[local]).astype(np.int64)
    total = int(sessions.sum())
    evening = rng.random(total) < 0.6
    hour = np.clip(np.where(evening, rng.normal(19.5, 1.8, total), rng.normal(12.0, 2.5, total)), 0.0, 21.5)
    begin = (rng.integers(0, days, total) + hour / 24) * DAY
    offset = np.minimum(rng.exponential(8.0, len(local)), 120.0) * _MINUTE
    return (begin[session] + offset).astype(np.int64), rng.random(total)[session]


def _draw_topics(mixes: Floats, session_draw: Floats, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """A topic per event, from its mix (E, 12); half the events of a session share a draw: a theme."""
    draw = np.where(rng.random(len(mixes)) < _SAME_TOPIC, session_draw, rng.random(len(mixes)))
    topic: npt.NDArray[np.int64] = (np.cumsum(mixes, axis=1)[:, :-1] <= draw[:, None]).sum(axis=1)
    return topic


def _draw_items(
    style: Floats, items: Items, local: npt.NDArray[np.int64], topic: npt.NDArray[np.int64], rng: np.random.Generator
) -> npt.NDArray[np.int64]:
    """An item of the topic per event, by popularity * exp(pull * <user, item>): one search in running sums."""
    pull = np.exp(_STYLE_PULL * (style @ items.style[items.entry].T)) * items.popularity[items.entry]
    ends = np.cumsum(pull, axis=1)
    ends /= ends[:, -1:]
    last = np.searchsorted(items.topic_index, topic, side="right") - 1
    first = np.searchsorted(items.topic_index, topic, side="left") - 1
    low = np.where(first >= 0, ends[local, first], 0.0)
    target = low + rng.random(len(local)) * (ends[local, last] - low)
    entries = len(items.entry)
    found = np.searchsorted((ends + np.arange(len(style))[:, None]).ravel(), target + local, side="right")
    place = np.clip(found - local * entries, first + 1, last)
    popular = np.searchsorted(np.cumsum(items.popularity) / items.popularity.sum(), rng.random(len(local)))
    by_chance = rng.random(len(local)) < _BY_CHANCE
    item: npt.NDArray[np.int64] = np.where(by_chance, np.minimum(popular, len(items.ids) - 1), items.entry[place])
    return item


def _draw_actions(affinity: Floats, rng: np.random.Generator) -> npt.NDArray[np.str_]:
    """Mostly views; the better an item fits the user's style, the likelier a like, a cart or a purchase."""
    shares = np.cumsum(_ACTION_SHARES * np.exp(_ACTION_LIFTS * np.clip(affinity, -2.0, 2.0)[:, None]), axis=1)
    named: npt.NDArray[np.str_] = _ACTIONS[(shares <= rng.random(len(affinity))[:, None]).sum(axis=1)]
    return named
