"""Turns (user, moment, concept) into the ranking table: one row a pair, 25 features, none of which looks ahead."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from contracts.errors import DataError, SettingsError
from contracts.settings import FeatureSettings, load_settings
from features.browsing import Affinity, Browsing, entropy
from features.embeddings import user_states
from features.exposure import CONCEPT_PRIOR_IMPRESSIONS, USER_PRIOR_IMPRESSIONS, exposure_columns
from features.history import MICROS_PER_HOUR, Floats, Ints, at_place, coded, codes, micros, ragged
from features.space import Space

WINDOWS_DAYS = (1, 7, 30)
TOPIC_WINDOW_DAYS = 7
_PAIR_ROWS = 200_000


@dataclass(frozen=True)
class Feature:
    """One column of the ranking table; null where it is not known.

    Attributes:
        name: column, Float64.
        unit: its unit.
        formula: what it is, and when it is null.
    """

    name: str
    unit: str
    formula: str


def features_of(settings: FeatureSettings) -> tuple[Feature, ...]:
    """The features that `ranking_table` makes with these settings, in order of columns.

    Raises:
        SettingsError: two affinity half-lives would share a column name.
    """
    labels = [_label(half_life) for half_life in settings.affinity_half_lives_days]
    if len(set(labels)) < len(labels) or min(settings.affinity_half_lives_days) <= 0:
        raise SettingsError(
            "half-lives must be positive and differ in six digits",
            where="features.affinity_half_lives_days",
            fix="Change or remove one of them.",
        )
    sums = [
        Feature(
            f"affinity_{label}",
            "weighted events",
            f"mean over the concept's topics of the sum of action_weight * 2^((at - t) / {label}) over the user's "
            "events with that topic; null: the user has no event with a topic",
        )
        for label in labels
    ]
    shares = [
        Feature(
            f"affinity_share_{label}",
            "share",
            f"affinity_{label} over its sum over all of the user's topics, in [0, 1]; null as affinity_{label}",
        )
        for label in labels
    ]
    return (*sums, *shares, *_OTHERS)


def _label(half_life_days: float) -> str:
    return f"{half_life_days:g}d".replace(".", "p").replace("+", "")


_OTHERS = (
    *(Feature(f"events_{days}d", "events", f"the user's events in the {days} days before t") for days in WINDOWS_DAYS),
    Feature(
        f"topic_events_{TOPIC_WINDOW_DAYS}d",
        "matches",
        f"matches of the user's events in the {TOPIC_WINDOW_DAYS} days before t with the concept's topics; an event "
        "of two of them counts twice",
    ),
    Feature("hours_since_event", "hours", "t minus the user's last event; null: none"),
    Feature(
        "hours_since_topic_event", "hours", "t minus the user's last event with any of the concept's topics; null: none"
    ),
    Feature(
        "interest_entropy",
        "nats",
        "-sum of s * ln(s) over the user's topic shares s at half_life_days; null: the user has no event with a topic",
    ),
    Feature(
        "embedding_cosine",
        "cosine",
        "of the user embedding at t and the concept's vector, in [-1, 1]; null: either is not known",
    ),
    Feature(
        "embedding_mass",
        "weighted events",
        "sum of action_weight * 2^((at - t) / half_life_days) over the user's events that stand in the space",
    ),
    Feature("concept_shown", "impressions", "impressions of the concept, to anybody"),
    Feature(
        "concept_click_rate",
        "share",
        f"(clicks + {CONCEPT_PRIOR_IMPRESSIONS:g} * base) / (impressions + {CONCEPT_PRIOR_IMPRESSIONS:g}) of the "
        "concept, base = click rate of all impressions before t; null: there are none",
    ),
    Feature("user_concept_shown", "impressions", "impressions of the concept to the user"),
    Feature("user_concept_clicked", "clicks", "clicks of the user on the concept"),
    Feature("hours_since_user_concept_shown", "hours", "t minus the concept's last impression to the user; null: none"),
    Feature("user_advertiser_shown", "impressions", "impressions of the concept's advertiser to the user"),
    Feature("user_shown", "impressions", "impressions of anything to the user"),
    Feature(
        "user_click_rate",
        "share",
        f"(clicks + {USER_PRIOR_IMPRESSIONS:g} * base) / (impressions + {USER_PRIOR_IMPRESSIONS:g}) of the user, base "
        "= click rate of all impressions before t; null: there are none",
    ),
    Feature("hour", "hour", "hour of t in UTC, 0 to 23"),
    Feature("weekday", "day", "weekday of t in UTC, 1 = Monday to 7 = Sunday"),
)

FEATURES = features_of(load_settings(None).features)
"""The features with default settings, in order of columns."""


def features_markdown(features: tuple[Feature, ...] = FEATURES) -> str:
    """The features as a Markdown table, for the documentation."""
    rows = "".join(f"| `{f.name}` | {f.unit} | {f.formula} |\n" for f in features)
    return f"| feature | unit | formula |\n|---|---|---|\n{rows}"


def ranking_table(
    pairs: pl.DataFrame,
    *,
    events: pl.DataFrame,
    impressions: pl.DataFrame,
    concepts: pl.DataFrame,
    space: Space,
    settings: FeatureSettings,
) -> pl.DataFrame:
    """The features of (user, concept) at moment t = `at`, the same for logged impressions and for the daily batch.

    Only rows with row.at < t - settings.delay_seconds are looked at, events and impressions alike. Windows and ages
    are measured from t - delay and from t. `slot` is not a feature: position bias is the ranker's business.

    Args:
        pairs: user_id, at, concept_id and any other columns; N rows, any order. Users and concepts may be unknown.
        events: table `events`, may run on after t.
        impressions: table `impressions`, may run on after t.
        concepts: table `concepts`.
        space: where items stand; it must not have been learned from what the table is to be judged on.
        settings: half-lives, delay and action weights.

    Returns:
        `pairs` with the columns of `features_of(settings)`, Float64, null where a thing is not known; same order.

    Raises:
        DataError: a column of `pairs` has the name of a feature.
    """
    names = [feature.name for feature in features_of(settings)]
    taken = sorted(set(names) & set(pairs.columns))
    if taken:
        raise DataError(
            f"has columns named like features: {', '.join(taken)}", where="pairs", fix="Rename or drop them."
        )
    users = pairs["user_id"].unique().sort()
    keyed = pl.DataFrame({"user": codes(pairs["user_id"], users), "at": micros(pairs["at"])})
    moments = keyed.unique().sort("user", "at")
    moments = moments.with_columns(moment=np.arange(len(moments), dtype=np.int64))
    moment = keyed.join(moments, on=["user", "at"], how="left", maintain_order="left")["moment"].to_numpy()
    concepts = concepts.unique("concept_id", keep="first", maintain_order=True)
    concept = codes(pairs["concept_id"], concepts["concept_id"])

    columns = _user_columns(events, users, concepts, moments, moment, concept, space, settings)
    columns |= exposure_columns(
        impressions,
        users=users,
        concepts=concepts,
        who=keyed["user"].to_numpy(),
        concept=concept,
        at=keyed["at"].to_numpy(),
        delay_seconds=settings.delay_seconds,
    )
    clock = pairs.select(hour=pl.col("at").dt.hour(), weekday=pl.col("at").dt.weekday())
    columns |= {name: clock[name].to_numpy().astype(np.float64) for name in clock.columns}
    return pairs.with_columns(pl.Series(name, columns[name], nan_to_null=True) for name in names)


def _user_columns(
    events: pl.DataFrame,
    users: pl.Series,
    concepts: pl.DataFrame,
    moments: pl.DataFrame,
    moment: Ints,
    concept: Ints,
    space: Space,
    settings: FeatureSettings,
) -> dict[str, Floats]:
    """Features that come from events: those of a moment are computed once and spread over its pairs."""
    who, at = moments["user"].to_numpy(), moments["at"].to_numpy()
    topics = pl.concat([events["topics"].explode(), concepts["topics"].explode()]).drop_nulls().unique().sort()
    known = coded(events, users, settings.action_weights)
    browsing = Browsing.of(known, topics, delay_seconds=settings.delay_seconds)
    halves = dict.fromkeys([*settings.affinity_half_lives_days, settings.half_life_days])
    affinities = {half_life: browsing.affinity(half_life) for half_life in halves}
    own = _recency(browsing, who, at)
    own["interest_entropy"] = entropy(browsing.shares(affinities[settings.half_life_days], who, at), len(who))
    states = user_states(
        known,
        space,
        who,
        at,
        half_life_days=settings.half_life_days,
        delay_seconds=settings.delay_seconds,
    )
    own["embedding_mass"] = states.mass
    columns = {name: values[moment] for name, values in own.items()}
    vectors = space.place_concepts(concepts).astype(np.float64)
    columns["embedding_cosine"] = _cosines(states.means, vectors, moment, concept)
    wanted = {half_life: affinities[half_life] for half_life in settings.affinity_half_lives_days}
    return columns | _topic_columns(browsing, wanted, concepts, topics, who, at, moment, concept)


def _recency(browsing: Browsing, who: Ints, at: Ints) -> dict[str, Floats]:
    """Counts in windows and hours since the last event, of each moment."""
    start, stop = browsing.by_user.span(who, browsing.seen(at))
    columns: dict[str, Floats] = {}
    for days in WINDOWS_DAYS:
        _, before = browsing.by_user.span(who, browsing.seen(at, days))
        columns[f"events_{days}d"] = (stop - before).astype(np.float64)
    last = at_place(browsing.times, browsing.by_user.last_row(start, stop))
    columns["hours_since_event"] = (at - last) / MICROS_PER_HOUR
    return columns


def _topic_columns(
    browsing: Browsing,
    affinities: dict[float, Affinity],
    concepts: pl.DataFrame,
    topics: pl.Series,
    who: Ints,
    at: Ints,
    moment: Ints,
    concept: Ints,
) -> dict[str, Floats]:
    """Features of (moment, topic), looked up once each, gathered over the topics of each pair's concept."""
    lists = concepts.select(pl.col("topics").list.unique(maintain_order=True))
    place = codes(lists["topics"].explode().drop_nulls(), topics)
    length = np.append(lists["topics"].list.len().to_numpy().astype(np.int64), 0)  # the last one is for code -1
    start = np.append(0, np.cumsum(length[:-1])).astype(np.int64)
    pair, index = ragged(start[concept], length[concept])
    width = max(len(topics), 1)
    keys, back = np.unique(moment[pair] * width + place[index], return_inverse=True)
    when, topic = keys // width, keys % width
    found = browsing.look_up(who, at, when, topic)
    _, since = browsing.topic_span(who[when], topic, browsing.seen(at, TOPIC_WINDOW_DAYS)[when])
    known = length[concept] > 0

    def summed(values: Floats) -> Floats:
        total = np.bincount(pair, weights=values[back], minlength=len(moment))
        return np.where(known, total, np.nan)

    columns = {f"topic_events_{TOPIC_WINDOW_DAYS}d": summed((found.stop - since).astype(np.float64))}
    latest = np.full(len(moment), -np.inf)
    np.maximum.at(latest, pair, np.where(np.isnan(found.last), -np.inf, found.last)[back])
    latest[np.isneginf(latest)] = np.nan
    columns["hours_since_topic_event"] = (at[moment] - latest) / MICROS_PER_HOUR
    for half_life, affinity in affinities.items():
        sums, shares = found.sums(affinity)
        columns[f"affinity_{_label(half_life)}"] = summed(sums) / np.maximum(length[concept], 1)
        columns[f"affinity_share_{_label(half_life)}"] = summed(shares) / np.maximum(length[concept], 1)
    return columns


def _cosines(states: Floats, vectors: Floats, moment: Ints, concept: Ints) -> Floats:
    """Cosine of each pair's user and concept, (N,); NaN where either vector is zero or the concept is unknown."""
    vectors = np.concatenate([vectors, np.zeros((1, vectors.shape[1]))])  # the last one is for code -1
    norm, concept_norm = np.linalg.norm(states, axis=1), np.linalg.norm(vectors, axis=1)
    cosine = np.empty(len(moment))
    for low in range(0, len(moment), _PAIR_ROWS):
        m, c = moment[low : low + _PAIR_ROWS], concept[low : low + _PAIR_ROWS]
        scale = norm[m] * concept_norm[c]
        dot = np.einsum("nd,nd->n", states[m], vectors[c])
        cosine[low : low + _PAIR_ROWS] = np.where(scale > 0, dot / np.where(scale > 0, scale, 1.0), np.nan)
    return np.clip(cosine, -1.0, 1.0)
