"""Turns the words of a concept into a prompt for a text-to-image model.

The rules, in order:
1. Topics come first, at most MOST_TOPICS, as in the table, with underscores and hyphens read as spaces.
2. Then come the headline's content words, at most MOST_WORDS: letters only, at least three of them (two in scripts
   beyond Latin), no filler words, no word of a topic, none twice.
3. The advertiser's name is left out wherever it stands, and so are numbers, prices and addresses: a model that reads a name or a
   price paints letters, and the typesetter sets all type.
4. Words take the places of {topics} and {words} in the template; where there are none, the place goes with its comma.
5. Whatever a concept says is only ever put in as words: braces, weights such as (word:1.4) and commas do not get through.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence

MOST_TOPICS = 3
MOST_WORDS = 5
LONGEST_WORD = 24
"""Letters; CLIP reads 75 tokens, and a longer word would take many of them."""

_ENGLISH = (
    "a about all an and any are as at be best but buy by can come deal each every for free from get go has have here how if in "
    "into is it its just made make me more most my new no not now of off on one only or our ours out over own sale save see shop "
    "so than that the their them then there they this to today up us was we what when where which while who why will with you "
    "your yours"
)
FILLERS = frozenset(_ENGLISH.split())
"""English words that name nothing to be seen. In other languages all words count."""

_MARKS = ("Mn", "Mc")
_ADDRESS = re.compile(r"\S*(?:://|www\.|@|[$€£¥%#]|\d)\S*")


def concept_prompt(template: str, *, topics: Sequence[str], headline: str, advertiser: str) -> str:
    """The prompt for a concept, by the rules above.

    Args:
        template: parts with commas between them, in which {topics} and {words} are filled in.
        topics, headline, advertiser: of the concept; any of them may be empty.
    """
    names = set(_words(advertiser))
    named = [[word for word in _words(topic) if word not in names] for topic in topics[:MOST_TOPICS]]
    left_out = names.union(FILLERS, *named)
    words = [word for word in _words(_ADDRESS.sub(" ", headline)) if word not in left_out and len(word) >= _least(word)]
    fillings = {
        "topics": ", ".join(" ".join(topic) for topic in named if topic),
        "words": " ".join(list(dict.fromkeys(words))[:MOST_WORDS]),
    }
    parts = []
    for part in template.split(","):
        filled = part
        for name, filling in fillings.items():
            filled = filled.replace("{" + name + "}", filling)
        if filled.strip():
            parts.append(" ".join(filled.split()))
    return ", ".join(parts)


def _words(text: str) -> Iterator[str]:
    """The words of a text in small letters, marks that belong to a letter included, cut at LONGEST_WORD."""
    plain = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold()).replace(
        "\N{RIGHT SINGLE QUOTATION MARK}", "'"
    )
    kept = "".join(one if one == "'" or one.isalpha() or unicodedata.category(one) in _MARKS else " " for one in plain)
    for word in kept.split():
        cut = word.strip("'")[:LONGEST_WORD].strip("'")
        if any(one.isalpha() for one in cut):
            yield cut


def _least(word: str) -> int:
    return 3 if word.isascii() else 2
