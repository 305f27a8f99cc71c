"""Turns an advertiser's words and a layout into placed lines of type and a button, or says which words do not fit."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from contracts.errors import DataError
from generators.layout import Align, Layout
from generators.products import PixelBox
from generators.typeface import Lines, Typeface, block_height, clean_text, draw_line, fit_text, require_glyphs

_LEADING = {"headline": 1.07, "body": 1.4}
_TRACKING = {"headline": -0.014, "wordmark": 0.004}
_GAP = 1.0  # from headline to body and from body to button, in sizes of the body
_BRAND_GAP = 0.75  # from a wordmark that leads the copy to the headline, in sizes of the wordmark
_PADDING = 0.8  # left and right of the label together, in heights of the button
_LEAST_PIXELS = 9.0  # no type is set smaller
_BODY_STEPS = 6  # sizes of the body that are tried
_SHORTER = "Shorten it, or choose a larger size or another layout."


@dataclass(frozen=True)
class Copy:
    """What the advertiser says. `colours` are "#rrggbb", the first one is the button's."""

    headline: str
    body: str
    call_to_action: str
    advertiser: str
    colours: tuple[str, ...] = ()


@dataclass(frozen=True)
class Line:
    """One line of type, drawn: `mask` float32 (h, w), 0 to 1, with its upper left corner at (x, y) of the picture."""

    name: str
    text: str
    size: float
    mask: npt.NDArray[np.float32]
    x: int
    y: int

    @property
    def box(self) -> PixelBox:
        """The smallest rectangle around its ink."""
        rows, columns = np.flatnonzero(self.mask.any(axis=1)), np.flatnonzero(self.mask.any(axis=0))
        if not len(rows):
            return PixelBox(self.x, self.y, self.x + 1, self.y + 1)
        left, top = self.x + int(columns[0]), self.y + int(rows[0])
        return PixelBox(left, top, self.x + int(columns[-1]) + 1, self.y + int(rows[-1]) + 1)


@dataclass(frozen=True)
class Plan:
    """All type in its place. `lines` stand on the picture, `label` on the button; None and empty where not set."""

    lines: tuple[Line, ...]
    label: Line | None
    button: PixelBox | None

    def boxes(self) -> dict[str, PixelBox]:
        """The ink of wordmark, headline and body, by name: what the picture has to carry."""
        names = dict.fromkeys(line.name for line in self.lines)
        return {name: union(line.box for line in self.lines if line.name == name) for name in names}

    def line_boxes(self) -> dict[str, PixelBox]:
        """The ink of every line on the picture, by the name of its text and its number: each has to be legible."""
        return {f"{line.name} {number}": line.box for number, line in enumerate(self.lines)}


def union(boxes: Iterable[PixelBox]) -> PixelBox:
    """The smallest rectangle around all of them."""
    many = list(boxes)
    return PixelBox(
        min(box.left for box in many),
        min(box.top for box in many),
        max(box.right for box in many),
        max(box.bottom for box in many),
    )


def plan_type(copy: Copy, layout: Layout, size: tuple[int, int], display: Typeface, text: Typeface, where: str) -> Plan:
    """Places every word for a picture of `size` (width, height); `where` names the concept in errors.

    Raises:
        DataError: the headline is blank, a text does not fit at the smallest legible size, or a character is missing.
    """
    words = {
        "wordmark": (display, clean_text(copy.advertiser)),
        "headline": (display, clean_text(copy.headline)),
        "body": (text, clean_text(copy.body) if layout.scale.body_lines else ""),
        "call to action": (display, clean_text(copy.call_to_action)),
    }
    if not words["headline"][1]:
        raise DataError("headline is blank", where=where, fix="Write one.")
    for name, (face, string) in words.items():
        require_glyphs(face, string, name=name, where=where)
    call = words["call to action"][1]
    pressed = _fit_button(call, layout, size, display, where) if call else None
    column = _column(layout, size, pressed)
    brand = _fit_wordmark(words["wordmark"][1], layout, size, column, display, where)
    gap = 1.2 * _GAP * layout.scale.body * min(size)
    below = pressed.tall + gap if pressed is not None and layout.button.bottom is None else 0.0
    area, leads = layout.text, layout.text.brand_top is None and brand is not None
    above = block_height(display, 1, 1.0) * brand.size + _BRAND_GAP * brand.size if brand is not None and leads else 0.0
    room = (area.bottom - area.top) * size[1] - below - above
    story = _fit_story(words["headline"][1], words["body"][1], layout, size, column, display, text, room, where)
    top = area.top * size[1]
    if area.brand_top is None:
        top += (room - story.tall) / 2
    lines: list[Line] = []
    if brand is not None:
        start = top if area.brand_top is None else area.brand_top * size[1]
        lines += _set("wordmark", brand, display, column, start)
    lines += _set("headline", story.headline, display, column, top + above)
    if story.body is not None:
        lines += _set("body", story.body, text, column, top + above + story.body_at)
    if pressed is None:
        return Plan(tuple(lines), None, None)
    button = _button_box(pressed, layout, size, top + above + story.tall + gap)
    return Plan(tuple(lines), _label(pressed.label, button, display), button)


@dataclass(frozen=True)
class _Column:
    """Where lines begin and how wide they may be, pixels, and how they are aligned in it."""

    left: float
    width: float
    align: Align


@dataclass(frozen=True)
class _Button:
    """The size of the button in pixels, and its label."""

    wide: int
    tall: int
    label: Lines


@dataclass(frozen=True)
class _Story:
    """Headline and body, fitted; pixels from the top of the headline to the top of the body and to the end."""

    headline: Lines
    body: Lines | None
    body_at: float
    tall: float


def _column(layout: Layout, size: tuple[int, int], pressed: _Button | None) -> _Column:
    area = layout.text
    left = area.left * size[0]
    if area.width is not None:
        return _Column(left, area.width * size[0], area.align)
    gap = max(0.16 * min(size), 0.02 * size[0])
    end = layout.button.x * size[0] - (pressed.wide + gap if pressed is not None else 0.0)
    return _Column(left, end - left, area.align)


def _fit_wordmark(
    string: str, layout: Layout, size: tuple[int, int], column: _Column, face: Typeface, where: str
) -> Lines | None:
    if not string:
        return None
    unit, scale = min(size), layout.scale
    fitted = fit_text(
        face, string, width=column.width, height=float(unit), most_lines=1,
        largest=_at_least(scale.wordmark * unit), smallest=_at_least(scale.wordmark_least * unit),
        leading=1.0, tracking=_TRACKING["wordmark"],
    )  # fmt: skip
    if fitted is None:
        raise _too_long("advertiser's name", string, where)
    return fitted


def _fit_story(
    headline: str, body: str, layout: Layout, size: tuple[int, int], column: _Column, display: Typeface,
    text: Typeface, room: float, where: str,
) -> _Story:  # fmt: skip
    """Headline and body in `room` pixels of height.

    The body keeps its full size as long as the headline stays as large as the layout wishes; then it gives way, and
    where the layout allows it, it goes.
    """
    unit, scale = min(size), layout.scale
    gap = _GAP * scale.body * unit
    best: _Story | None = None
    for share in np.linspace(scale.body, scale.body_least, _BODY_STEPS) if body else ():
        fitted = _fit_body(body, layout, size, column, text, room, float(share))
        if fitted is None:
            continue
        tall = _tall(text, fitted, "body")
        head = _fit_headline(headline, layout, size, column, display, room - tall - gap)
        if head is not None and (best is None or head.size > best.headline.size * 1.02):
            under = _tall(display, head, "headline") + gap
            best = _Story(head, fitted, under, under + tall)
        if best is not None and best.headline.size >= scale.headline_wish * unit:
            return best
    if best is not None and not scale.body_may_go:
        return best
    alone = _fit_headline(headline, layout, size, column, display, room)
    if alone is None:
        raise _too_long("headline", headline, where)
    if body and not scale.body_may_go:
        raise _too_long("body", body, where)
    if best is not None and alone.size < best.headline.size * 1.1:
        return best
    tall = _tall(display, alone, "headline")
    return _Story(alone, None, tall, tall)


def _fit_headline(
    string: str, layout: Layout, size: tuple[int, int], column: _Column, face: Typeface, room: float
) -> Lines | None:
    unit, scale = min(size), layout.scale
    return fit_text(
        face, string, width=column.width, height=room, most_lines=scale.headline_lines,
        largest=_at_least(scale.headline * unit), smallest=_at_least(scale.headline_least * unit),
        leading=_LEADING["headline"], tracking=_TRACKING["headline"],
    )  # fmt: skip


def _fit_body(
    string: str, layout: Layout, size: tuple[int, int], column: _Column, face: Typeface, room: float, share: float
) -> Lines | None:
    unit, scale = min(size), layout.scale
    wanted = _at_least(share * unit)
    return fit_text(
        face, string, width=min(column.width, 26 * wanted), height=room, most_lines=scale.body_lines,
        largest=wanted, smallest=wanted * 0.999, leading=_LEADING["body"],
    )  # fmt: skip


def _at_least(size: float) -> float:
    return max(size, _LEAST_PIXELS)


def _tall(face: Typeface, fitted: Lines, name: str) -> float:
    return block_height(face, len(fitted.lines), _LEADING[name]) * fitted.size


def _set(name: str, fitted: Lines, face: Typeface, column: _Column, top: float) -> list[Line]:
    """Draws the lines of a block whose capitals begin at row `top`, aligned as the column says."""
    tracking = _TRACKING.get(name, 0.0)
    lines = []
    for index, string in enumerate(fitted.lines):
        mask, ascent = draw_line(face, string, fitted.size, tracking)
        baseline = top + (face.cap_height + index * _LEADING.get(name, 1.0)) * fitted.size
        spare = column.width - face.width(string, tracking) * fitted.size
        x = column.left + spare * {"left": 0.0, "centre": 0.5, "right": 1.0}[column.align]
        lines.append(Line(name, string, fitted.size, mask, round(x), round(baseline) - ascent))
    return lines


def _fit_button(string: str, layout: Layout, size: tuple[int, int], face: Typeface, where: str) -> _Button:
    unit, scale, place = min(size), layout.scale, layout.button
    tall = round(place.height * unit)
    most = place.most_width * size[0]
    fitted = fit_text(
        face, string, width=most - _PADDING * tall, height=float(tall), most_lines=1,
        largest=_at_least(scale.label * unit), smallest=_at_least(scale.label_least * unit), leading=1.0,
    )  # fmt: skip
    if fitted is None:
        raise _too_long("call to action", string, where)
    wide = face.width(string) * fitted.size + _PADDING * tall
    return _Button(round(min(most, max(wide, 2.2 * tall, place.least_width * size[0]))), tall, fitted)


def _button_box(button: _Button, layout: Layout, size: tuple[int, int], below: float) -> PixelBox:
    place = layout.button
    top = round(below) if place.bottom is None else round(place.bottom * size[1]) - button.tall
    left = round(place.x * size[0] - button.wide * {"left": 0.0, "centre": 0.5, "right": 1.0}[place.anchor])
    return PixelBox(left, top, left + button.wide, top + button.tall)


def _label(fitted: Lines, button: PixelBox, face: Typeface) -> Line:
    mask, ascent = draw_line(face, fitted.lines[0], fitted.size)
    x = (button.left + button.right - face.width(fitted.lines[0]) * fitted.size) / 2
    baseline = (button.top + button.bottom + face.cap_height * fitted.size) / 2
    return Line("label", fitted.lines[0], fitted.size, mask, round(x), round(baseline) - ascent)


def _too_long(name: str, string: str, where: str) -> DataError:
    shown = string if len(string) <= 60 else string[:57] + "..."
    return DataError(f'{name} does not fit at a legible size: "{shown}"', where=where, fix=_SHORTER)
