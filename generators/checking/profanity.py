"""Turns an advertiser's words into the rude words among them, also disguised ones; whole words, so Essex may stay."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from generators.checking.findings import Finding

WORDS_FILE = Path(__file__).with_name("profane_words.txt")
"""Rude words, one a line, lower case without accents; # begins a remark."""

_SIGNS = str.maketrans({"@": "a", "$": "s", "€": "e", "!": "i", "|": "i", "+": "t", "£": "l"})
_FIGURES = str.maketrans("0134578", "oleastb")
_OTHER_FIGURES = str.maketrans("1", "i")
_LOOKALIKES = str.maketrans("аесіорхуѕјԁɡαοινκτ", "aeciopxysjdgaoivkt")  # Cyrillic and Greek
_MASKS = "*#_•·"
_NEVER_DOUBLE = "aiuhjkqvwxy"  # letters that English hardly doubles
_TOKEN = re.compile(r"[^\s¡¿.,;:?/\\()\[\]{}\"“”„«»<>=~^&%–—-]+")


@dataclass(frozen=True, slots=True)
class Rude:
    """A rude word: where it stands, as written, and the word it is read as."""

    place: str
    written: str
    word: str


def rude_words(texts: Mapping[str, str], *, also: Iterable[str] = (), allowed: Iterable[str] = ()) -> list[Rude]:
    """The rude words in some texts, in order.

    A word counts when all of it is rude, once case, accents, look-alike letters, figures and signs in the place of letters
    (sh1t, a$$), repeats (fuuuck), dots or spaces between single letters (f.u.c.k) and masked letters (f*ck) are undone.
    Figures are read as letters only where letters are at least half of the word, so that an A55 is a road.

    Args:
        texts: by what they are, such as "headline".
        also: more words to refuse.
        allowed: words that may stand all the same, such as a brand's name.
    """
    refused = tuple(sorted({*listed_words(), *(_plain(word) for word in also)}))
    spared = {_plain(word) for word in allowed}
    found = []
    for place, text in texts.items():
        for written in _words(text):
            if _plain(written) in spared:
                continue
            word = _match(written, refused)
            if word is not None:
                found.append(Rude(place, written, word))
    return found


def check_copy(rude: list[Rude]) -> Finding:
    """The finding on `rude_words`."""
    told = "; ".join(f'{one.place}: "{one.written}"' for one in rude)
    return Finding("profanity", not rude, float(len(rude)), 0.0, told)


@cache
def listed_words() -> tuple[str, ...]:
    """The words of WORDS_FILE."""
    lines = WORDS_FILE.read_text(encoding="utf-8").splitlines()
    return tuple(line.strip() for line in lines if line.strip() and not line.startswith("#"))


def _plain(text: str) -> str:
    """Lower case, no accents, look-alikes as Latin letters."""
    apart = unicodedata.normalize("NFKD", text.casefold().translate(_LOOKALIKES))
    return "".join(letter for letter in apart if not unicodedata.combining(letter))


def _words(text: str) -> list[str]:
    """The words as written; runs of three or more single letters, apart by dots, spaces or hyphens, as one word."""
    words: list[str] = []
    singles: list[str] = []
    for token in [*_TOKEN.findall(text), ""]:
        if len(token) == 1:
            singles.append(token)
            continue
        words += ["".join(singles)] if len(singles) >= 3 else singles
        singles = []
        if token:
            words.append(token)
    return words


def _match(written: str, refused: tuple[str, ...]) -> str | None:
    plain = _plain(written).strip("'’*#_")
    bald = plain.strip("!")
    masked = any(sign in bald for sign in _MASKS)
    for spelling in {bald, *_spellings(plain), *_spellings(bald)}:
        bare = spelling.removesuffix("'s").removesuffix("’s")
        for word in refused:
            if _pattern(word).fullmatch(bare):
                return word
            if masked and len(word) == len(bare) and _unmasks(bare, word):
                return word
    return None


def _spellings(token: str) -> set[str]:
    """The token with signs, and where it is mostly letters also figures, read as letters."""
    signs = token.translate(_SIGNS)
    letters, figures = sum(c.isalpha() for c in signs), sum(c.isdigit() for c in signs)
    if not letters or letters == sum(c.isalpha() for c in token) == len(token):
        return set()
    if not figures or figures > letters:
        return {signs} if any(c.isalpha() for c in token) else set()
    other = signs.translate(_OTHER_FIGURES)
    return {signs.translate(_FIGURES), other.translate(_FIGURES)}


@cache
def _pattern(word: str) -> re.Pattern[str]:
    """The word, each letter as often as it is there, or so often that it is no spelling: assess is not asses."""
    runs = re.findall(r"(.)(\1*)", word)
    parts = []
    for letter, more in runs:
        often = 1 + len(more)
        odd = often + 1 if letter in _NEVER_DOUBLE else max(often + 1, 3)
        parts.append(f"(?:{re.escape(letter)}{{{often}}}|{re.escape(letter)}{{{odd},}})")
    return re.compile("".join(parts))


def _unmasks(token: str, word: str) -> bool:
    """Whether masked letters may hide this word: the first letter and at least half of all shown."""
    shown = [(seen, letter) for seen, letter in zip(token, word, strict=True) if seen not in _MASKS]
    return token[0] == word[0] and 2 * len(shown) >= len(word) and all(seen == letter for seen, letter in shown)
