"""Turns a format (square, landscape, portrait) into places for the product, the copy and the button."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from generators.products import ProductBox

Align = Literal["left", "centre"]

DEFAULT_BOX = ProductBox(left=0.425, top=0.415, width=0.52, height=0.52)
"""The product's box in the default square layout, in fractions of the side: generators paint around exactly this."""


@dataclass(frozen=True)
class TextArea:
    """Where wordmark, headline and body stand: fractions of the picture's width (left, width) and height (the rest)."""

    left: float
    width: float
    wordmark_top: float
    top: float
    bottom: float
    align: Align = "left"


@dataclass(frozen=True)
class TypeScale:
    """Type sizes as fractions of the picture's shorter side; `_least` is the smallest that is still legible."""

    headline: float = 0.096
    headline_wish: float = 0.066
    headline_least: float = 0.045
    headline_lines: int = 3
    body: float = 0.0325
    body_least: float = 0.025
    body_lines: int = 3
    label: float = 0.033
    label_least: float = 0.023
    wordmark: float = 0.03
    wordmark_least: float = 0.019


@dataclass(frozen=True)
class ButtonPlace:
    """The button: `left` (or its centre, when the text is centred), `bottom` and `most_width` as fractions.

    `bottom` None: it follows the body, inside the text area. `height` is a fraction of the shorter side.
    """

    left: float
    bottom: float | None
    most_width: float
    height: float = 0.084


@dataclass(frozen=True)
class Layout:
    """One arrangement: nothing of it overlaps, whatever the copy says.

    Attributes:
        name: key in LAYOUTS.
        size: usual width and height, pixels; their ratio is the format.
        product: where the product stands.
        text: where the copy stands, outside the product's box.
        button: where the button stands, outside the product's box.
        scale: type sizes.
    """

    name: str
    size: tuple[int, int]
    product: ProductBox
    text: TextArea
    button: ButtonPlace
    scale: TypeScale = TypeScale()

    def canvas(self, size: int | tuple[int, int] | None) -> tuple[int, int]:
        """Width and height in pixels: as given; from a width alone by the format; the usual size for None."""
        if size is None:
            return self.size
        if isinstance(size, int):
            return size, round(size * self.size[1] / self.size[0])
        return size


SQUARE = Layout(
    name="square",
    size=(1080, 1080),
    product=DEFAULT_BOX,
    text=TextArea(left=0.065, width=0.87, wordmark_top=0.065, top=0.127, bottom=0.4),
    button=ButtonPlace(left=0.065, bottom=0.935, most_width=0.335),
)

SQUARE_SPLIT = Layout(
    name="square-split",
    size=(1080, 1080),
    product=ProductBox(left=0.475, top=0.2, width=0.47, height=0.7),
    text=TextArea(left=0.065, width=0.385, wordmark_top=0.065, top=0.2, bottom=0.79),
    button=ButtonPlace(left=0.065, bottom=0.9, most_width=0.385),
    scale=TypeScale(headline=0.088, headline_wish=0.058, headline_least=0.04, body=0.034, body_lines=6),
)

SQUARE_CENTRED = Layout(
    name="square-centred",
    size=(1080, 1080),
    product=ProductBox(left=0.24, top=0.46, width=0.52, height=0.48),
    text=TextArea(left=0.09, width=0.82, wordmark_top=0.06, top=0.118, bottom=0.44, align="centre"),
    button=ButtonPlace(left=0.5, bottom=None, most_width=0.6, height=0.078),
    scale=TypeScale(headline=0.084, headline_wish=0.058, body_lines=2),
)

LANDSCAPE = Layout(
    name="landscape",
    size=(1200, 628),
    product=ProductBox(left=0.565, top=0.08, width=0.385, height=0.83),
    text=TextArea(left=0.055, width=0.475, wordmark_top=0.095, top=0.205, bottom=0.74),
    button=ButtonPlace(left=0.055, bottom=0.91, most_width=0.475, height=0.125),
    scale=TypeScale(
        headline=0.14, headline_wish=0.09, headline_least=0.07,
        body=0.053, body_least=0.04, body_lines=4, label=0.05, label_least=0.036, wordmark=0.046, wordmark_least=0.03,
    ),
)  # fmt: skip

PORTRAIT = Layout(
    name="portrait",
    size=(1080, 1350),
    product=ProductBox(left=0.385, top=0.41, width=0.56, height=0.525),
    text=TextArea(left=0.065, width=0.87, wordmark_top=0.055, top=0.107, bottom=0.385),
    button=ButtonPlace(left=0.065, bottom=0.935, most_width=0.3),
    scale=TypeScale(headline=0.118, headline_wish=0.075, body=0.038, label_least=0.02),
)

LAYOUTS = {layout.name: layout for layout in (SQUARE, SQUARE_SPLIT, SQUARE_CENTRED, LANDSCAPE, PORTRAIT)}
"""All layouts by name; "square" is the default."""


_MARGIN = 0.02  # of a product that was made larger


def with_product(layout: Layout, scale: float) -> Layout:
    """The layout with its product's box up to `scale` times as large, as far as margins, button and copy allow.

    It grows to the right, down, and, where the copy stands above it, up by at most a fifth of the copy's height.
    """
    if scale == 1.0:
        return layout
    box, text = layout.product, layout.text
    right, bottom = min(box.left + box.width * scale, 1 - _MARGIN), min(box.bottom + box.height * (scale - 1) / 2, 0.97)
    height = box.height * scale
    if text.bottom > box.top:
        return replace(layout, product=ProductBox(box.left, box.top, right - box.left, bottom - box.top))
    top = max(bottom - height, box.top - 0.2 * (text.bottom - text.top))
    moved = replace(text, bottom=text.bottom - (box.top - top))
    return replace(layout, product=ProductBox(box.left, top, right - box.left, bottom - top), text=moved)
