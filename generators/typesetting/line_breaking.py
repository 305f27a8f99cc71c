"""Turns a text into balanced lines at the largest size that fits, broken only where its script allows.

Spaces part words. Chinese and Japanese break between any two characters but for these (kinsoku; JIS X 4051, and W3C,
"Requirements for Japanese Text Layout", 3.1.7 and 3.1.8): no line starts with closing marks, stops, small kana or marks
that belong to what is before them, none ends with an opening mark or a sign before a number, and dashes and ellipses
stay whole. Korean breaks at its spaces.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from generators.typesetting.typeface import Extent, Typeface, is_wide, needs_shaping

_AIR = 0.09  # em between the ink of two lines, at least
_FEWER_LINES = 0.95  # fewer lines win if the type is at least this share of the largest possible

NEVER_FIRST = frozenset(
    "、。，．・：；？！‼⁇⁈⁉｡､･,.:;?!…‥"  # stops
    "」』）】〉》〕］｝〙〗｠»›”’)]}｣"  # closing marks
    "ぁぃぅぇぉっゃゅょゎゕゖァィゥェォッャュョヮヵヶㇰㇱㇲㇳㇴㇵㇶㇷㇸㇹㇺㇻㇼㇽㇾㇿｧｨｩｪｫｬｭｮｯ"  # small kana
    "ー々〻ゝゞヽヾ゛゜ｰﾞﾟ〜～゠–‐"  # repeat what is before them, or lengthen it
    "％‰℃°′″％¢%"  # units
)
"""Characters that no line starts with."""

NEVER_LAST = frozenset("「『（【〈《〔［｛〘〖｟«‹“‘([{｢￥＄￡＃＠№¥$£€#")
"""Characters that no line ends with."""

_WHOLE = frozenset("…‥—―")  # two of a kind stay together


@dataclass(frozen=True)
class Lines:
    """A text broken into lines at a type size in pixels; `leading` is the distance of baselines, em."""

    lines: tuple[str, ...]
    size: float
    leading: float
    extent: Extent

    @property
    def tall(self) -> float:
        """From the top of the capitals of the first line to the descenders of the last, pixels."""
        return (self.extent.top + (len(self.lines) - 1) * self.leading + self.extent.bottom) * self.size

    def baseline(self, number: int) -> float:
        """Of a line, pixels below the top."""
        return (self.extent.top + number * self.leading) * self.size


def fit_text(
    face: Typeface, text: str, *, width: float, height: float, most_lines: int, largest: float, smallest: float,
    leading: float, tracking: float = 0.0,
) -> Lines | None:  # fmt: skip
    """The text as large as width and height (pixels) allow, its lines balanced, or None if `smallest` is too large.

    For every number of lines the break whose widest line is narrowest is found exactly; the size then follows, since
    widths grow in proportion to it. `leading` is the least distance of baselines (scripts taller than Latin get more),
    and `tracking` the extra space, in em.
    """
    extent = face.extent(text)
    leading = max(leading, extent.top + extent.bottom + _AIR)
    options: list[Lines] = []
    for lines, widest in breaks(face, text, tracking, most_lines):
        tall = extent.top + (len(lines) - 1) * leading + extent.bottom
        size = min(largest, width / widest if widest > 0 else largest, height / tall)
        options.append(Lines(lines, size, leading, extent))
    best = max((option.size for option in options), default=0.0)
    if best < smallest:
        return None
    return next(option for option in options if option.size >= max(smallest, _FEWER_LINES * best))


def pieces(text: str) -> list[str]:
    """What must not be broken, in order, each with the space that follows it; joined they are the text."""
    found: list[str] = []
    start = 0
    for at in range(1, len(text)):
        before, after = text[at - 1], text[at]
        if _may_break(before, after):
            found.append(text[start:at])
            start = at
    return [*found, text[start:]]


def _may_break(before: str, after: str) -> bool:
    if after == " " or (after in NEVER_FIRST and before == " " and not after.isascii()):
        return False
    if before == " ":
        return after not in "?!:;»%"  # set off by a space in French
    if not (_stands_alone(before) or _stands_alone(after)):
        return False
    return not (after in NEVER_FIRST or before in NEVER_LAST or (before == after and before in _WHOLE))


def _stands_alone(character: str) -> bool:
    """Whether a line may be broken before and after it: a wide character that is not Korean."""
    return is_wide(character) and not "\u1100" <= character <= "\u11ff" and not "\uac00" <= character <= "\ud7a3"


@lru_cache(maxsize=1024)
def breaks(face: Typeface, text: str, tracking: float, most_lines: int) -> list[tuple[tuple[str, ...], float]]:
    """For 1, 2 and more lines: the break with the narrowest widest line, and its width in em (dynamic programming)."""
    words = pieces(text)
    total, infinite = len(words), float("inf")
    most = min(most_lines, total)
    measure = _Measure(face, text, words, tracking)
    best = [[infinite] * (total + 1) for _ in range(most + 1)]
    cut = [[0] * (total + 1) for _ in range(most + 1)]
    best[0][0] = 0.0
    for end in range(1, total + 1):
        for start in range(end - 1, -1, -1):
            width = measure(start, end)
            for line in range(1, most + 1):
                widest = max(best[line - 1][start], width)
                if widest < best[line][end]:
                    best[line][end], cut[line][end] = widest, start
    return [(_lines(words, cut, count), best[count][total]) for count in range(1, most + 1)]


def _lines(words: list[str], cut: list[list[int]], count: int) -> tuple[str, ...]:
    lines, end = [], len(words)
    for line in range(count, 0, -1):
        start = cut[line][end]
        lines.append("".join(words[start:end]).strip(" "))
        end = start
    return tuple(lines[::-1])


class _Measure:
    """The width in em of the line that words from one number to another make."""

    def __init__(self, face: Typeface, text: str, words: list[str], tracking: float) -> None:
        self._face, self._words, self._tracking = face, words, tracking
        self._shaped = needs_shaping(text)
        self._starts = [0]
        for word in words:
            self._starts.append(self._starts[-1] + len(word))
        self._text = text
        self._pens = [] if self._shaped else face.pens(text, tracking)

    def __call__(self, start: int, end: int) -> float:
        first, last = self._starts[start], self._starts[end]
        while last > first and self._text[last - 1] == " ":
            last -= 1
        if self._shaped:
            return self._face.width(self._text[first:last])
        if last == first:
            return 0.0
        glyphs, face = self._face.glyphs, self._face
        ends = self._pens[last - 1] + face.advances[glyphs[ord(self._text[last - 1])]]
        return ends - self._pens[first] - face.bearings[glyphs[ord(self._text[first])]]
