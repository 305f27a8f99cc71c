"""Turns the settings and a space into the rules by which events become what is known of a user, and names both."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import polars as pl

from contracts.settings import FeatureSettings
from contracts.tables import ACTIONS
from features.glossary import WINDOWS_DAYS, Feature
from features.history import MICROS_PER_DAY, MICROS_PER_SECOND, Bools, Floats, Ints, weights_of
from features.log import Codes, Concepts, sealed
from features.space import Space, Vectors

NEVER = -(2**62)
"""The time of what has not happened."""


class Rules(NamedTuple):
    """What the settings and the space say of browsing.

    Attributes:
        rates: (H,) 1 / half-life in microseconds: first those of the affinities, somewhere the main one.
        told: how many of them are affinities. main: place of the main one, by which all else decays.
        windows: (W,) microseconds. gap: that ends a session, microseconds. depth: last items that co-visits look at.
        weights: (A + 1,) of the actions; the last one, 0, is for an unknown action.
        topics: size of the topic vocabulary.
        items: (I, D) unit vectors of the space's items. places: (topics, D) of topics; zeros, not `placed`, for others.
        by_topic, by_action, by_dwell, by_item, by_device: which columns of the events are there.
    """

    rates: Floats
    told: int
    main: int
    windows: Ints
    gap: int
    depth: int
    weights: Floats
    topics: int
    items: Vectors
    places: Vectors
    placed: Bools
    by_topic: bool
    by_action: bool
    by_dwell: bool
    by_item: bool
    by_device: bool


class Rows(NamedTuple):
    """Where each group of features starts among the rows of the output; -1: it is not asked for."""

    affinity: int
    affinity_share: int
    action_affinity: int
    counts: int
    topic_counts: int
    recency: int
    topic_recency: int
    dwell: int
    topic_dwell: int
    diversity: int
    session: int
    session_share: int
    mass: int
    cosine: int
    covisit: int
    device: int


class Repeats(NamedTuple):
    """Rows of the output that need not be computed again at a moment: all pairs of it share those of `moment`, pairs
    whose concepts have equal topics those of `topics`, pairs whose concepts stand at one place those of `place`."""

    moment: Ints
    topics: Ints
    place: Ints


class State(NamedTuple):
    """What has been learned of one user; T topics.

    Attributes:
        last: (T,) time of the topic's last event. touched: (T,) the topics met, in order.
        sums: (T, H) decayed weights, as of `last`. actions: (T, A) decayed counts. dwell: (T, 2) decayed seconds, counts.
        recent: (T, W) matches in each window. session: (T, 2) number of the last session that met it, matches in it.
        total: (H,) decayed weights of all topics, as of the anchor, the last event with a topic and a weight.
        vector: (D,) decayed sum of vectors. ring: (depth,) last items of the space.
        tails: (W,) first event inside each window. numbers, levels: by the names in features/browsing.py.
        told_topics, told_places: (distinct topics or places of concepts, 2) the moment that told of it last, the row.
    """

    last: Ints
    touched: Ints
    sums: Floats
    actions: Floats
    dwell: Floats
    recent: Ints
    session: Ints
    total: Floats
    vector: Floats
    ring: Codes
    tails: Ints
    numbers: Ints
    levels: Floats
    told_topics: Ints
    told_places: Ints


COLUMNS: dict[str, tuple[str, ...]] = {
    "affinity": ("topics", "action"),
    "affinity_share": ("topics", "action"),
    "action_affinity": ("topics", "action"),
    "counts": (),
    "topic_counts": ("topics",),
    "recency": ("topics",),
    "dwell": ("topics", "dwell_seconds"),
    "diversity": ("topics", "action"),
    "session": ("topics",),
    "space": ("item_id", "topics", "action"),
    "covisit": ("item_id", "topics", "action"),
    "device": ("device",),
}
"""The groups of features that come from browsing, and the columns of the events, beside who and when, that each reads."""


_TOLD_BY = {
    "affinity": ("topics",),
    "affinity_share": ("topics",),
    "action_affinity": ("topics",),
    "counts": ("moment",),
    "topic_counts": ("topics",),
    "recency": ("moment", "topics"),
    "dwell": ("moment", "topics"),
    "diversity": ("moment",),
    "session": ("moment", "moment", "moment", "topics"),
    "space": ("moment", "place"),
    "covisit": ("place",),
    "device": ("moment",),
}
"""By what the features of each group repeat themselves, one after the other; the last one stands for the rest."""


def rows_of(features: Sequence[Feature]) -> Rows:
    """Where the groups of browsing stand among the features."""
    groups = [feature.group for feature in features]
    first = {group: groups.index(group) if group in groups else -1 for group in COLUMNS}

    def inside(group: str, offset: int) -> int:
        return first[group] + offset if first[group] >= 0 else -1

    return Rows(
        affinity=first["affinity"],
        affinity_share=first["affinity_share"],
        action_affinity=first["action_affinity"],
        counts=first["counts"],
        topic_counts=first["topic_counts"],
        recency=first["recency"],
        topic_recency=inside("recency", 1),
        dwell=first["dwell"],
        topic_dwell=inside("dwell", 1),
        diversity=first["diversity"],
        session=first["session"],
        session_share=inside("session", 3),
        mass=first["space"],
        cosine=inside("space", 1),
        covisit=first["covisit"],
        device=first["device"],
    )


def repeats_of(features: Sequence[Feature]) -> Repeats:
    """Which of the features repeat themselves at a moment, and by what."""
    groups = [feature.group for feature in features]
    rows: dict[str, list[int]] = {name: [] for name in Repeats._fields}
    for row, group in enumerate(groups):
        if group in _TOLD_BY:
            names = _TOLD_BY[group]
            rows[names[min(row - groups.index(group), len(names) - 1)]].append(row)
    return Repeats(**{name: sealed(np.array(some, dtype=np.int64)) for name, some in rows.items()})


def rules_of(settings: FeatureSettings, space: Space, topics: pl.Series, topic_count: int) -> Rules:
    """The rules, for a log of `topic_count` topics; `topics` from `log.topic_codes`."""
    halves = list(dict.fromkeys([*settings.affinity_half_lives_days, settings.half_life_days]))
    place = topics.to_physical().cast(pl.Int64).to_numpy()
    width = max(topic_count, len(place))
    places, placed = np.zeros((width, space.dimensions), np.float32), np.zeros(width, np.bool_)
    places[place], placed[place] = space.topic_vectors, True
    weights = weights_of(pl.Series(ACTIONS), settings.action_weights)
    columns = {column for group in settings.groups for column in COLUMNS.get(group, ())}
    return Rules(
        rates=sealed(1.0 / (np.array(halves) * MICROS_PER_DAY)),
        told=len(settings.affinity_half_lives_days),
        main=halves.index(settings.half_life_days),
        windows=sealed(np.array(WINDOWS_DAYS) * MICROS_PER_DAY),
        gap=round(settings.session_gap_minutes * 60 * MICROS_PER_SECOND),
        depth=settings.covisit_window,
        weights=sealed(np.append(weights, 0.0)),
        topics=width,
        items=sealed(np.asarray(space.vectors, dtype=np.float32)),
        places=sealed(places),
        placed=sealed(placed),
        by_topic="topics" in columns,
        by_action="action" in columns,
        by_dwell="dwell_seconds" in columns,
        by_item="item_id" in columns,
        by_device="device" in columns,
    )


def blank(rules: Rules, concepts: Concepts) -> State:
    """What is known of nobody."""
    topics, halves, windows = rules.topics, len(rules.rates), len(rules.windows)
    return State(
        last=np.full(topics, NEVER),
        touched=np.zeros(topics, np.int64),
        sums=np.zeros((topics, halves)),
        actions=np.zeros((topics, len(rules.weights) - 1)),
        dwell=np.zeros((topics, 2)),
        recent=np.zeros((topics, windows), np.int64),
        session=np.zeros((topics, 2), np.int64),
        total=np.zeros(halves),
        vector=np.zeros(rules.items.shape[1]),
        ring=np.zeros(rules.depth, np.int32),
        tails=np.zeros(windows, np.int64),
        numbers=np.zeros(11, np.int64),
        levels=np.zeros(3),
        told_topics=np.full((1 + concepts.alike.max(initial=-1), 2), -1),
        told_places=np.full((1 + concepts.place.max(initial=-1), 2), -1),
    )
