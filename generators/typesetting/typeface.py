"""Turns a font file and a text into measures and pixels; the same on every machine with the same fonts.

Scripts that are set letter by letter (Latin, Greek, Cyrillic, Chinese, Japanese, Korean) take the font's own advances
and its kern table, glyph by glyph, so no text-layout engine of the system has a say. Scripts that join or reorder letters or run
from right to left are shaped by HarfBuzz and FriBiDi through Pillow's raqm; where that is missing they are refused.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
from fontTools.ttLib import TTFont, TTLibError
from PIL import Image, ImageDraw, ImageFont, features

from contracts.errors import DataError, SettingsError

FONTS = Path(__file__).parent / "fonts"
DISPLAY_FONT = FONTS / "InterDisplay-Bold.ttf"
TEXT_FONT = FONTS / "Inter-Medium.ttf"

_FINE = 4  # drawn this much larger, then averaged down
_TRIED = 400  # pixels of an em at which shaped text is measured
_DESCENT = 0.22  # em left below a baseline for descenders
_JOINERS = "\u200c\u200d\u200e\u200f"  # steer shaping and direction, and show nothing


@dataclass(frozen=True)
class Extent:
    """How far a text reaches above and below its baseline, and where its middle is for the eye, above it; em."""

    top: float
    bottom: float
    middle: float


@dataclass(frozen=True, eq=False)
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
        """Length of a line in em, without the white before its first letter. Shaped text is not tracked."""
        if not text:
            return 0.0
        if needs_shaping(text):
            left, _, right, _ = _shaped_box(self.path, text)
            return (right - left) / _TRIED
        return self.pens(text, tracking)[-1] - self.bearings[self.glyphs[ord(text[0])]]

    def extent(self, text: str) -> Extent:
        """From the top of the capitals to the descenders; by the ink where a script knows no capitals."""
        if not needs_shaping(text) and not any(is_wide(character) for character in text):
            return Extent(self.cap_height, _DESCENT, self.cap_height / 2)
        _, up, _, down = _shaped_box(self.path, text)
        top, bottom = max(-up / _TRIED, self.cap_height), max(down / _TRIED, 0.08)
        return Extent(top, bottom, (top - bottom) / 2)

    def overshoot(self, text: str) -> float:
        """How far accents and ascenders reach above `extent`'s top, em."""
        return max(0.0, -_shaped_box(self.path, text)[1] / _TRIED - self.extent(text).top)


@lru_cache(maxsize=16_384)
def _shaped_box(path: Path, text: str) -> tuple[float, float, float, float]:
    """Left, top, right and bottom of the ink around the pen's start on the baseline, at an em of _TRIED pixels."""
    return _font(path, _TRIED, text).getbbox(text, anchor="ls", direction=_direction(text))


def _font(path: Path, size: float, text: str) -> ImageFont.FreeTypeFont:
    engine = ImageFont.Layout.RAQM if needs_shaping(text) else ImageFont.Layout.BASIC
    return ImageFont.truetype(str(path), size, layout_engine=engine)


def _direction(text: str) -> str | None:
    if not needs_shaping(text):
        return None
    return "rtl" if runs_from_right(text) else "ltr"


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
    """Composed (NFC), on one line, single spaces, without control and format characters but those that steer shaping."""
    composed = unicodedata.normalize("NFC", text)
    spaced = "".join(" " if character in "\t\n\r\v\f\u2028\u2029" else character for character in composed)
    kept_joiners = _JOINERS if needs_shaping(spaced) else ""
    kept = "".join(
        character
        for character in spaced
        if character in kept_joiners or unicodedata.category(character) not in ("Cc", "Cf")
    )
    return " ".join(part for part in kept.split(" ") if part)


def require_glyphs(face: Typeface, text: str, *, name: str, where: str) -> None:
    """Raises DataError naming every character of the `name` text that the font cannot set."""
    fix = "Name a font that has them with the setting generators.font_path or in brands.toml, or change the text."
    missing = [character for character in text if ord(character) not in face.glyphs and character not in _JOINERS]
    missing = list(dict.fromkeys(missing))
    if missing:
        listed = " ".join(f"{character} (U+{ord(character):04X})" for character in missing[:12])
        more = f" and {len(missing) - 12} more" if len(missing) > 12 else ""
        raise DataError(f"{name} has characters that {face.path.name} lacks: {listed}{more}", where=where, fix=fix)
    if needs_shaping(text) and not features.check("raqm"):
        first = next(character for character in text if _is_shaped(character))
        script = unicodedata.name(first, "unknown").split(" ")[0].capitalize()
        raise DataError(
            f"{name} is in a script that needs shaping ({script}), and Pillow finds no FriBiDi here to do it with",
            where=where,
            fix="Install FriBiDi (on Debian and Ubuntu the package libfribidi0), or change the text.",
        )


def needs_shaping(text: str) -> bool:
    """Whether letters of it join, stack or run from right to left."""
    return any(_is_shaped(character) for character in text)


@lru_cache(maxsize=4096)
def _is_shaped(character: str) -> bool:
    return unicodedata.bidirectional(character) in ("R", "AL") or unicodedata.category(character) in ("Mn", "Mc")


def runs_from_right(text: str) -> bool:
    """Whether its first letter with a direction runs from right to left (Unicode Standard Annex 9, rules P2 and P3)."""
    kinds = (unicodedata.bidirectional(character) for character in text)
    return next((kind != "L" for kind in kinds if kind in ("L", "R", "AL")), False)


def is_wide(character: str) -> bool:
    """Whether it fills a square, as Chinese, Japanese and Korean characters do."""
    return unicodedata.east_asian_width(character) in ("W", "F")


def draw_line(face: Typeface, text: str, size: float, tracking: float = 0.0) -> tuple[npt.NDArray[np.float32], int]:
    """A line's cover, float32 (h, w), 0 to 1, and the row of its baseline; its first letter starts at column 0."""
    extent = face.extent(text)
    up = int(np.ceil(max(face.ascent, extent.top, 1.0) * size)) + 1
    down = int(np.ceil(max(face.descent, extent.bottom, 0.3) * size)) + 1
    wide = int(np.ceil(face.width(text, tracking) * size)) + 2
    big = Image.new("L", (wide * _FINE, (up + down) * _FINE), 0)
    draw, font = ImageDraw.Draw(big), _font(face.path, size * _FINE, text)
    if needs_shaping(text):
        lead = _shaped_box(face.path, text)[0] / _TRIED
        parts = [(text, 0.0)]
    else:
        lead = face.bearings[face.glyphs[ord(text[0])]]
        parts = list(zip(text, face.pens(text, tracking), strict=False))
    for part, pen in parts:
        at = (round((pen - lead) * size * _FINE), up * _FINE)
        draw.text(at, part, fill=255, font=font, anchor="ls", direction=_direction(text))
    return np.asarray(big.reduce(_FINE), dtype=np.float32) / np.float32(255), up
