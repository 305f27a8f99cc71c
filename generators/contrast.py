"""Turns the real pixels behind the type into an ink and, where needed, a soft shade that make it legible."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter

from generators.products import PixelBox

Colour = tuple[int, int, int]
FloatPicture = npt.NDArray[np.float32]  # (h, w, 3), sRGB values 0 to 255

LEAST_CONTRAST = 4.5
"""WCAG 2.2, success criterion 1.4.3 (AA), text of any size."""

LIGHT_INK: Colour = (255, 255, 255)
DARK_INK: Colour = (20, 22, 28)
BLACK: Colour = (0, 0, 0)

_WORST = 2.0  # percentile of the background pixels that has to pass
_TARGET = 4.7  # aimed at, so that rounding to bytes cannot fall below LEAST_CONTRAST
_STEPS = 25  # strengths of the shade, from none to opaque
_FOG = 1.3  # a light shade looks worse than a dark one of the same strength by this factor


def _linear(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


_LINEAR = _linear(np.arange(256) / 255.0)  # of every byte
_WEIGHTS = np.array([0.2126, 0.7152, 0.0722])


def relative_luminance(colour: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Relative luminance, 0 to 1, of sRGB values 0 to 255 in the last axis: shape (..., 3) to (...).

    WCAG 2.2: L = 0.2126 R + 0.7152 G + 0.0722 B with c / 12.92 below 0.04045, else ((c + 0.055) / 1.055) ** 2.4.
    """
    values = np.asarray(colour)
    linear = _LINEAR[values] if values.dtype == np.uint8 else _linear(values.astype(np.float64) / 255.0)
    luminance: npt.NDArray[np.float64] = linear @ _WEIGHTS
    return luminance


def contrast_ratio(one: npt.ArrayLike, other: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """WCAG contrast ratio, 1 to 21: (L_lighter + 0.05) / (L_darker + 0.05); broadcasts, last axis is the colour."""
    first, second = relative_luminance(one), relative_luminance(other)
    ratio: npt.NDArray[np.float64] = (np.maximum(first, second) + 0.05) / (np.minimum(first, second) + 0.05)
    return ratio


def text_contrast(background: npt.NDArray[np.generic], ink: Colour) -> float:
    """Contrast of type with the pixels (..., 3) behind it: the 2nd percentile, so nearly the worst spot.

    Values from 0 to 255; they are taken as bytes, as they will be shown.
    """
    pixels = background.reshape(-1, 3).astype(np.uint8)
    return float(np.percentile(contrast_ratio(pixels, ink), _WORST, method="lower"))


def ink_on(colour: Colour) -> Colour:
    """The ink for a label on a plain colour: white if it passes, else near-black, else black, which then does."""
    for ink in (LIGHT_INK, DARK_INK):
        if float(contrast_ratio(colour, ink)) >= LEAST_CONTRAST:
            return ink
    return BLACK


@dataclass(frozen=True)
class Legible:
    """A picture on which type can be read.

    Attributes:
        picture: float32 (h, w, 3), 0 to 255, whole numbers.
        ink: for all type on it.
        strength: of the shade, 0 (none) to 1 (opaque).
        contrasts: of each box with the ink, by name.
    """

    picture: FloatPicture
    ink: Colour
    strength: float
    contrasts: dict[str, float]


def make_legible(picture: FloatPicture, boxes: Mapping[str, PixelBox], *, least_shade: float = 0.0) -> Legible:
    """Chooses light or dark ink, whichever needs the less visible shade, and lays that shade behind the boxes.

    All boxes get the same ink. The shade is dark under light ink and light under dark ink, tinted by the picture,
    soft at its edge, and as weak as the contrast of every box and `least_shade` (0 to 1) allow. The picture given is not
    changed.

    Raises:
        ValueError: `boxes` is empty.
    """
    if not boxes:
        raise ValueError("no boxes")
    mask = shade_mask((picture.shape[1], picture.shape[0]), list(boxes.values()))
    found = [_weakest(picture, mask, boxes, ink) for ink in (LIGHT_INK, DARK_INK)]
    ink, strength, _ = min(found, key=lambda one: (one[1] * (1.0 if one[0] == LIGHT_INK else _FOG), -one[2]))
    strength = max(strength, least_shade)
    shaded = _shade(picture, mask, _shade_colour(picture, mask, ink), strength)
    contrasts = {name: text_contrast(_part(shaded, box), ink) for name, box in boxes.items()}
    return Legible(shaded, ink, strength, contrasts)


def _weakest(
    picture: FloatPicture, mask: npt.NDArray[np.float32], boxes: Mapping[str, PixelBox], ink: Colour
) -> tuple[Colour, float, float]:
    """The ink, the weakest strength of shade at which every box passes (by bisection), and the least contrast then."""
    colour = _shade_colour(picture, mask, ink)
    parts = [(_part(picture, box), mask[box.top : box.bottom, box.left : box.right]) for box in boxes.values()]

    def least(strength: float) -> float:
        return min(text_contrast(_shade(part, cover, colour, strength), ink) for part, cover in parts)

    low, high = -1, _STEPS
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if least(middle / _STEPS) >= _TARGET else (middle, high)
    return ink, high / _STEPS, least(high / _STEPS)


def _shade_colour(picture: FloatPicture, mask: npt.NDArray[np.float32], ink: Colour) -> FloatPicture:
    """Dark for light ink, light for dark ink, with a trace of the picture's own colour there; (3,)."""
    own = np.asarray(np.tensordot(mask, picture, 2) / max(float(mask.sum()), 1.0), dtype=np.float32)
    if ink == LIGHT_INK:
        return np.asarray(np.minimum(own * np.float32(0.2), np.float32(60.0)), np.float32)
    return np.maximum(own, np.float32(60.0)) * np.float32(0.12) + np.float32(0.88 * 255)


def _shade(picture: FloatPicture, mask: npt.NDArray[np.float32], colour: FloatPicture, strength: float) -> FloatPicture:
    cover = (mask * np.float32(strength))[..., None]
    return np.round(picture * (1 - cover) + colour * cover)


def _part(picture: FloatPicture, box: PixelBox) -> FloatPicture:
    return picture[box.top : box.bottom, box.left : box.right]


def shade_mask(size: tuple[int, int], boxes: list[PixelBox]) -> npt.NDArray[np.float32]:
    """A soft-edged cover, 1 on the boxes and fading around them: float32 (h, w), 0 to 1.

    It runs from edge to edge of the picture along the longer side of the type, and on to any edge that is near, so
    that it reads as a fall of light and not as a plate.
    """
    step = max(1, min(size) // 180)
    wide, high = -(-size[0] // step), -(-size[1] // step)
    soft = 0.06 * min(wide, high)
    pad, grow, near = round(3 * soft), round(1.7 * soft), 0.13 * min(wide, high)
    left, top = min(box.left for box in boxes) / step, min(box.top for box in boxes) / step
    right, bottom = max(box.right for box in boxes) / step, max(box.bottom for box in boxes) / step
    level = (right - left) / wide > (bottom - top) / high
    stamp = Image.new("L", (wide + 2 * pad, high + 2 * pad), 0)
    stamp.paste(
        255,
        (
            0 if level or left < near else round(left - grow) + pad,
            0 if not level or top < near else round(top - grow) + pad,
            wide + 2 * pad if level or wide - right < near else round(right + grow) + pad,
            high + 2 * pad if not level or high - bottom < near else round(bottom + grow) + pad,
        ),
    )
    blurred = stamp.filter(ImageFilter.GaussianBlur(soft)).crop((pad, pad, pad + wide, pad + high))
    full = blurred.resize((wide * step, high * step), Image.Resampling.BICUBIC).crop((0, 0, *size))
    return np.asarray(np.minimum(np.asarray(full, dtype=np.float32) / np.float32(240), np.float32(1)), np.float32)
