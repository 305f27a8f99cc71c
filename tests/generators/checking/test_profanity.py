"""Rude words are found however they are dressed up, and innocent ones that hold them are left alone."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from generators.checking.profanity import check_copy, listed_words, rude_words

DISGUISED = (
    "Holy shit, it is light", "SHIT", "Sh1t happens", "sh!t", "$hit", "shiiiit", "s.h.i.t", "s h i t", "sh*t", "f**k it",
    "FuCk", "fück", "fuсk", "kick a$$", "b00bs", "5hit", "bullsh1t!", "Scheiße", "MERDE", "¡Joder!", "What a bitch's life",
    "Kurwa", "wanker.", "(crap)", "f-u-c-k",
)  # fmt: skip
INNOCENT = (
    "Scunthorpe United", "Made in Essex", "Middlesex and Sussex", "First class", "A bassist's assistant", "Pass the glass",
    "Take the A55 to 455 Main Street", "From $4.99", "Cockburn Town", "Penistone", "Shitake? No: shiitake", "Analysis",
    "Therapist", "Grapes of wrath", "Dickens and Dickinson", "Matsushita", "Hello, as is", "Arsenal", "Titanic", "Up to 50 % off!",
    "Your next mile starts here", "I a m h e r e", "C++ and C#", "Buy 2, get 1", "Le cumin et le cumulus", "Hancock", "Ass\u200bemble",
)  # fmt: skip


@pytest.mark.parametrize("text", DISGUISED)
def test_a_rude_word_is_found_however_it_is_disguised(text: str) -> None:
    found = rude_words({"headline": text})
    assert len(found) == 1
    finding = check_copy(found)
    assert finding.passed is False
    assert finding.value == 1
    assert "headline" in finding.reason


@pytest.mark.parametrize("text", INNOCENT)
def test_innocent_words_are_left_alone(text: str) -> None:
    assert rude_words({"headline": text}) == []
    assert check_copy([]).passed


def test_words_may_be_added_and_allowed() -> None:
    assert rude_words({"body": "Cheap trick"}, also=["cheap"])[0].word == "cheap"
    assert rude_words({"advertiser": "Dick's"}) != []
    assert rude_words({"advertiser": "Dick's"}, allowed=["Dick's"]) == []


@given(st.sampled_from(listed_words()), st.sampled_from("abcdefgrtyl"))
def test_every_listed_word_is_found_alone_and_not_inside_another(word: str, letter: str) -> None:
    assert rude_words({"body": f"so {word.upper()}, then"})
    inside = f"{letter}q{word}q{letter}"
    assert rude_words({"body": inside}) == []


@given(st.text(max_size=60))
def test_any_text_can_be_read(text: str) -> None:
    for one in rude_words({"body": text}):
        assert one.word in listed_words()


def test_a_doubled_letter_is_a_spelling_and_a_drawn_out_one_a_disguise() -> None:
    assert rude_words({"body": "We assess every seam."}) == []
    for written in ("fuuck", "fuuuuck", "shiiit", "assss", "bitttch"):
        assert rude_words({"body": written}), written
