"""Turns fitted lines into drawn ones, each with its pixels and its place in the picture."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from contracts.errors import DataError
from generators.layout import Align
from generators.products import PixelBox
from generators.typesetting.line_breaking import Lines
from generators.typesetting.typeface import Typeface, draw_line

TRACKING = {"headline": -0.014, "wordmark": 0.004}
"""Extra space between letters, em."""

SHARE = {"left": 0.0, "centre": 0.5, "right": 1.0}
"""Of the spare width, what is left of a line that is so aligned."""

_LEAST_PIXELS = 9.0  # no type is set smaller


@dataclass(frozen=True)
class Line:
    """One line of type, drawn: `mask` float32 (h, w), 0 to 1, with its upper left corner at (x, y) of the picture."""

    name: str
    text: str
    size: float
    mask: npt.NDArray[np.float32]
    x: int
    y: int

    @cached_property
    def box(self) -> PixelBox:
        """The smallest rectangle around its ink."""
        rows, columns = np.flatnonzero(self.mask.any(axis=1)), np.flatnonzero(self.mask.any(axis=0))
        if not len(rows):
            return PixelBox(self.x, self.y, self.x + 1, self.y + 1)
        left, top = self.x + int(columns[0]), self.y + int(rows[0])
        return PixelBox(left, top, self.x + int(columns[-1]) + 1, self.y + int(rows[-1]) + 1)


@dataclass(frozen=True)
class Column:
    """Where lines begin and how wide they may be, pixels, and how they are aligned in it."""

    left: float
    width: float
    align: Align


def set_lines(name: str, fitted: Lines, face: Typeface, column: Column, top: float) -> list[Line]:
    """Draws the lines of a block whose capitals begin at row `top`, aligned as the column says."""
    tracking = TRACKING.get(name, 0.0)
    lines = []
    for number, string in enumerate(fitted.lines):
        mask, ascent = draw_line(face, string, fitted.size, tracking)
        spare = column.width - face.width(string, tracking) * fitted.size
        x = column.left + spare * SHARE[column.align]
        lines.append(Line(name, string, fitted.size, mask, round(x), round(top + fitted.baseline(number)) - ascent))
    return lines


def union(boxes: Iterable[PixelBox]) -> PixelBox:
    """The smallest rectangle around all of them."""
    many = list(boxes)
    return PixelBox(
        min(box.left for box in many),
        min(box.top for box in many),
        max(box.right for box in many),
        max(box.bottom for box in many),
    )


def at_least(size: float) -> float:
    """The type size in pixels, but no smaller than can be read."""
    return max(size, _LEAST_PIXELS)


def too_long(name: str, string: str, where: str) -> DataError:
    """What is said of a text for which there is no room."""
    shown = string if len(string) <= 60 else string[:57] + "..."
    fix = "Shorten it, or choose a larger size or another layout."
    return DataError(f'{name} does not fit at a legible size: "{shown}"', where=where, fix=fix)
