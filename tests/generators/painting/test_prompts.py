"""A prompt is made of what a concept shows, by written rules, and of nothing else that it says."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from generators.painting.prompts import LONGEST_WORD, MOST_TOPICS, MOST_WORDS, concept_prompt

TEMPLATE = "{topics}, {words}, advertising photograph"


def prompt(
    headline: str = "", topics: tuple[str, ...] = (), advertiser: str = "Stride", template: str = TEMPLATE
) -> str:
    return concept_prompt(template, topics=topics, headline=headline, advertiser=advertiser)


@pytest.mark.parametrize(
    ("headline", "topics", "said"),
    [
        ("Run further this autumn", ("running_shoes", "trail-running"), "running shoes, trail running, run further autumn"),
        ("Quiet mornings, warm coffee", ("coffee",), "coffee, quiet mornings warm"),
        ("Get yours now: 20% off at www.stride.com", ("shoes",), "shoes"),
        ("Stride lighter", ("shoes",), "shoes, lighter"),
        ("Only $49.90 for hiking boots", (), "hiking boots"),
        ("Chaussures légères pour l'été", ("shoes",), "shoes, chaussures légères pour l'été"),
        ("个性 跑鞋", (), "个性 跑鞋"),
        ("", (), ""),
    ],
)  # fmt: skip
def test_the_rules_by_example(headline: str, topics: tuple[str, ...], said: str) -> None:
    expected = f"{said}, advertising photograph" if said else "advertising photograph"
    assert prompt(headline, topics) == expected


def test_the_advertisers_name_never_gets_in() -> None:
    assert "stride" not in prompt("Stride on with Stride", ("stride_sports", "shoes"))
    assert "sports" in prompt("Stride on with Stride", ("stride_sports", "shoes"))


def test_no_more_topics_and_words_than_a_text_encoder_reads() -> None:
    topics = tuple(f"topic{letter}" for letter in "abcdefgh")
    said = prompt("one two three four five six seven eight nine", topics, template="{topics}, {words}")
    assert said.count("topic") == MOST_TOPICS
    assert len(said.split(", ")[-1].split()) == MOST_WORDS


@given(st.text(max_size=80), st.lists(st.text(max_size=20), max_size=5), st.text(max_size=20))
def test_whatever_a_concept_says_stays_words(headline: str, topics: list[str], advertiser: str) -> None:
    said = concept_prompt("{topics}, {words}, end", topics=topics, headline=headline, advertiser=advertiser)
    assert said.endswith("end")
    assert not set(said) & set("{}()[]:<>\\\n")
    assert not any(character.isdigit() for character in said)
    assert said.count(",") <= MOST_TOPICS + 1
    assert all(len(word) <= LONGEST_WORD for word in said.split())
    assert said == concept_prompt("{topics}, {words}, end", topics=topics, headline=headline, advertiser=advertiser)
