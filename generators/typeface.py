"""Turns a font file and a text into measured, balanced lines and their pixels; the same on every machine.

Glyphs are set one by one from the font's own advances and its kern table, and drawn at four times the size, so no
text-layout engine of the system has a say. Scripts that need one (Arabic, Devanagari) are refused by name.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
from fontTools.ttLib import TTFont, TTLibError
from PIL import Image, ImageDraw, ImageFont

from contracts.errors import DataError, SettingsError

FONTS = Path(__file__).parent / "fonts"
DISPLAY_FONT = FONTS / "InterDisplay-Bold.ttf"
TEXT_FONT = FONTS / "Inter-Medium.ttf"

_FINE = 4  # drawn this much larger, then averaged down
_FEWER_LINES = 0.95  # fewer lines win if the type is at least this share of the largest possible


@dataclass(frozen=True)
class Typeface:
    """A font's measures; lengths in em (1 = the type size)."""

    path: Path
    glyphs: dict[int, str]
    advances: dict[str, float]
    bearings: dict[str, float]
    kerning: dict[tuple[str, str], float]
    cap_height: float
    ascent: float
    descent: float

    def pens(self, text: str, tracking: float) -> list[float]:
        """Where each character's pen stands, and at the end where the line ends; (len(text) + 1,), em."""
        pens, x, last = [], 0.0, ""
        for character in text:
            glyph = self.glyphs[ord(character)]
            x += self.kerning.get((last, glyph), 0.0)
            pens.append(x)
            x += self.advances[glyph] + tracking
            last = glyph
        return [*pens, x - tracking if text else 0.0]

    def width(self, text: str, tracking: float = 0.0) -> float:
        """Length of a line in em, without the white before its first letter."""
        if not text:
            return 0.0
        return self.pens(text, tracking)[-1] - self.bearings[self.glyphs[ord(text[0])]]


@lru_cache(maxsize=8)
def load_typeface(path: Path) -> Typeface:
    """Reads a TrueType or OpenType font (the first of a collection). Raises SettingsError if it is not one."""
    try:
        with TTFont(path, fontNumber=0, lazy=True) as font:
            em = float(font["head"].unitsPerEm)
            metrics = font["hmtx"].metrics
            pairs = font["kern"].kernTables[0].kernTable if "kern" in font else {}
            cap = getattr(font["OS/2"], "sCapHeight", 0) if "OS/2" in font else 0
            return Typeface(
                path=path,
                glyphs=dict(font.getBestCmap()),
                advances={name: advance / em for name, (advance, _) in metrics.items()},
                bearings={name: bearing / em for name, (_, bearing) in metrics.items()},
                kerning={pair: value / em for pair, value in pairs.items()},
                cap_height=(cap or 0.7 * em) / em,
                ascent=font["hhea"].ascent / em,
                descent=-font["hhea"].descent / em,
            )
    except (OSError, TTLibError, KeyError, AttributeError, AssertionError) as error:
        raise SettingsError(
            f"is not a usable font ({error})", where=str(path), fix="Give the path of a .ttf or .otf file."
        ) from error


def clean_text(text: str) -> str:
    """Composed (NFC), on one line, single spaces, without control and format characters."""
    composed = unicodedata.normalize("NFC", text)
    spaced = "".join(" " if character in "\t\n\r\v\f\u2028\u2029" else character for character in composed)
    kept = "".join(character for character in spaced if unicodedata.category(character) not in ("Cc", "Cf"))
    return " ".join(part for part in kept.split(" ") if part)


def require_glyphs(face: Typeface, text: str, *, name: str, where: str) -> None:
    """Raises DataError naming every character of the `name` text that the font cannot set."""
    fix = "Name a font that has them with the setting generators.font_path, or change the text."
    missing = list(dict.fromkeys(character for character in text if ord(character) not in face.glyphs))
    if missing:
        listed = " ".join(f"{character} (U+{ord(character):04X})" for character in missing[:12])
        more = f" and {len(missing) - 12} more" if len(missing) > 12 else ""
        raise DataError(f"{name} has characters that {face.path.name} lacks: {listed}{more}", where=where, fix=fix)
    shaped = [character for character in text if _needs_shaping(character)]
    if shaped:
        script = unicodedata.name(shaped[0], "unknown").split(" ")[0].capitalize()
        raise DataError(
            f"{name} is in a script that needs shaping ({script}), which is not supported",
            where=where,
            fix="Give this concept a headline, body and call to action in a script that is set letter by letter.",
        )


def _needs_shaping(character: str) -> bool:
    return unicodedata.bidirectional(character) in ("R", "AL") or unicodedata.category(character) in ("Mn", "Mc")


@dataclass(frozen=True)
class Lines:
    """A text broken into lines at a type size in pixels."""

    lines: tuple[str, ...]
    size: float


def fit_text(
    face: Typeface, text: str, *, width: float, height: float, most_lines: int, largest: float, smallest: float,
    leading: float, tracking: float = 0.0,
) -> Lines | None:  # fmt: skip
    """The text as large as width and height (pixels) allow, its lines balanced, or None if `smallest` is too large.

    For every number of lines the break whose widest line is narrowest is found exactly; the size then follows, since
    widths grow in proportion to it. `leading` is the distance of baselines and `tracking` the extra space, in em.
    """
    words = _words(text)
    options: list[Lines] = []
    for count in range(1, min(most_lines, len(words)) + 1):
        lines, widest = _balance(face, words, count, tracking)
        tall = block_height(face, count, leading)
        size = min(largest, width / widest if widest > 0 else largest, height / tall)
        options.append(Lines(tuple(lines), size))
    best = max((option.size for option in options), default=0.0)
    if best < smallest:
        return None
    return next(option for option in options if option.size >= max(smallest, _FEWER_LINES * best))


def block_height(face: Typeface, count: int, leading: float) -> float:
    """From the top of the capitals of the first line to the descenders of the last, em."""
    return face.cap_height + (count - 1) * leading + 0.22


def _words(text: str) -> list[str]:
    """Unbreakable pieces, each with the space that follows it; wide (Chinese, Japanese) characters stand alone."""
    words: list[str] = []
    for part in text.split(" "):
        word = ""
        for character in part:
            wide = unicodedata.east_asian_width(character) in ("W", "F")
            opens_line = wide and unicodedata.category(character) not in ("Po", "Pe", "Pf")
            if word and (opens_line or (_is_wide(word[-1]) and not wide and character.isalnum())):
                words.append(word)
                word = ""
            word += character
        words.append(word + " ")
    return words


def _is_wide(character: str) -> bool:
    return unicodedata.east_asian_width(character) in ("W", "F")


def _balance(face: Typeface, words: list[str], count: int, tracking: float) -> tuple[list[str], float]:
    """The words on exactly `count` lines with the narrowest widest line, and its width in em (dynamic programming)."""
    total = len(words)
    infinite = float("inf")
    best = [[infinite] * (total + 1) for _ in range(count + 1)]
    cut = [[0] * (total + 1) for _ in range(count + 1)]
    best[0][0] = 0.0
    for end in range(1, total + 1):
        for start in range(end - 1, -1, -1):
            width = face.width("".join(words[start:end]).strip(" "), tracking)
            for line in range(1, count + 1):
                widest = max(best[line - 1][start], width)
                if widest < best[line][end]:
                    best[line][end], cut[line][end] = widest, start
    lines, end = [], total
    for line in range(count, 0, -1):
        start = cut[line][end]
        lines.append("".join(words[start:end]).strip(" "))
        end = start
    return lines[::-1], best[count][total]


def draw_line(face: Typeface, text: str, size: float, tracking: float = 0.0) -> tuple[npt.NDArray[np.float32], int]:
    """A line's cover, float32 (h, w), 0 to 1, and the row of its baseline; its first letter starts at column 0."""
    pens = face.pens(text, tracking)
    lead = face.bearings[face.glyphs[ord(text[0])]]
    up = int(np.ceil(max(face.ascent, 1.0) * size)) + 1
    down = int(np.ceil(max(face.descent, 0.3) * size)) + 1
    wide = int(np.ceil((pens[-1] - lead) * size)) + 2
    big = Image.new("L", (wide * _FINE, (up + down) * _FINE), 0)
    draw = ImageDraw.Draw(big)
    font = ImageFont.truetype(str(face.path), size * _FINE, layout_engine=ImageFont.Layout.BASIC)
    for character, pen in zip(text, pens, strict=False):
        draw.text((round((pen - lead) * size * _FINE), up * _FINE), character, fill=255, font=font, anchor="ls")
    return np.asarray(big.reduce(_FINE), dtype=np.float32) / np.float32(255), up
