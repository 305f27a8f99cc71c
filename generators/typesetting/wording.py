"""Turns an advertiser's words and a layout into placed lines of type and a button, or says which words do not fit."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from contracts.errors import DataError
from generators.layout import Align, Layout
from generators.products import PixelBox
from generators.typesetting.line_breaking import Lines, fit_text
from generators.typesetting.masthead import Logo, LogoPlace, fit_masthead, with_clear_sides
from generators.typesetting.set_lines import SHARE, TRACKING, Column, Line, at_least, set_lines, too_long, union
from generators.typesetting.typeface import Typeface, clean_text, draw_line, require_glyphs, runs_from_right

_LEADING = {"headline": 1.07, "body": 1.4}
_GAP = 1.0  # from headline to body, in sizes of the body
_PADDING = 0.8  # left and right of the label together, in heights of the button
_BODY_STEPS = 6  # sizes of the body that are tried
_MIRRORED: dict[Align, Align] = {"left": "right", "centre": "centre", "right": "left"}


@dataclass(frozen=True)
class Copy:
    """What the advertiser says. `colours` are "#rrggbb", the first one is the button's; `notice` is the label that says that a
    model drew it, empty: there is none.
    """

    headline: str
    body: str
    call_to_action: str
    advertiser: str
    colours: tuple[str, ...] = ()
    notice: str = ""


@dataclass(frozen=True)
class Plan:
    """All type in its place. `lines` stand on the picture, `label` on the button; None and empty where not set."""

    lines: tuple[Line, ...]
    label: Line | None
    button: PixelBox | None
    logo: LogoPlace | None = None

    def boxes(self) -> dict[str, PixelBox]:
        """The ink of wordmark, headline and body, by name: what the picture has to carry."""
        names = dict.fromkeys(line.name for line in self.lines)
        return {name: union(line.box for line in self.lines if line.name == name) for name in names}

    def line_boxes(self) -> dict[str, PixelBox]:
        """The ink of every line on the picture, by the name of its text and its number: each has to be legible."""
        return {f"{line.name} {number}": line.box for number, line in enumerate(self.lines)}


def plan_type(
    copy: Copy, layout: Layout, size: tuple[int, int], display: Typeface, text: Typeface, where: str,
    logo: Logo | None = None,
) -> Plan:  # fmt: skip
    """Places every word, and the logo instead of the advertiser's name, for a picture of `size` (width, height).

    Where the headline runs from right to left, the copy is aligned at the other side. `where` names the concept in errors.

    Raises:
        DataError: the headline is blank, a text does not fit at the smallest legible size, or a character is missing.
    """
    words = {
        "wordmark": (display, clean_text(copy.advertiser) if logo is None else ""),
        "headline": (display, clean_text(copy.headline)),
        "body": (text, clean_text(copy.body) if layout.scale.body_lines else ""),
        "call to action": (display, clean_text(copy.call_to_action)),
    }
    headline, body, call = (words[name][1] for name in ("headline", "body", "call to action"))
    if not headline:
        raise DataError("headline is blank", where=where, fix="Write one.")
    _require_all_glyphs(words, where)
    pressed = _fit_button(call, layout, size, display, where) if call else None
    column = _column(layout, size, pressed)
    if runs_from_right(headline):
        column = replace(column, align=_MIRRORED[column.align])
    button = _button_box(pressed, layout, size) if pressed is not None else None
    beside = column if logo is None else with_clear_sides(column, layout, size, logo, button)
    head = fit_masthead(words["wordmark"][1], logo, layout, size, beside, display, where)
    area, high = layout.text, size[1]
    leads = area.brand_top is None
    start = max(area.top * high if area.brand_top is None else area.brand_top * high, head.least_top)
    first = start + head.tall if leads or head.logo is not None else area.top * high
    if head.logo is not None:
        first += display.overshoot(headline) * layout.scale.headline * min(size) + 1
    first = max(first, area.top * high)
    room = area.bottom * high - first
    story = _fit_story(headline, body, layout, size, column, display, text, room, where)
    if leads:
        spare = (room - story.tall) / 2
        start, first = start + spare, first + spare
    lines = head.lines(display, beside, start)
    lines += set_lines("headline", story.headline, display, column, first)
    if story.body is not None:
        lines += set_lines("body", story.body, text, column, first + story.body_at)
    label = _label(pressed.label, button, display) if pressed is not None and button is not None else None
    return Plan(tuple(lines), label, button, head.place(beside, start))


def _require_all_glyphs(words: dict[str, tuple[Typeface, str]], where: str) -> None:
    """Raises one DataError with what the fonts lack for any of the texts."""
    faults = []
    for name, (face, string) in words.items():
        try:
            require_glyphs(face, string, name=name, where=where)
        except DataError as fault:
            faults.append(fault)
    if faults:
        raise DataError("; ".join(fault.what for fault in faults), where=where, fix=faults[0].fix)


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


def _column(layout: Layout, size: tuple[int, int], pressed: _Button | None) -> Column:
    area = layout.text
    left = area.left * size[0]
    if area.width is not None:
        return Column(left, area.width * size[0], area.align)
    gap = max(0.16 * min(size), 0.02 * size[0])
    end = layout.button.x * size[0] - (pressed.wide + gap if pressed is not None else 0.0)
    return Column(left, end - left, area.align)


def _fit_story(
    headline: str, body: str, layout: Layout, size: tuple[int, int], column: Column, display: Typeface,
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
        head = _fit_headline(headline, layout, size, column, display, room - fitted.tall - gap)
        if head is not None and (best is None or head.size > best.headline.size * 1.02):
            best = _Story(head, fitted, head.tall + gap, head.tall + gap + fitted.tall)
        if best is not None and best.headline.size >= scale.headline_wish * unit:
            return best
    if best is not None and not scale.body_may_go:
        return best
    alone = _fit_headline(headline, layout, size, column, display, room)
    if alone is None:
        raise too_long("headline", headline, where)
    if body and not scale.body_may_go:
        raise too_long("body", body, where)
    if best is not None and alone.size < best.headline.size * 1.1:
        return best
    return _Story(alone, None, alone.tall, alone.tall)


def _fit_headline(
    string: str, layout: Layout, size: tuple[int, int], column: Column, face: Typeface, room: float
) -> Lines | None:
    unit, scale = min(size), layout.scale
    return fit_text(
        face, string, width=column.width, height=room, most_lines=scale.headline_lines,
        largest=at_least(scale.headline * unit), smallest=at_least(scale.headline_least * unit),
        leading=_LEADING["headline"], tracking=TRACKING["headline"],
    )  # fmt: skip


def _fit_body(
    string: str, layout: Layout, size: tuple[int, int], column: Column, face: Typeface, room: float, share: float
) -> Lines | None:
    unit, scale = min(size), layout.scale
    wanted = at_least(share * unit)
    return fit_text(
        face, string, width=min(column.width, 26 * wanted), height=room, most_lines=scale.body_lines,
        largest=wanted, smallest=wanted * 0.999, leading=_LEADING["body"],
    )  # fmt: skip


def _fit_button(string: str, layout: Layout, size: tuple[int, int], face: Typeface, where: str) -> _Button:
    unit, scale, place = min(size), layout.scale, layout.button
    tall = round(place.height * unit)
    most = place.most_width * size[0]
    fitted = fit_text(
        face, string, width=most - _PADDING * tall, height=float(tall), most_lines=1,
        largest=at_least(scale.label * unit), smallest=at_least(scale.label_least * unit), leading=1.0,
    )  # fmt: skip
    if fitted is None:
        raise too_long("call to action", string, where)
    wide = face.width(string) * fitted.size + _PADDING * tall
    return _Button(round(min(most, max(wide, 2.2 * tall, place.least_width * size[0]))), tall, fitted)


def _button_box(button: _Button, layout: Layout, size: tuple[int, int]) -> PixelBox:
    place = layout.button
    top = round(place.bottom * size[1]) - button.tall
    left = round(place.x * size[0] - button.wide * SHARE[place.anchor])
    return PixelBox(left, top, left + button.wide, top + button.tall)


def _label(fitted: Lines, button: PixelBox, face: Typeface) -> Line:
    mask, ascent = draw_line(face, fitted.lines[0], fitted.size)
    x = (button.left + button.right - face.width(fitted.lines[0]) * fitted.size) / 2
    baseline = (button.top + button.bottom) / 2 + fitted.extent.middle * fitted.size
    return Line("label", fitted.lines[0], fitted.size, mask, round(x), round(baseline) - ascent)
