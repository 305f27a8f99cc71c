"""Turns what an advertiser allows and forbids into the colours that buttons, type and plates may have."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from contracts.errors import DataError
from generators.colour import NEAR_COLOUR, difference, srgb_to_lab
from generators.products import Pixels
from generators.typesetting.contrast import DARK_INK, LEAST_CONTRAST, LIGHT_INK, Colour, contrast_ratio
from generators.typesetting.typeface import DISPLAY_FONT, TEXT_FONT

SLATE: Colour = (38, 44, 58)
"""The button's colour when neither brand nor product has one."""


@dataclass(frozen=True, eq=False)
class Brand:
    """How an advertiser's creatives look.

    Attributes:
        display: font of headline, name and button. text: font of the body.
        logos: variants of one logo, RGBA (h, w, 4), of one shape; the one that stands out most is set.
        clear_space: around the logo, in heights of the logo, 0 to 1.
        colours: for the button, the most wanted first.
        inks: that type on pictures may have; the one that needs the least help is taken.
        plate: what is laid behind type that nothing else makes legible; None: dark or light, as the ink needs.
        forbidden: colours that nothing set by us may have.
    """

    display: Path = DISPLAY_FONT
    text: Path = TEXT_FONT
    logos: tuple[Pixels, ...] = ()
    clear_space: float = 0.25
    colours: tuple[Colour, ...] = ()
    inks: tuple[Colour, ...] = (LIGHT_INK, DARK_INK)
    plate: Colour | None = None
    forbidden: tuple[Colour, ...] = ()

    @classmethod
    def in_font(cls, path: Path | None) -> Brand:
        """No brand but a font for all type; None: the shipped ones."""
        return cls() if path is None else cls(display=path, text=path)

    def allows(self, colour: Colour) -> bool:
        """Whether it is none of the forbidden colours, nor so near one that people would call it by that name."""
        return is_apart(colour, self.forbidden)

    def palette(self, colours: Sequence[str]) -> tuple[str, ...]:
        """Of a concept's colours, "#rrggbb", those that are allowed; the brand's own where it names none of these."""
        allowed = tuple(colour for colour in colours if self.allows(rgb_of(colour, where="concept")))
        return allowed or tuple(f"#{red:02x}{green:02x}{blue:02x}" for red, green, blue in self.colours)

    def button_colour(self, colours: Sequence[str], product: Pixels | None, where: str) -> Colour:
        """The first allowed one of: the concept's colours, the brand's, the product's most telling one, slate, the inks.

        Args:
            colours: of the concept, "#rrggbb", the most wanted first.
            product: RGBA (h, w, 4), or None.
            where: names the concept in errors.

        Raises:
            DataError: a colour is not "#rrggbb", or nothing is allowed.
        """
        wanted = [rgb_of(colour, where=where) for colour in colours] + list(self.colours)
        if not wanted and product is not None:
            wanted.append(telling_colour(product))
        for colour in (*wanted, SLATE, DARK_INK, LIGHT_INK):
            if self.allows(colour):
                return colour
        raise DataError(
            "no colour is left for the button", where=where, fix="Forbid fewer colours, or name an allowed one."
        )


def is_hex(text: object) -> bool:
    """Whether it is "#rrggbb"."""
    return isinstance(text, str) and re.fullmatch(r"#[0-9a-fA-F]{6}", text) is not None


def rgb_of(text: str, *, where: str) -> Colour:
    """Red, green and blue, 0 to 255, of "#rrggbb". Raises DataError naming `where` when it is not one."""
    if not is_hex(text):
        raise DataError(f'colour "{text}" is not "#rrggbb"', where=where, fix='Write it like "#1a7f5a".')
    value = int(text[1:], 16)
    return value >> 16, value >> 8 & 255, value & 255


def is_apart(colour: Colour, others: Iterable[Colour]) -> bool:
    """Whether the colour is at least NEAR_COLOUR away from each of the others (CIE76)."""
    many = list(others)
    if not many:
        return True
    apart = difference(srgb_to_lab(np.array(many)), srgb_to_lab(np.array(colour)))
    return float(apart.min()) >= NEAR_COLOUR


def telling_colour(product: Pixels) -> Colour:
    """The mean of the strongest group of hues of the opaque pixels, darkened until white type on it is legible."""
    small = np.asarray(Image.fromarray(product).resize((64, 64), Image.Resampling.BOX), dtype=np.float64)
    pixels = small.reshape(-1, 4)
    pixels = pixels[pixels[:, 3] > 200, :3]
    if not len(pixels):
        return SLATE
    chroma = pixels.max(axis=1) - pixels.min(axis=1)
    weight = chroma**2
    if weight.sum() < 24.0**2 * len(pixels) * 0.05:
        return SLATE
    red, green, blue = pixels.T
    angle = np.arctan2(np.sqrt(3) * (green - blue), 2 * red - green - blue) % (2 * np.pi)
    sector = (angle / (2 * np.pi) * 12).astype(int) % 12
    strongest = int(np.argmax(np.bincount(sector, weights=weight, minlength=12)))
    chosen = sector == strongest
    mean = np.average(pixels[chosen], axis=0, weights=weight[chosen])
    while float(contrast_ratio(mean, LIGHT_INK)) < LEAST_CONTRAST + 0.3:
        mean = mean * 0.96
    first, second, third = (round(float(value)) for value in mean)
    return first, second, third
