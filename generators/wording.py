"""Turns an advertiser's words and a layout into placed lines of type and a button, or says which words do not fit."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from contracts.errors import DataError
from generators.layout import Layout
from generators.products import PixelBox
from generators.typeface import Lines, Typeface, block_height, clean_text, draw_line, fit_text, require_glyphs

_LEADING = {"headline": 1.07, "body": 1.4}
_TRACKING = {"headline": -0.014, "wordmark": 0.004}
_GAP = 1.0  # from headline to body and from body to button, in sizes of the body
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
        "body": (text, clean_text(copy.body)),
        "call to action": (display, clean_text(copy.call_to_action)),
    }
    if not words["headline"][1]:
        raise DataError("headline is blank", where=where, fix="Write one.")
    for name, (face, string) in words.items():
        require_glyphs(face, string, name=name, where=where)
    lines: list[Line] = []
    if words["wordmark"][1]:
        lines += _wordmark(words["wordmark"][1], layout, size, display, where)
    label, button, above = None, None, 0.0
    gap = 1.2 * _GAP * layout.scale.body * min(size)
    follows = layout.button.bottom is None
    if words["call to action"][1]:
        wide, tall, fitted = _button_size(words["call to action"][1], layout, size, display, where)
        above = (tall + gap) if follows else 0.0
    headline, body, bottom = _story(words["headline"][1], words["body"][1], layout, size, display, text, above, where)
    lines += headline + body
    if words["call to action"][1]:
        button = _button_box(wide, tall, layout, size, bottom + gap)
        label = _label(fitted, button, display)
    return Plan(tuple(lines), label, button)


def _wordmark(string: str, layout: Layout, size: tuple[int, int], face: Typeface, where: str) -> list[Line]:
    unit, scale, area = min(size), layout.scale, layout.text
    fitted = fit_text(
        face, string, width=area.width * size[0], height=float(unit), most_lines=1,
        largest=_at_least(scale.wordmark * unit), smallest=_at_least(scale.wordmark_least * unit),
        leading=1.0, tracking=_TRACKING["wordmark"],
    )  # fmt: skip
    if fitted is None:
        raise _too_long("advertiser's name", string, where)
    return _set("wordmark", fitted, face, layout, size, area.wordmark_top * size[1])


def _story(
    headline: str, body: str, layout: Layout, size: tuple[int, int], display: Typeface, text: Typeface, below: float,
    where: str,
) -> tuple[list[Line], list[Line], float]:  # fmt: skip
    """Headline and body in the text area less `below` pixels, and the row where they end.

    The body keeps its full size as long as the headline stays as large as the layout wishes; then it gives way.
    """
    unit, scale, area = min(size), layout.scale, layout.text
    room = (area.bottom - area.top) * size[1] - below
    gap = _GAP * scale.body * unit if body else 0.0
    best: tuple[Lines, Lines | None, float] | None = None
    for share in np.linspace(scale.body, scale.body_least, _BODY_STEPS):
        fitted = _fit_body(body, layout, size, text, room, float(share)) if body else None
        if body and fitted is None:
            continue
        tall = _tall(text, fitted, "body") if fitted else 0.0
        head = _fit_headline(headline, layout, size, display, room - tall - gap)
        if head is not None and (best is None or head.size > best[0].size * 1.02):
            best = (head, fitted, tall)
        if best is not None and best[0].size >= scale.headline_wish * unit:
            break
    if best is None:
        alone = _fit_headline(headline, layout, size, display, room)
        raise _too_long("headline", headline, where) if alone is None else _too_long("body", body, where)
    head, fitted, tall = best
    top = area.top * size[1]
    under = top + _tall(display, head, "headline") + gap
    lines = _set("headline", head, display, layout, size, top)
    return lines, _set("body", fitted, text, layout, size, under) if fitted else [], under + tall


def _fit_headline(string: str, layout: Layout, size: tuple[int, int], face: Typeface, room: float) -> Lines | None:
    unit, scale = min(size), layout.scale
    return fit_text(
        face, string, width=layout.text.width * size[0], height=room, most_lines=scale.headline_lines,
        largest=_at_least(scale.headline * unit), smallest=_at_least(scale.headline_least * unit),
        leading=_LEADING["headline"], tracking=_TRACKING["headline"],
    )  # fmt: skip


def _fit_body(
    string: str, layout: Layout, size: tuple[int, int], face: Typeface, room: float, share: float
) -> Lines | None:
    unit, scale = min(size), layout.scale
    wanted = _at_least(share * unit)
    return fit_text(
        face, string, width=min(layout.text.width * size[0], 26 * wanted), height=room, most_lines=scale.body_lines,
        largest=wanted, smallest=wanted * 0.999, leading=_LEADING["body"],
    )  # fmt: skip


def _at_least(size: float) -> float:
    return max(size, _LEAST_PIXELS)


def _tall(face: Typeface, fitted: Lines, name: str) -> float:
    return block_height(face, len(fitted.lines), _LEADING[name]) * fitted.size


def _set(name: str, fitted: Lines, face: Typeface, layout: Layout, size: tuple[int, int], top: float) -> list[Line]:
    """Draws the lines of a block whose capitals begin at row `top`, aligned as the layout says."""
    area, tracking = layout.text, _TRACKING.get(name, 0.0)
    lines = []
    for index, string in enumerate(fitted.lines):
        mask, ascent = draw_line(face, string, fitted.size, tracking)
        baseline = top + (face.cap_height + index * _LEADING.get(name, 1.0)) * fitted.size
        x = area.left * size[0]
        if area.align == "centre":
            x += (area.width * size[0] - face.width(string, tracking) * fitted.size) / 2
        lines.append(Line(name, string, fitted.size, mask, round(x), round(baseline) - ascent))
    return lines


def _button_size(
    string: str, layout: Layout, size: tuple[int, int], face: Typeface, where: str
) -> tuple[int, int, Lines]:
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
    return round(min(most, max(wide, 2.2 * tall))), tall, fitted


def _button_box(wide: int, tall: int, layout: Layout, size: tuple[int, int], below: float) -> PixelBox:
    place = layout.button
    top = round(below) if place.bottom is None else round(place.bottom * size[1]) - tall
    left = place.left * size[0] - (wide / 2 if layout.text.align == "centre" else 0)
    return PixelBox(round(left), top, round(left) + wide, top + tall)


def _label(fitted: Lines, button: PixelBox, face: Typeface) -> Line:
    mask, ascent = draw_line(face, fitted.lines[0], fitted.size)
    x = (button.left + button.right - face.width(fitted.lines[0]) * fitted.size) / 2
    baseline = (button.top + button.bottom + face.cap_height * fitted.size) / 2
    return Line("label", fitted.lines[0], fitted.size, mask, round(x), round(baseline) - ascent)


def _too_long(name: str, string: str, where: str) -> DataError:
    shown = string if len(string) <= 60 else string[:57] + "..."
    return DataError(f'{name} does not fit at a legible size: "{shown}"', where=where, fix=_SHORTER)
