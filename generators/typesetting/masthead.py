"""Turns an advertiser's logo, or its name where it has none, into what stands at the head of the copy, with its clear space."""

from __future__ import annotations

from dataclasses import dataclass

from contracts.errors import DataError
from generators.layout import Layout
from generators.products import PixelBox
from generators.typesetting.line_breaking import Lines, fit_text
from generators.typesetting.set_lines import SHARE, TRACKING, Column, Line, at_least, set_lines, too_long
from generators.typesetting.typeface import Typeface

_GAP = 0.75  # from a wordmark that leads the copy to the headline, in sizes of the wordmark
_USUAL_SHAPE = 4.0  # width by height of the logo that the layouts' heights are for
_LOWEST, _HIGHEST = 0.7, 1.45  # of a logo, in heights that the layout has for one
_LEAST_LOGO = 9  # pixels of height


@dataclass(frozen=True)
class Logo:
    """What the layout needs to know of a logo: width by height, and its clear space in heights of the logo."""

    shape: float
    clear_space: float


@dataclass(frozen=True)
class LogoPlace:
    """Where a logo stands, and what stays clear around it (the logo included)."""

    box: PixelBox
    clear: PixelBox


@dataclass(frozen=True)
class Masthead:
    """The fitted head of the copy; `tall` pixels from its top to where the headline may begin."""

    tall: float
    least_top: float
    wordmark: Lines | None
    logo: tuple[int, int, int] | None  # width, height, clear space in pixels

    def lines(self, face: Typeface, column: Column, top: float) -> list[Line]:
        """The wordmark, drawn from row `top`."""
        return [] if self.wordmark is None else set_lines("wordmark", self.wordmark, face, column, top)

    def place(self, column: Column, top: float) -> LogoPlace | None:
        """Where the logo stands when the head begins at row `top`."""
        if self.logo is None:
            return None
        wide, high, clear = self.logo
        left, upper = round(column.left + (column.width - wide) * SHARE[column.align]), round(top)
        box = PixelBox(left, upper, left + wide, upper + high)
        return LogoPlace(box, PixelBox(left - clear, upper - clear, left + wide + clear, upper + high + clear))


def fit_masthead(
    name: str, logo: Logo | None, layout: Layout, size: tuple[int, int], column: Column, face: Typeface, where: str
) -> Masthead:
    """The logo, or the name where there is none, as large as the layout has it.

    Logos of different shapes get about the same area: a flat one is set lower and a square one higher than the
    layout's height for a logo, which is meant for four by one.

    Args:
        name: of the advertiser; empty: nothing is set.
        logo: its shape and clear space; None: the name is set.
        layout, size: the arrangement, and width and height of the picture in pixels.
        column: that the copy stands in.
        face: for the name.
        where: names the concept in errors.

    Raises:
        DataError: there is no room for it at a legible size.
    """
    unit, scale = min(size), layout.scale
    if logo is None:
        if not name:
            return Masthead(0.0, 0.0, None, None)
        fitted = fit_text(
            face, name, width=column.width, height=float(unit), most_lines=1,
            largest=at_least(scale.wordmark * unit), smallest=at_least(scale.wordmark_least * unit),
            leading=1.0, tracking=TRACKING["wordmark"],
        )  # fmt: skip
        if fitted is None:
            raise too_long("advertiser's name", name, where)
        return Masthead(fitted.tall + _GAP * fitted.size, 0.0, fitted, None)
    wished = scale.logo * unit * min(max((_USUAL_SHAPE / logo.shape) ** 0.5, _LOWEST), _HIGHEST)
    high = int(min(wished, column.width / logo.shape))
    if high < _LEAST_LOGO:
        fix = "Give a less flat variant, or leave this size out."
        raise DataError(f"the logo would be {high} pixels high in {layout.name}", where=where, fix=fix)
    clear = -int(-logo.clear_space * high // 1)
    return Masthead(
        float(high + max(clear, round(0.55 * high))), float(clear), None, (round(high * logo.shape), high, clear)
    )


def with_clear_sides(
    column: Column, layout: Layout, size: tuple[int, int], logo: Logo, button: PixelBox | None
) -> Column:
    """The part of the column in which a logo keeps its clear space from the picture's edges, the product and the button."""
    clear = logo.clear_space * layout.scale.logo * min(size) * _HIGHEST + 1
    left, right = max(column.left, clear), min(column.left + column.width, size[0] - clear)
    product = layout.product.pixels(size)
    for box in (product, button) if button is not None else (product,):
        if box.top < layout.text.bottom * size[1] and box.bottom > layout.text.top * size[1]:
            if box.left >= column.left:
                right = min(right, box.left - clear)
            else:
                left = max(left, box.right + clear)
    return Column(left, max(right - left, 1.0), column.align)
