"""Turns the name of an ad format into an arrangement: places for the product, the copy, the brand and the button."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal

from generators.products import ProductBox

Align = Literal["left", "centre", "right"]

DEFAULT_BOX = ProductBox(left=0.425, top=0.415, width=0.52, height=0.52)
"""The product's box in the square layout, in fractions of the side: generators paint around exactly this."""


@dataclass(frozen=True)
class TextArea:
    """Where brand, headline and body stand: fractions of the picture's width (left, width) and height (the rest).

    `brand_top` None: the brand leads the block of headline and body, and the block is centred between `top` and
    `bottom`. `width` None: as far as the button, less a gap.
    """

    left: float
    width: float | None
    brand_top: float | None
    top: float
    bottom: float
    align: Align = "left"


@dataclass(frozen=True)
class TypeScale:
    """Type sizes as fractions of the picture's shorter side; `_least` is the smallest that is still legible.

    `body_lines` 0: there is no body. `body_may_go`: it is left out where headline and body do not both fit well.
    `logo` is the height of a logo.
    """

    headline: float = 0.096
    headline_wish: float = 0.066
    headline_least: float = 0.045
    headline_lines: int = 3
    body: float = 0.0325
    body_least: float = 0.025
    body_lines: int = 3
    body_may_go: bool = False
    label: float = 0.033
    label_least: float = 0.023
    wordmark: float = 0.03
    wordmark_least: float = 0.019
    logo: float = 0.05


@dataclass(frozen=True)
class ButtonPlace:
    """The button: its `anchor` stands at `x`; `x`, `bottom` and widths are fractions of the picture's width and height.

    `height` is a fraction of the shorter side.
    """

    x: float
    bottom: float
    most_width: float
    height: float = 0.084
    least_width: float = 0.0
    anchor: Align = "left"


@dataclass(frozen=True)
class Layout:
    """One arrangement: nothing of it overlaps, whatever the copy says.

    Attributes:
        name: of the format, key in LAYOUTS.
        size: usual width and height, pixels; their ratio is the format.
        product: where the product stands.
        text: where the copy stands, outside the product's box.
        button: where the button stands, outside the product's box.
        scale: type sizes.
        seen: first and last row, as fractions of the height, that nothing else is laid over where the ad is shown.
    """

    name: str
    size: tuple[int, int]
    product: ProductBox
    text: TextArea
    button: ButtonPlace
    scale: TypeScale = field(default_factory=TypeScale)
    seen: tuple[float, float] = (0.0, 1.0)

    @property
    def slug(self) -> str:
        """The name as a part of a file's name."""
        return self.name.replace(":", "x")

    def canvas(self, size: int | tuple[int, int] | None) -> tuple[int, int]:
        """Width and height in pixels: as given; from a width alone by the format; the usual size for None."""
        if size is None:
            return self.size
        if isinstance(size, int):
            return size, round(size * self.size[1] / self.size[0])
        return size


SQUARE = Layout(
    name="1:1",
    size=(1080, 1080),
    product=DEFAULT_BOX,
    text=TextArea(left=0.065, width=0.87, brand_top=0.065, top=0.127, bottom=0.4),
    button=ButtonPlace(x=0.065, bottom=0.935, most_width=0.335),
)

_PORTRAIT = Layout(
    name="4:5",
    size=(1080, 1350),
    product=ProductBox(left=0.385, top=0.41, width=0.56, height=0.525),
    text=TextArea(left=0.065, width=0.87, brand_top=0.055, top=0.107, bottom=0.385),
    button=ButtonPlace(x=0.065, bottom=0.935, most_width=0.3),
    scale=TypeScale(headline=0.118, headline_wish=0.075, body=0.038, label_least=0.02, wordmark=0.033),
)

_STORY = Layout(  # the top 14 % and the bottom 19 % belong to the app that shows it
    name="9:16",
    size=(1080, 1920),
    product=ProductBox(left=0.13, top=0.415, width=0.74, height=0.305),
    text=TextArea(left=0.085, width=0.83, brand_top=0.145, top=0.182, bottom=0.4),
    button=ButtonPlace(x=0.5, bottom=0.808, most_width=0.83, height=0.1, least_width=0.42, anchor="centre"),
    scale=TypeScale(
        headline=0.125, headline_wish=0.085, headline_least=0.055,
        body=0.043, body_least=0.034, label=0.042, label_least=0.03, wordmark=0.037, wordmark_least=0.024, logo=0.065,
    ),
    seen=(0.14, 0.81),
)  # fmt: skip

_LANDSCAPE = Layout(
    name="1.91:1",
    size=(1200, 628),
    product=ProductBox(left=0.565, top=0.08, width=0.385, height=0.83),
    text=TextArea(left=0.055, width=0.475, brand_top=0.095, top=0.205, bottom=0.74),
    button=ButtonPlace(x=0.055, bottom=0.91, most_width=0.475, height=0.125),
    scale=TypeScale(
        headline=0.14, headline_wish=0.09, headline_least=0.07,
        body=0.053, body_least=0.04, body_lines=4, label=0.05, label_least=0.036, wordmark=0.046, wordmark_least=0.03,
        logo=0.08,
    ),
)  # fmt: skip

_RECTANGLE = Layout(
    name="300x250",
    size=(300, 250),
    product=ProductBox(left=0.435, top=0.42, width=0.515, height=0.515),
    text=TextArea(left=0.06, width=0.88, brand_top=0.07, top=0.155, bottom=0.405),
    button=ButtonPlace(x=0.06, bottom=0.93, most_width=0.355, height=0.128),
    scale=TypeScale(
        headline=0.115, headline_wish=0.088, headline_least=0.06, headline_lines=2,
        body=0.05, body_least=0.046, body_lines=2, body_may_go=True,
        label=0.05, label_least=0.04, wordmark=0.046, wordmark_least=0.038, logo=0.075,
    ),
)  # fmt: skip

_HALF_PAGE = Layout(
    name="300x600",
    size=(300, 600),
    product=ProductBox(left=0.09, top=0.43, width=0.82, height=0.4),
    text=TextArea(left=0.08, width=0.84, brand_top=0.05, top=0.1, bottom=0.41),
    button=ButtonPlace(x=0.5, bottom=0.95, most_width=0.84, height=0.145, least_width=0.84, anchor="centre"),
    scale=TypeScale(
        headline=0.125, headline_wish=0.09, headline_least=0.06, headline_lines=4,
        body=0.05, body_least=0.043, body_lines=4, body_may_go=True,
        label=0.055, label_least=0.04, wordmark=0.045, wordmark_least=0.034, logo=0.08,
    ),
)  # fmt: skip

_SKYSCRAPER = Layout(
    name="160x600",
    size=(160, 600),
    product=ProductBox(left=0.075, top=0.5, width=0.85, height=0.335),
    text=TextArea(left=0.095, width=0.81, brand_top=0.04, top=0.085, bottom=0.475),
    button=ButtonPlace(x=0.5, bottom=0.965, most_width=0.81, height=0.24, least_width=0.81, anchor="centre"),
    scale=TypeScale(
        headline=0.165, headline_wish=0.125, headline_least=0.08, headline_lines=6,
        body=0.084, body_least=0.075, body_lines=5, body_may_go=True,
        label=0.086, label_least=0.064, wordmark=0.078, wordmark_least=0.058, logo=0.13,
    ),
)  # fmt: skip

_BILLBOARD = Layout(
    name="970x250",
    size=(970, 250),
    product=ProductBox(left=0.028, top=0.09, width=0.27, height=0.81),
    text=TextArea(left=0.33, width=None, brand_top=None, top=0.1, bottom=0.9),
    button=ButtonPlace(x=0.967, bottom=0.61, most_width=0.24, height=0.22, anchor="right"),
    scale=TypeScale(
        headline=0.21, headline_wish=0.15, headline_least=0.085, headline_lines=3,
        body=0.074, body_least=0.056, body_lines=3, body_may_go=True,
        label=0.074, label_least=0.052, wordmark=0.064, wordmark_least=0.048, logo=0.12,
    ),
)  # fmt: skip

_LEADERBOARD = Layout(
    name="728x90",
    size=(728, 90),
    product=ProductBox(left=0.014, top=0.07, width=0.13, height=0.84),
    text=TextArea(left=0.163, width=None, brand_top=None, top=0.08, bottom=0.92),
    button=ButtonPlace(x=0.982, bottom=0.72, most_width=0.23, height=0.44, anchor="right"),
    scale=TypeScale(
        headline=0.31, headline_wish=0.24, headline_least=0.155, headline_lines=2, body_lines=0,
        label=0.16, label_least=0.125, wordmark=0.13, wordmark_least=0.105, logo=0.22,
    ),
)  # fmt: skip

_MOBILE = Layout(
    name="320x50",
    size=(320, 50),
    product=ProductBox(left=0.016, top=0.06, width=0.165, height=0.86),
    text=TextArea(left=0.2, width=None, brand_top=None, top=0.06, bottom=0.94),
    button=ButtonPlace(x=0.981, bottom=0.78, most_width=0.31, height=0.56, anchor="right"),
    scale=TypeScale(
        headline=0.33, headline_wish=0.26, headline_least=0.2, headline_lines=2, body_lines=0,
        label=0.235, label_least=0.19, wordmark=0.19, wordmark_least=0.18, logo=0.26,
    ),
)  # fmt: skip

LAYOUTS = {
    layout.name: layout
    for layout in (
        _RECTANGLE, replace(_RECTANGLE, name="336x280", size=(336, 280)), _LEADERBOARD, _SKYSCRAPER, _HALF_PAGE,
        _BILLBOARD, _MOBILE, SQUARE, _PORTRAIT, _STORY, _LANDSCAPE,
    )
}  # fmt: skip
"""All layouts by the name of their format."""


_MARGIN = 0.02  # of a product that was made larger


def with_product(layout: Layout, scale: float) -> Layout:
    """The layout with its product's box up to `scale` times as large, as far as margins, button and copy allow.

    It grows to the right, down, and, where the copy stands above it, up by at most a fifth of the copy's height.
    """
    if scale == 1.0:
        return layout
    box, text = layout.product, layout.text
    right = min(box.left + box.width * scale, (text.left if text.left >= box.right else 1.0) - _MARGIN / 2)
    bottom = min(box.bottom + box.height * (scale - 1) / 2, 0.97)
    button_top = layout.button.bottom - layout.button.height * min(layout.size) / layout.size[1]
    if layout.button.anchor == "centre" and button_top >= box.bottom:
        bottom = min(bottom, button_top - _MARGIN / 2)
    if text.bottom > box.top:
        return replace(layout, product=ProductBox(box.left, box.top, right - box.left, bottom - box.top))
    top = max(bottom - box.height * scale, box.top - 0.2 * (text.bottom - text.top))
    moved = replace(text, bottom=text.bottom - (box.top - top))
    return replace(layout, product=ProductBox(box.left, top, right - box.left, bottom - top), text=moved)
