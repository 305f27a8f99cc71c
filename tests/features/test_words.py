"""Claims about plain words: every feature has them, with and without a value."""

from __future__ import annotations

import pytest

from features.directions import DIRECTIONS, direction_of
from features.glossary import FEATURES
from features.words import in_words

TOPICS = ("running shoes",)


@pytest.mark.parametrize(
    ("feature", "value", "words"),
    [
        ("topic_events_7d", 6.0, "browsed running shoes 6 times in the last week"),
        ("topic_events_7d", 1.0, "browsed running shoes once in the last week"),
        ("hours_since_topic_event", 3.0, "last browsed running shoes 3 hours ago"),
        ("hours_since_topic_event", None, "never browsed running shoes"),
        ("user_advertiser_shown", 0.0, "was shown ads of Fleetfoot never"),
        ("weekday", 1.0, "it is Monday"),
        ("rating_of_mother", 2.5, "rating of mother: 2.5"),
        ("rating_of_mother", None, "rating of mother: not known"),
    ],
)
def test_words_say_the_value(feature: str, value: float | None, words: str) -> None:
    assert in_words(feature, value, topics=TOPICS, advertiser="Fleetfoot") == words


def test_several_topics_are_listed() -> None:
    assert "running, hiking or home" in in_words("topic_events_30d", 2.0, topics=("running", "hiking", "home"))


@pytest.mark.parametrize("feature", [feature.name for feature in FEATURES])
def test_every_feature_has_words_of_its_own(feature: str) -> None:
    plain = feature.replace("_", " ")
    for value in (1.0, None):
        said = in_words(feature, value, topics=TOPICS, advertiser="Fleetfoot")
        assert not said.startswith(f"{plain}: ")
        assert "{" not in said


def test_directions_are_of_features_that_exist_and_say_why() -> None:
    names = [feature.name for feature in FEATURES]
    found = {name: direction_of(name) for name in names}
    assert found["embedding_cosine"][0] == 1
    assert found["hours_since_topic_event"][0] == -1
    assert found["user_concept_shown"] == (0, "")
    assert all(why for direction, why in DIRECTIONS.values() if direction)
