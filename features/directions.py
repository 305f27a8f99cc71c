"""Turns a feature's name into the direction that a click can only follow, and why: what the ranker's trees must keep to."""

from __future__ import annotations

from typing import Literal

Direction = Literal[-1, 0, 1]

DIRECTIONS: dict[str, tuple[Direction, str]] = {
    "affinity_": (1, "more browsing of a topic is more interest in it"),
    "affinity_share_": (1, "a topic that takes more of the browsing is more of an interest"),
    "topic_events_": (1, "more browsing of a topic is more interest in it"),
    "hours_since_topic_event": (-1, "interest fades"),
    "session_topic_share": (1, "what the session is about is what is wanted now"),
    "embedding_cosine": (1, "nearer in the space is more alike what was browsed"),
    "covisit_": (1, "what is browsed together is liked together"),
    "concept_click_rate": (1, "what others click is more likely to be clicked"),
    "user_click_rate": (1, "who clicked more will click more"),
}
"""By the beginning of a feature's name (the longest that fits): 1 the score never falls as the feature grows, -1 it never
rises. Counts of past impressions have no direction: they say how often the logging policy chose, and fatigue, at once."""


def direction_of(name: str) -> tuple[Direction, str]:
    """The direction of a feature and its reason; 0 and "" for a feature that may act either way."""
    fitting = [start for start in DIRECTIONS if name.startswith(start)]
    return DIRECTIONS[max(fitting, key=len)] if fitting else (0, "")


def directions_markdown() -> str:
    """The directions as a Markdown table, for the documentation."""
    signs = {1: "rises", -1: "falls"}
    rows = "".join(f"| `{start}` | {signs[sign]} | {why} |\n" for start, (sign, why) in DIRECTIONS.items() if sign)
    return (
        "\n## Directions\n\nWith `monotone` the ranker's score can only go one way as these features grow (by the beginning of "
        "the name); all others are free.\n\n| features | score | why |\n|---|---|---|\n" + rows
    )
