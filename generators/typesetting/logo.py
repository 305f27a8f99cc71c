"""Turns a logo's variants and the pixels behind it into the one that stands out, exact, on a plate where none does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from generators.products import PixelBox, Pixels, composite, resize_rgba
from generators.typesetting.contrast import DARK_INK, LIGHT_INK, Colour, FloatPicture, contrast_ratio, lay_plate
from generators.typesetting.masthead import LogoPlace

LEAST_LOGO_CONTRAST = 3.0
"""WCAG 2.2, success criterion 1.4.11: graphics. It exempts logos; this one does not."""


@dataclass(frozen=True)
class PlacedLogo:
    """A picture with a logo on it.

    Attributes:
        picture: float32 (h, w, 3), 0 to 255, whole numbers.
        contrast: WCAG contrast of the logo with what is behind it, see `logo_contrast`.
        plate: where a plate was laid for it; None: none was needed.
    """

    picture: FloatPicture
    contrast: float
    plate: PixelBox | None


def place_logo(
    picture: FloatPicture,
    variants: Sequence[Pixels],
    place: LogoPlace,
    plates: Sequence[Colour] = (LIGHT_INK, DARK_INK),
) -> PlacedLogo:
    """The variant with the most contrast in its place; where that is under LEAST_LOGO_CONTRAST, on a plate of the better colour.

    The plate fills the logo's clear space. The picture given is not changed.
    """
    at = place.box
    sized = [resize_rgba(variant, (at.right - at.left, at.bottom - at.top)) for variant in variants]
    grounds = [(picture, None)] + [(lay_plate(picture, place.clear, colour), place.clear) for colour in plates]
    best: PlacedLogo | None = None
    for ground, plate in grounds:
        contrast, logo = max(((logo_contrast(ground, one, at), one) for one in sized), key=lambda tried: tried[0])
        if best is None or contrast > best.contrast:
            shown = composite(ground.astype(np.uint8), logo, at).astype(np.float32)
            best = PlacedLogo(shown, contrast, plate)
        if plate is None and contrast >= LEAST_LOGO_CONTRAST:
            break
    assert best is not None
    return best


def logo_contrast(picture: FloatPicture, logo: Pixels, at: PixelBox) -> float:
    """Median contrast, over the logo's opaque pixels, with the pixels that it covers; 1.0 if it has none."""
    opaque = logo[..., 3] > 127
    if not opaque.any():
        return 1.0
    behind = picture[at.top : at.bottom, at.left : at.right][opaque].astype(np.uint8)
    return float(np.median(contrast_ratio(logo[..., :3][opaque], behind)))
