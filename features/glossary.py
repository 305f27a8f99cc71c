"""Turns the settings into the list of features: name, unit, formula, window, cost; docs/features.md is made from it."""

from __future__ import annotations

from dataclasses import dataclass

from contracts.errors import SettingsError
from contracts.settings import FeatureSettings, load_settings
from contracts.tables import ACTIONS
from features.directions import direction_of
from features.exposure import RECENT_DAYS
from features.log import DEVICES

WINDOWS_DAYS = (1, 7, 30)

COSTS = {
    "affinity": "event: 1 exp2 a topic and half-life; pair: the same",
    "affinity_share": "none beyond affinity",
    "action_affinity": "event: 1 multiplication a topic and action; pair: 1 exp2 a topic and action",
    "counts": "event: 1 step a window",
    "topic_counts": "event: 2 additions a topic and window; pair: 1 addition each",
    "recency": "pair: 1 subtraction",
    "dwell": "event: 1 exp2; pair: 1 exp2 a topic",
    "diversity": "moment: 1 exp2 and 1 log a topic of the user",
    "session": "event: 1 comparison; pair: 1 addition a topic",
    "space": "event: D multiplications and additions; pair: 2 D",
    "covisit": "pair: covisit_window * D multiplications and additions",
    "fatigue": "impression and pair: 2 look-ups",
    "click_rates": "impression and pair: 2 look-ups, in one order of time for all users",
    "clock": "pair: 1 look-up",
    "device": "event: 1 comparison",
}
"""What each group of features costs, over reading and sorting the log; D is the dimensions of the space."""


@dataclass(frozen=True)
class Feature:
    """One column of the ranking table; null where it is not known.

    Attributes:
        name: column, Float32.
        unit: its unit.
        formula: what it is, and when it is null.
        window: how far back it looks from t - delay.
        group: by which settings may leave it out, and by which its cost is counted.
    """

    name: str
    unit: str
    formula: str
    window: str
    group: str


def features_of(settings: FeatureSettings) -> tuple[Feature, ...]:
    """The features that `table.ranking_table` makes with these settings, in order of columns.

    Raises:
        SettingsError: two affinity half-lives would share a column name, or no group is left.
    """
    labels = [_label(half_life) for half_life in settings.affinity_half_lives_days]
    if len(set(labels)) < len(labels) or min(settings.affinity_half_lives_days) <= 0:
        raise SettingsError(
            "half-lives must be positive and differ in six digits",
            where="features.affinity_half_lives_days",
            fix="Change or remove one of them.",
        )
    half_life = f"half-life {_label(settings.half_life_days)}"
    every = (
        *_affinities(labels, half_life),
        *_browsing(half_life, settings.covisit_window),
        *_exposure(),
        *_moment(),
    )
    kept = tuple(feature for feature in every if feature.group in settings.groups)
    if not kept:
        raise SettingsError("no feature is left", where="features.groups", fix=f"Name some of: {', '.join(COSTS)}.")
    return kept


def _label(half_life_days: float) -> str:
    return f"{half_life_days:g}d".replace(".", "p").replace("+", "")


def _affinities(labels: list[str], half_life: str) -> tuple[Feature, ...]:
    null = "null: no event of the user with a topic, or the concept has none"
    of = "mean over the concept's topics of the sum of"
    over = "over the user's events"
    return (
        *(
            Feature(
                f"affinity_{label}",
                "weighted events",
                f"{of} action_weight * 2^((at - t) / {label}) {over} with that topic; {null}",
                f"all, half-life {label}",
                "affinity",
            )
            for label in labels
        ),
        *(
            Feature(
                f"affinity_share_{label}",
                "share",
                f"affinity_{label} over its sum over all of the user's topics, in [0, 1]; null as affinity_{label}",
                f"all, half-life {label}",
                "affinity_share",
            )
            for label in labels
        ),
        *(
            Feature(
                f"affinity_{action}",
                "events",
                f"{of} 2^((at - t) / half_life_days) {over} of action {action} with that topic; {null}",
                f"all, {half_life}",
                "action_affinity",
            )
            for action in ACTIONS
        ),
    )


def _browsing(half_life: str, depth: int) -> tuple[Feature, ...]:
    decayed, session = f"all, {half_life}", "current session"
    return (
        *(
            Feature(f"events_{days}d", "events", "the user's events in the window", f"{days} d", "counts")
            for days in WINDOWS_DAYS
        ),
        *(
            Feature(
                f"topic_events_{days}d",
                "matches",
                "matches of the user's events in the window with the concept's topics; an event of two of them counts "
                "twice; null: the concept has none",
                f"{days} d",
                "topic_counts",
            )
            for days in WINDOWS_DAYS
        ),
        Feature("hours_since_event", "hours", "t minus the user's last event; null: none", "all", "recency"),
        Feature(
            "hours_since_topic_event",
            "hours",
            "t minus the user's last event with any of the concept's topics; null: none",
            "all",
            "recency",
        ),
        Feature(
            "dwell_mean",
            "seconds",
            "mean dwell time of the user's events where it is known, each weighted by 2^((at - t) / half_life_days); "
            "null: none",
            decayed,
            "dwell",
        ),
        Feature(
            "topic_dwell_mean",
            "seconds",
            "the same over matches of the user's events with the concept's topics; null: none",
            decayed,
            "dwell",
        ),
        Feature(
            "interest_entropy",
            "nats",
            "-sum of s * ln(s) over the user's topic shares s at half_life_days; null: no event with a topic",
            decayed,
            "diversity",
        ),
        Feature(
            "session_events",
            "events",
            "depth: events of the user's session, in which no gap is above session_gap_minutes; 0 where the last known "
            "event is older than that before t - delay",
            session,
            "session",
        ),
        Feature("session_minutes", "minutes", "length: from its first to its last event; 0: none", session, "session"),
        Feature("session_topics", "topics", "distinct topics of its events; 0: none", session, "session"),
        Feature(
            "session_topic_share",
            "share",
            "share of its (event, topic) matches that are with the concept's topics; null: there are none at all",
            session,
            "session",
        ),
        Feature(
            "embedding_mass",
            "weighted events",
            "sum of action_weight * 2^((at - t) / half_life_days) over the user's events that stand in the space",
            decayed,
            "space",
        ),
        Feature(
            "embedding_cosine",
            "cosine",
            "of the user embedding at t and the concept's vector, in [-1, 1]; null: either is not known",
            decayed,
            "space",
        ),
        Feature(
            "covisit_mean",
            "cosine",
            f"mean over the user's last {depth} events with an item of the space of the co-visit strength of item and "
            "concept: the cosine of their vectors. The space is frozen, so the co-visits behind it are those of the "
            "period it was fitted on, before the test period; null: either is not known",
            f"last {depth} events",
            "covisit",
        ),
        Feature(
            "covisit_best", "cosine", "the largest of them; null as covisit_mean", f"last {depth} events", "covisit"
        ),
    )


def _exposure() -> tuple[Feature, ...]:
    lately = f"{RECENT_DAYS} d"
    prior = "the Beta prior fitted by the method of moments to {} as known at that moment, see features/exposure.py"
    return (
        *(
            feature
            for what, thing in (("user_concept", "the concept"), ("user_advertiser", "the concept's advertiser"))
            for feature in (
                Feature(f"{what}_shown", "impressions", f"impressions of {thing} to the user", "all", "fatigue"),
                Feature(f"{what}_clicked", "clicks", f"clicks of the user on {thing}", "all", "fatigue"),
                Feature(
                    f"{what}_shown_{RECENT_DAYS}d", "impressions", "frequency: those in the window", lately, "fatigue"
                ),
                Feature(f"hours_since_{what}_shown", "hours", "t minus the last of them; null: none", "all", "fatigue"),
            )
        ),
        Feature("user_shown", "impressions", "impressions of anything to the user", "all", "click_rates"),
        Feature(
            "user_click_rate",
            "share",
            "(clicks + strength * mean) / (impressions + strength) of the user, with mean and strength of "
            f"{prior.format('all users')}; null: no impression of anybody",
            "all",
            "click_rates",
        ),
        Feature("concept_shown", "impressions", "impressions of the concept, to anybody", "all", "click_rates"),
        Feature(
            "concept_click_rate",
            "share",
            "(clicks + strength * mean) / (impressions + strength) of the concept, with mean and strength of "
            f"{prior.format('all concepts')}; null: no impression of any",
            "all",
            "click_rates",
        ),
        Feature(
            "concept_click_trend",
            "log ratio",
            "ln of the concept's click rate in the window, smoothed by strength * concept_click_rate, over "
            "concept_click_rate; null: no click on any",
            lately,
            "click_rates",
        ),
        Feature("concept_age", "days", "t minus the concept's first impression; null: none", "all", "click_rates"),
        Feature(
            "concept_slot",
            "place",
            "mean slot of the concept's impressions, from 0: how far its click rate is one of low places; null: none",
            "all",
            "click_rates",
        ),
    )


def _moment() -> tuple[Feature, ...]:
    return (
        Feature("hour", "hour", "hour of t in UTC, 0 to 23", "t", "clock"),
        Feature("weekday", "day", "weekday of t in UTC, 1 = Monday to 7 = Sunday", "t", "clock"),
        Feature(
            "device",
            "code",
            f"device of the user's last event that names one: {', '.join(f'{n + 1} {d}' for n, d in enumerate(DEVICES))}, "
            "0 another; null: none",
            "last event",
            "device",
        ),
    )


FEATURES = features_of(load_settings(None).features)
"""The features with default settings, in order of columns."""

_NOTES = """
Only rows with at < t - delay_seconds are looked at, events and impressions alike; windows end there, ages run to t.
Direction: the ranker's score may only rise (+) or fall (-) with the feature, see features/directions.py for why; blank: free.
Columns are Float32. A cost counts the operations of the group, beside reading and sorting the log.

**Slot.** The place of the row itself is not a feature: it is not known when the slate is to be made. The table carries the
log's `slot` beside the features, and the ranker learns from it how much a place is worth (LightGBM's `position`), so that
clicks in good places do not pass for good concepts. What was known of places before t is `concept_slot`.
"""


def features_markdown(features: tuple[Feature, ...] = FEATURES) -> str:
    """The features as a Markdown table with notes, for the documentation."""
    signs = {-1: "-", 0: "", 1: "+"}
    rows = "".join(
        f"| `{f.name}` | {f.unit} | {f.formula} | {f.window} | {signs[direction_of(f.name)[0]]} | {f.group}: {COSTS[f.group]} |\n"
        for f in features
    )
    return f"| feature | unit | formula | window | direction | cost |\n|---|---|---|---|---|---|\n{rows}{_NOTES}"
