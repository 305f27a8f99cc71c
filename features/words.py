"""Turns a feature and its value into plain words: "browsed running or hiking 6 times in 7 days"."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class _Pair:
    """What the words may name."""

    topics: str
    advertiser: str


_Words = Callable[[re.Match[str], float, _Pair], str]


def in_words(
    feature: str, value: float | None, *, topics: Sequence[str] = (), advertiser: str = "its advertiser"
) -> str:
    """What a feature's value says of a user and a concept; null is what is not known.

    Args:
        feature: its name, of `features.table`; of another table the name itself is spelled out.
        value: its value, in the feature's unit.
        topics: of the concept.
        advertiser: of the concept.
    """
    pair = _Pair(_either(topics), advertiser)
    for pattern, words, unknown in _WORDS:
        match = re.fullmatch(pattern, feature)
        if match is not None:
            return (
                unknown.format(topics=pair.topics, advertiser=advertiser)
                if value is None
                else words(match, value, pair)
            )
    plain = feature.replace("_", " ")
    return f"{plain}: not known" if value is None else f"{plain}: {value:,.3g}"


def _either(topics: Sequence[str]) -> str:
    names = list(topics)
    if not names:
        return "the concept's topics"
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} or {names[-1]}"


def _times(value: float) -> str:
    count = round(value)
    return {0: "never", 1: "once", 2: "twice"}.get(count, f"{count:,} times")


def _days(match: re.Match[str]) -> str:
    days = match[1].replace("p", ".")
    return {"1": "the last day", "7": "the last week"}.get(days, f"the last {days} days")


def _ago(hours: float) -> str:
    if hours < 1.5:
        return "within the last hour or so"
    return f"{hours:.0f} hours ago" if hours < 48 else f"{hours / 24:.0f} days ago"


_WORDS: tuple[tuple[str, _Words, str], ...] = (
    (
        r"topic_events_([\dp]+)d",
        lambda m, v, p: f"browsed {p.topics} {_times(v)} in {_days(m)}",
        "nothing is known of browsing {topics}",
    ),
    (
        r"events_([\dp]+)d",
        lambda m, v, p: f"browsed anything {_times(v)} in {_days(m)}",
        "nothing is known of browsing",
    ),
    (
        r"affinity_share_([\dp]+)d",
        lambda m, v, p: f"{p.topics} takes {100 * v:.0f} % of the browsing, half-life {m[1].replace('p', '.')} days",
        "has browsed no topic at all",
    ),
    (
        r"affinity_(view|click|like|search|cart|purchase)",
        lambda m, v, p: f"{m[1]} events on {p.topics} worth {v:.1f} of now",
        "has browsed no topic at all",
    ),
    (
        r"affinity_([\dp]+)d",
        lambda m, v, p: f"interest in {p.topics} worth {v:.1f} page views, half-life {m[1].replace('p', '.')} days",
        "has browsed no topic at all",
    ),
    (r"hours_since_topic_event", lambda m, v, p: f"last browsed {p.topics} {_ago(v)}", "never browsed {topics}"),
    (r"hours_since_event", lambda m, v, p: f"last browsed anything {_ago(v)}", "never browsed anything"),
    (
        r"interest_entropy",
        lambda m, v, p: f"interests spread as over {2.718281828**v:.0f} equal topics",
        "has browsed no topic at all",
    ),
    (
        r"embedding_cosine",
        lambda m, v, p: f"what was browsed is {v:.2f} alike the concept, where 1 is the same",
        "user or concept has no place in the space",
    ),
    (r"embedding_mass", lambda m, v, p: f"browsing of late worth {v:.1f} page views", "browsing of late is not known"),
    (
        r"concept_shown",
        lambda m, v, p: f"the concept was shown {_times(v)} to anybody",
        "the concept's past is not known",
    ),
    (
        r"concept_click_rate",
        lambda m, v, p: f"{100 * v:.1f} % of the concept's impressions were clicked",
        "no impression of anything is known",
    ),
    (
        r"user_concept_shown",
        lambda m, v, p: f"was shown this concept {_times(v)}",
        "whether this concept was shown is not known",
    ),
    (
        r"user_concept_clicked",
        lambda m, v, p: f"clicked this concept {_times(v)}",
        "whether this concept was clicked is not known",
    ),
    (
        r"hours_since_user_concept_shown",
        lambda m, v, p: f"was last shown this concept {_ago(v)}",
        "was never shown this concept",
    ),
    (
        r"user_advertiser_shown",
        lambda m, v, p: f"was shown ads of {p.advertiser} {_times(v)}",
        "whether {advertiser} was shown is not known",
    ),
    (r"user_shown", lambda m, v, p: f"was shown ads {_times(v)}", "whether ads were shown is not known"),
    (
        r"user_click_rate",
        lambda m, v, p: f"clicks {100 * v:.1f} % of the ads shown",
        "no impression of anything is known",
    ),
    (
        r"user_concept_shown_([\dp]+)d",
        lambda m, v, p: f"was shown this concept {_times(v)} in {_days(m)}",
        "whether this concept was shown is not known",
    ),
    (
        r"user_advertiser_shown_([\dp]+)d",
        lambda m, v, p: f"was shown ads of {p.advertiser} {_times(v)} in {_days(m)}",
        "whether {advertiser} was shown is not known",
    ),
    (
        r"user_advertiser_clicked",
        lambda m, v, p: f"clicked ads of {p.advertiser} {_times(v)}",
        "whether {advertiser} was clicked is not known",
    ),
    (
        r"hours_since_user_advertiser_shown",
        lambda m, v, p: f"was last shown an ad of {p.advertiser} {_ago(v)}",
        "was never shown an ad of {advertiser}",
    ),
    (
        r"dwell_mean",
        lambda m, v, p: f"stays {v:.0f} seconds with what is browsed",
        "how long anything is looked at is not known",
    ),
    (
        r"topic_dwell_mean",
        lambda m, v, p: f"stays {v:.0f} seconds with {p.topics}",
        "how long {topics} is looked at is not known",
    ),
    (r"session_events", lambda m, v, p: f"browsed {_times(v)} in this session", "the session is not known"),
    (r"session_minutes", lambda m, v, p: f"this session has lasted {v:.0f} minutes", "the session is not known"),
    (r"session_topics", lambda m, v, p: f"this session has seen {v:.0f} topics", "the session is not known"),
    (
        r"session_topic_share",
        lambda m, v, p: f"{100 * v:.0f} % of this session is about {p.topics}",
        "this session has no topic",
    ),
    (
        r"covisit_mean",
        lambda m, v, p: f"the last items browsed go together with the concept by {v:.2f}, where 1 is always",
        "the last items or the concept have no place in the space",
    ),
    (
        r"covisit_best",
        lambda m, v, p: f"one of the last items browsed goes together with the concept by {v:.2f}, where 1 is always",
        "the last items or the concept have no place in the space",
    ),
    (
        r"concept_click_trend",
        lambda m, v, p: f"of late the concept is clicked {2.718281828**v:.2f} times as often as before",
        "nothing was clicked yet",
    ),
    (r"concept_age", lambda m, v, p: f"the concept was first shown {v:.0f} days ago", "the concept was never shown"),
    (
        r"concept_slot",
        lambda m, v, p: f"the concept was shown at place {v + 1:.1f} on average",
        "the concept was never shown",
    ),
    (r"device", lambda m, v, p: f"device number {v:.0f} was used last", "the device is not known"),
    (r"hour", lambda m, v, p: f"it is {v:.0f}:00 UTC", "the hour is not known"),
    (
        r"weekday",
        lambda m, v, p: (
            f"it is {('Monday', 'Tuesday', 'Wednesday', 'Thursday', 'Friday', 'Saturday', 'Sunday')[int(v) - 1]}"
        ),
        "the day is not known",
    ),
)
"""Pattern of the name, words for a value, words for null; the first that fits the whole name."""
