"""Fonts of plain boxes, built in a moment: for scripts that the shipped fonts lack."""

from __future__ import annotations

from pathlib import Path

from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen

EM = 1000


def write_box_font(path: Path, characters: str) -> Path:
    """A TrueType font in which every character is a frame; those of ASCII are half an em wide, the others a whole."""
    names = {ord(character): f"u{ord(character):05X}" for character in sorted({*characters, " "})}
    order = [".notdef", *names.values()]
    widths = {name: EM // 2 if code < 128 else EM for code, name in names.items()} | {".notdef": EM}
    drawn = {name: _frame(widths[name], empty=name == names[32]) for name in order}
    builder = FontBuilder(EM, isTTF=True)
    builder.setupGlyphOrder(order)
    builder.setupCharacterMap(names)
    builder.setupGlyf(drawn)
    builder.setupHorizontalMetrics({name: (widths[name], 60) for name in order})
    builder.setupHorizontalHeader(ascent=880, descent=-120)
    builder.setupNameTable({"familyName": "Boxes", "styleName": "Regular"})
    builder.setupOS2(sCapHeight=700, sTypoAscender=880, sTypoDescender=-120)
    builder.setupPost()
    builder.save(path)
    return path


def _frame(width: int, *, empty: bool) -> object:
    pen = TTGlyphPen(None)
    if not empty:
        for inset, turn in ((60, 1), (160, -1)):
            corners = [
                (inset, inset - 120),
                (inset, 860 - inset),
                (width - inset, 860 - inset),
                (width - inset, inset - 120),
            ]
            corners = corners[::turn]
            pen.moveTo(corners[0])
            for corner in corners[1:]:
                pen.lineTo(corner)
            pen.closePath()
    return pen.glyph()
