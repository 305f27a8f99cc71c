"""Turns the words of a label, such as "AI-generated", into small type in a free corner of a picture, legible on what is there."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from contracts.errors import DataError
from generators.layout import Layout
from generators.products import PixelBox
from generators.typesetting.contrast import (
    DARK_INK,
    LEAST_CONTRAST,
    LIGHT_INK,
    Colour,
    FloatPicture,
    lay_plate,
    text_contrast,
)
from generators.typesetting.set_lines import Line, at_least
from generators.typesetting.typeface import Typeface, clean_text, draw_line, require_glyphs

NAME = "notice"
"""Of the label in a `TypesetReport`."""

_SIZE = 0.024  # of the picture's shorter side
_SIZES = (1.0, 0.85, 0.0)  # of it that are tried; the last one is the smallest that can be read
_PAD = 0.3  # kept clear around the letters, and filled by a plate, in sizes of the type
_MARGIN = 0.012  # from the edge of the picture, of its shorter side
_TARGET = 4.7  # so that rounding to bytes cannot fall below LEAST_CONTRAST


@dataclass(frozen=True)
class Notice:
    """A label in its place: its line, and what stays clear around it."""

    line: Line
    clear: PixelBox


@dataclass(frozen=True)
class SetNotice:
    """A picture, float32 (h, w, 3), with a label on it; its ink, and its contrast with the pixels behind it."""

    picture: FloatPicture
    ink: Colour
    contrast: float


def place_notice(
    words: str,
    layout: Layout,
    size: tuple[int, int],
    face: Typeface,
    taken: Sequence[PixelBox],
    shunned: Iterable[PixelBox] = (),
    *,
    where: str,
) -> Notice | None:
    """The label as near as can be to a corner, the lower right one first, clear of everything that stands on the picture.

    Args:
        words: of the label; blank: none is set.
        layout: the arrangement, with the part of the picture that is seen whole.
        size: width and height, pixels.
        face: the font.
        taken: what it may not touch: product, type, button, logo with its clear space.
        shunned: what it keeps out of where there is room elsewhere.
        where: names the creative in errors.

    Raises:
        DataError: there is no room at a legible size, or the font lacks characters, which are named.
    """
    text = clean_text(words)
    if not text:
        return None
    require_glyphs(face, text, name="AI label", where=where)
    for boxes in ([*taken, *shunned], list(taken)):
        for share in _SIZES:
            type_size = at_least(share * _SIZE * min(size))
            mask, _ = draw_line(face, text, type_size)
            drawn = Line(NAME, text, type_size, mask, 0, 0)
            pad = max(2, round(_PAD * type_size))
            wide, high = (drawn.box.right - drawn.box.left + 2 * pad, drawn.box.bottom - drawn.box.top + 2 * pad)
            corner = _nearest_free(wide, high, boxes, layout, size)
            if corner is not None:
                left, top = corner
                line = Line(NAME, text, type_size, mask, left + pad - drawn.box.left, top + pad - drawn.box.top)
                return Notice(line, PixelBox(left, top, left + wide, top + high))
    fix = "Write a shorter label in generators.ai_label, or choose a larger size."
    raise DataError(f'AI label has no room: "{text}"', where=where, fix=fix)


def _nearest_free(
    wide: int, high: int, taken: Iterable[PixelBox], layout: Layout, size: tuple[int, int]
) -> tuple[int, int] | None:
    """Left and top of the free rectangle nearest to a corner; None: there is none."""
    across, down = size
    margin = min(round(_MARGIN * min(size)), max((min(size) - high) // 2, 0))
    blocked = np.zeros((down + 1, across + 1), np.int64)
    for box in taken:
        blocked[1 + max(box.top, 0) : 1 + max(box.bottom, 0), 1 + max(box.left, 0) : 1 + max(box.right, 0)] = 1
    total = blocked.cumsum(axis=0).cumsum(axis=1)
    if wide > across or high > down:
        return None
    held = total[high:, wide:] - total[:-high, wide:] - total[high:, :-wide] + total[:-high, :-wide]
    tops, lefts = np.arange(held.shape[0])[:, None], np.arange(held.shape[1])[None]
    first, last = margin + round(layout.seen[0] * down), round(layout.seen[1] * down) - margin
    free = (held == 0) & (tops >= first) & (tops + high <= last) & (lefts >= margin) & (lefts + wide <= across - margin)
    if not free.any():
        return None
    below, right = last - high - tops, across - margin - wide - lefts
    ways = [below + right, below + lefts - margin, tops - first + right, tops - first + lefts - margin]
    far = np.minimum.reduce([way + rank * 0.02 * max(size) for rank, way in enumerate(ways)])
    top, left = np.unravel_index(int(np.where(free, far, np.inf).argmin()), free.shape)
    return int(left), int(top)


def set_notice(picture: FloatPicture, notice: Notice, inks: Sequence[Colour] = (LIGHT_INK, DARK_INK)) -> SetNotice:
    """Chooses the ink with the most contrast to the pixels there, and lays a plain plate behind it where that is too little.

    Returns:
        The picture without the letters themselves; the one given is not changed.
    """
    box = notice.line.box

    def best(ground: FloatPicture, among: Sequence[Colour]) -> tuple[float, Colour]:
        part = np.round(ground[box.top : box.bottom, box.left : box.right])
        return max(((text_contrast(part, ink), ink) for ink in among), key=lambda tried: tried[0])

    contrast, ink = best(picture, inks)
    if contrast >= _TARGET:
        return SetNotice(picture, ink, contrast)
    plates = {ink: DARK_INK if ink == LIGHT_INK else LIGHT_INK for ink in (LIGHT_INK, DARK_INK)}
    ink = best(picture, tuple(plates))[1]
    plated = lay_plate(picture, notice.clear, plates[ink])
    contrast, ink = best(plated, (ink,))
    assert contrast >= LEAST_CONTRAST
    return SetNotice(plated, ink, contrast)
