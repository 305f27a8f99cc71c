"""Turns (user, moment, concept) into the ranking table: one row a pair, features of browsing and exposure, none ahead."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import pairwise

import numpy as np
import polars as pl

from contracts.errors import DataError
from contracts.settings import FeatureSettings
from features.browsing import replay
from features.exposure import replay_of_all, replay_of_users
from features.glossary import Feature, features_of
from features.history import Ints
from features.log import (
    Concepts,
    Pairs,
    code_concepts,
    code_events,
    code_pairs,
    sealed,
    topic_codes,
)
from features.shown import Shown
from features.space import Space, Vectors
from features.state import COLUMNS, blank, repeats_of, rows_of, rules_of

PART_EVENTS = 5_000_000
"""A log with more events is read several times, for some of the users each time."""

_TASKS = 16


def ranking_table(
    pairs: pl.DataFrame,
    *,
    events: pl.DataFrame | pl.LazyFrame,
    impressions: pl.DataFrame | Shown,
    concepts: pl.DataFrame,
    space: Space,
    settings: FeatureSettings,
) -> pl.DataFrame:
    """The features of (user, concept) at moment t = `at`, the same for logged impressions and for the daily batch.

    Only rows with row.at < t - settings.delay_seconds are looked at, events and impressions alike. Windows end at
    t - delay, ages run to t. `slot` of a pair is not a feature: position bias is the ranker's business.

    Args:
        pairs: user_id, at, concept_id and any other columns; N rows, any order. Users and concepts may be unknown.
        events: table `events`, may run on after t; of a scan of files, best sorted by user, some users are read at a time.
        impressions: table `impressions`, may run on after t; or `shown` made of it, once for many tables.
        concepts: table `concepts`.
        space: where items stand; it must not have been learned from what the table is to be judged on.
        settings: half-lives, delay, session gap, action weights, groups.

    Returns:
        `pairs` with the columns of `features_of(settings)`, Float32, null where a thing is not known; same order.
        Equal arguments give equal bytes, on any number of threads.

    Raises:
        DataError: a column of `pairs` has the name of a feature.
    """
    features = features_of(settings)
    names = [feature.name for feature in features]
    taken = sorted(set(names) & set(pairs.columns))
    if taken:
        raise DataError(
            f"has columns named like features: {', '.join(taken)}", where="pairs", fix="Rename or drop them."
        )
    asked = pairs["user_id"].unique().sort()
    concepts = distinct(concepts)
    log = impressions if isinstance(impressions, Shown) else Shown.of(impressions, concepts)
    topics = topic_codes(space)
    coded = code_concepts(concepts, space, topics)
    wanted = code_pairs(pairs, asked, concepts, settings.delay_seconds)
    out = np.full((len(names), len(pairs)), np.nan, dtype=np.float32)
    with ThreadPoolExecutor(pl.thread_pool_size()) as pool:
        tasks = list(_exposure_tasks(pool, log, log.codes(asked), wanted, coded, features, out))
        if any(feature.group in COLUMNS for feature in features):
            _fill_browsing(pool, events, asked, wanted, coded, space, topics, settings, out)
        for task in tasks:
            task.result()
    columns = {name: pl.Series(name, out[place]).fill_nan(None) for place, name in enumerate(names)}
    clock = pairs.select(hour=pl.col("at").dt.hour(), weekday=pl.col("at").dt.weekday())
    columns |= {name: clock[name].cast(pl.Float32) for name in clock.columns if name in columns}
    return pairs.with_columns(columns.values())


def distinct(concepts: pl.DataFrame) -> pl.DataFrame:
    """Each concept once."""
    return concepts.unique("concept_id", keep="first", maintain_order=True)


def shown(impressions: pl.DataFrame, concepts: pl.DataFrame) -> Shown:
    """The impressions as `ranking_table` takes them many times, with the same concepts."""
    return Shown.of(impressions, distinct(concepts))


def _fill_browsing(
    pool: ThreadPoolExecutor,
    events: pl.DataFrame | pl.LazyFrame,
    users: pl.Series,
    pairs: Pairs,
    concepts: Concepts,
    space: Space,
    topics: pl.Series,
    settings: FeatureSettings,
    out: Vectors,
) -> None:
    """Fills the features of browsing, for some of the users after the others if the log is long."""
    features = features_of(settings)
    rows, repeats = rows_of(features), repeats_of(features)
    needed = frozenset(column for group in settings.groups for column in COLUMNS.get(group, ()))
    count = int(events.lazy().select(pl.len()).collect().item())
    parts = max(1, min(-(-count // PART_EVENTS), len(users)))
    for low, high in pairwise(len(users) * part // parts for part in range(parts + 1)):
        log = code_events(_of(events, users[low:high], parts), users[low:high], space, topics, needed)
        asked = pairs._replace(begin=sealed(pairs.begin[low : high + 1]))
        topic_count = 1 + int(max(log.topics.max(initial=-1), concepts.topics.max(initial=-1)))
        rules = rules_of(settings, space, topics, topic_count)
        work = log.begin + asked.begin
        cuts = np.searchsorted(work, np.linspace(work[0], work[-1], _TASKS + 1)[1:-1])
        bounds = pairwise([0, *cuts.tolist(), high - low])
        tasks = [
            pool.submit(replay, *ends, log, asked, concepts, rules, rows, repeats, blank(rules, concepts), out)
            for ends in bounds
        ]
        for task in tasks:
            task.result()


def _of(events: pl.DataFrame | pl.LazyFrame, users: pl.Series, parts: int) -> pl.DataFrame | pl.LazyFrame:
    """The events without those of users before and after some, sorted ones, where there are others."""
    if parts == 1:
        return events
    return events.lazy().filter(pl.col("user_id").is_between(pl.lit(users[0]), pl.lit(users[-1])))


def _exposure_tasks(
    pool: ThreadPoolExecutor,
    shown: Shown,
    users: Ints,
    pairs: Pairs,
    concepts: Concepts,
    features: Sequence[Feature],
    out: Vectors,
) -> Iterator[Future[None]]:
    """Starts to fill the features of exposure; `users` are the codes in `shown` of those whose pairs are asked for."""
    groups = [feature.group for feature in features]
    if "click_rates" in groups and len(pairs.row):
        order = sealed(np.argsort(pairs.horizon, kind="stable"))
        tallies = shown.tallies(int(pairs.horizon[order[0]]))
        known = pairs._replace(user=sealed(users[pairs.user]))
        yield pool.submit(replay_of_all, shown.in_time, known, order, tallies, groups.index("click_rates"), out)
    if "fatigue" in groups:
        begin, mine = shown.to(users)
        tally = np.zeros((len(concepts.advertiser) + concepts.advertiser.max(initial=-1) + 1, 4), np.int64)
        yield pool.submit(replay_of_users, begin, mine, pairs, concepts, groups.index("fatigue"), tally, out)
