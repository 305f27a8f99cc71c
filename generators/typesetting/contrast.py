"""Turns the real pixels behind the type into an ink and, where needed, a shade or a plate that make it legible.

Contrast is repaired in this order, and no further than needed:

1. colour: the ink, light or dark or the brand's own, that is legible on the pixels as they are;
2. shade: a soft fall of light behind the type, as weak as it may be, up to MOST_SHADE: more would hide the scene;
3. plate: a plain, rounded plate right behind the copy, and nothing else of the scene is touched.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFilter

from generators.products import PixelBox

Colour = tuple[int, int, int]
FloatPicture = npt.NDArray[np.float32]  # (h, w, 3), sRGB values 0 to 255

LEAST_CONTRAST = 4.5
"""WCAG 2.2, success criterion 1.4.3 (AA), text of any size."""

LIGHT_INK: Colour = (255, 255, 255)
DARK_INK: Colour = (20, 22, 28)
BLACK: Colour = (0, 0, 0)

MOST_SHADE = 0.55
"""Strength of a shade, 0 to 1, beyond which a plate is laid instead."""

_WORST = 2.0  # percentile of the background pixels that has to pass
_TARGET = 4.7  # aimed at, so that rounding to bytes cannot fall below LEAST_CONTRAST
_STEPS = 25  # strengths of the shade, from none to opaque
_FOG = 1.3  # a light shade looks worse than a dark one of the same strength by this factor
_MIDDLE = 0.18  # relative luminance that is as far from black as from white
_SEARCHED = 4000  # pixels of a box that the search for a shade looks at; its result is measured on all of them
_FINE = 4  # plates are drawn this much larger, then averaged down


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
    ratios = contrast_ratio(pixels, ink)
    place = int((len(ratios) - 1) * (_WORST / 100))
    return float(np.partition(ratios, place)[place])


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
        plate: where a plate was laid; None: none was needed.
    """

    picture: FloatPicture
    ink: Colour
    strength: float
    contrasts: dict[str, float]
    plate: PixelBox | None = None


def make_legible(
    picture: FloatPicture, boxes: Mapping[str, PixelBox], *, least_shade: float = 0.0,
    inks: Sequence[Colour] = (LIGHT_INK, DARK_INK), plate_at: PixelBox | None = None, plate: Colour | None = None,
) -> Legible:  # fmt: skip
    """Chooses the ink that needs the less visible shade, and lays that shade, or a plate, behind the boxes.

    All boxes get the same ink. The shade is dark under light ink and light under dark ink, tinted by the picture,
    soft at its edge, and as weak as the contrast of every box and `least_shade` (0 to 1) allow. The picture given is not
    changed.

    Args:
        picture: float32 (h, w, 3), 0 to 255.
        boxes: of the type, by name.
        least_shade: of the shade, whatever the contrast.
        inks: to choose from.
        plate_at: where a plate may be laid; None: around the boxes, no further.
        plate: its colour; None: as the shade's.

    Raises:
        ValueError: there are no boxes, or no inks.
    """
    if not boxes or not inks:
        raise ValueError("no boxes" if not boxes else "no inks")
    mask = shade_mask((picture.shape[1], picture.shape[0]), list(boxes.values()))
    found = [_weakest(picture, mask, boxes, ink) for ink in inks]
    ink, strength, _ = min(found, key=lambda one: (one[1] * (1.0 if _is_light(one[0]) else _FOG), -one[2]))
    if strength > MOST_SHADE:
        return _plated(picture, boxes, plate_at or _around(boxes), ink, inks, plate)
    strength = max(strength, least_shade)
    rows = np.flatnonzero(mask.any(axis=1))
    band = slice(rows[0], rows[-1] + 1)
    shaded = picture.copy()
    shaded[band] = _shade(picture[band], mask[band], _shade_colour(picture, mask, ink), strength)
    return Legible(shaded, ink, strength, _contrasts(shaded, boxes, ink))


def _contrasts(picture: FloatPicture, boxes: Mapping[str, PixelBox], ink: Colour) -> dict[str, float]:
    return {name: text_contrast(_part(picture, box), ink) for name, box in boxes.items()}


def _is_light(ink: Colour) -> bool:
    return float(relative_luminance(ink)) > _MIDDLE


def _plated(
    picture: FloatPicture, boxes: Mapping[str, PixelBox], at: PixelBox, ink: Colour, inks: Sequence[Colour],
    colour: Colour | None,
) -> Legible:  # fmt: skip
    """The picture with a plain plate, and the first ink that is legible on it."""
    if colour is None:
        mask = np.zeros(picture.shape[:2], np.float32)
        mask[at.top : at.bottom, at.left : at.right] = 1
        red, green, blue = (round(float(value)) for value in _shade_colour(picture, mask, ink))
        colour = red, green, blue
    ordered = [ink, *inks, LIGHT_INK, DARK_INK, BLACK]
    ink = next(one for one in ordered if float(contrast_ratio(colour, one)) >= LEAST_CONTRAST)
    plated = lay_plate(picture, at, colour)
    return Legible(plated, ink, 0.0, _contrasts(plated, boxes, ink), at)


def lay_plate(picture: FloatPicture, at: PixelBox, colour: Colour) -> FloatPicture:
    """A copy with an opaque plate, its corners a little round; float32 (h, w, 3), whole numbers."""
    wide, high = at.right - at.left, at.bottom - at.top
    radius = round(_FINE * min(0.12 * min(wide, high), 0.02 * min(picture.shape[:2]) + 2))
    stamp = Image.new("L", (wide * _FINE, high * _FINE), 0)
    ImageDraw.Draw(stamp).rounded_rectangle((0, 0, stamp.width - 1, stamp.height - 1), radius=radius, fill=255)
    cover = np.asarray(stamp.reduce(_FINE), np.float32)[..., None] / np.float32(255)
    out = picture.copy()
    part = out[at.top : at.bottom, at.left : at.right]
    part += cover * (np.array(colour, np.float32) - part)
    return np.round(out)


def _around(boxes: Mapping[str, PixelBox]) -> PixelBox:
    many = list(boxes.values())
    return PixelBox(min(box.left for box in many), min(box.top for box in many),
                    max(box.right for box in many), max(box.bottom for box in many))  # fmt: skip


def _weakest(
    picture: FloatPicture, mask: npt.NDArray[np.float32], boxes: Mapping[str, PixelBox], ink: Colour
) -> tuple[Colour, float, float]:
    """The ink, the weakest strength of shade at which every box passes (by bisection), and the least contrast then."""
    colour = _shade_colour(picture, mask, ink)
    whole = [(_part(picture, box), mask[box.top : box.bottom, box.left : box.right]) for box in boxes.values()]
    sample = [(part[:: _step(part), :: _step(part)], cover[:: _step(part), :: _step(part)]) for part, cover in whole]

    def least(parts: list[tuple[FloatPicture, npt.NDArray[np.float32]]], strength: float) -> float:
        return min(text_contrast(_shade(part, cover, colour, strength), ink) for part, cover in parts)

    low, high = -1, _STEPS
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if least(sample, middle / _STEPS) >= _TARGET else (middle, high)
    while (reached := least(whole, high / _STEPS)) < _TARGET and high < _STEPS:
        high += 1
    return ink, high / _STEPS, reached


def _step(part: FloatPicture) -> int:
    """Every how many rows and columns enough pixels remain to search with."""
    return max(1, int(np.sqrt(part.shape[0] * part.shape[1] / _SEARCHED)))


def _shade_colour(picture: FloatPicture, mask: npt.NDArray[np.float32], ink: Colour) -> FloatPicture:
    """Dark for light ink, light for dark ink, with a trace of the picture's own colour there; (3,)."""
    step = max(1, min(mask.shape) // 250)
    thin = mask[::step, ::step]
    own = np.asarray(np.tensordot(thin, picture[::step, ::step], 2) / max(float(thin.sum()), 1.0), dtype=np.float32)
    if _is_light(ink):
        return np.asarray(np.minimum(own * np.float32(0.2), np.float32(60.0)), np.float32)
    return np.maximum(own, np.float32(60.0)) * np.float32(0.12) + np.float32(0.88 * 255)


def _shade(picture: FloatPicture, mask: npt.NDArray[np.float32], colour: FloatPicture, strength: float) -> FloatPicture:
    if strength == 0:
        return picture
    cover = (mask * np.float32(strength))[..., None]
    return np.round(picture + cover * (colour - picture))


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
