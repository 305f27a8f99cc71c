"""Turns painted scenes and the looks that were wanted into scenes that have them: a colour grade, as a photographer gives.

Letters: B scenes, S side in pixels, F numbers of a look, s = 64, the side at which looks are measured.

A small network keeps a look only roughly: it paints duller and less contrasted than it is told. What is missing is made up in CIELAB,
by the same few numbers for all pixels of a scene, so that shapes and edges stay as painted:

    graded = centre + gain * (painted - centre) + shift + glow * near

gain: of lightness (how busy the scene is) and of both hues (how colourful); shift: lightness and hue; near: 1 at the product, falling
off around it; glow: of light or dark, by which the surroundings of the product move away from its own colour (how it stands out). They are found in
a few rounds of measuring the picture, with the product in it, and correcting what is off. The bounds keep a grade from being seen as one.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter

from generators.colour import clip_lab, lab_to_bytes, srgb_to_lab
from generators.products import Pixels
from generators.taste.look import Surroundings, average_cover, average_lab, lab_looks

Floats = npt.NDArray[np.float32]

ROUNDS = 4
_PACE = 0.9  # of a correction that is made in a round
_LIGHT_GAIN, _HUE_GAIN = (0.35, 1.6), (0.5, 1.6)
_MOST_SHIFT, _MOST_GLOW = 30.0, 28.0  # CIELAB units
_REACH = 0.18  # of the side: standard deviation of the fall of the glow
_EVEN = 3.0  # times that the fall is cut: so far it is even
_MOST_CONTRAST = 0.92  # a product cannot stand out from its surroundings more than this


def grade(scenes: Pixels, framed: Pixels, masks: Floats, wanted: Floats) -> Pixels:
    """The scenes with the looks that are wanted, as far as the bounds allow.

    Args:
        scenes: uint8 (B, S, S, 3), as painted.
        framed: uint8 (B, S, S, 3), the products in their places.
        masks: (B, S, S), above 0.5 on the products.
        wanted: (B, F) looks of the pictures, products in place; a row with a NaN is left as it is.

    Returns:
        uint8 (B, S, S, 3); what a product will cover is graded too.
    """
    return np.stack(
        [
            one if np.isnan(look).any() else _graded(one, product, mask, look)
            for one, product, mask, look in zip(scenes, framed, masks, wanted, strict=True)
        ]
    )


def _graded(scene: Pixels, product: Pixels, mask: Floats, wanted: Floats) -> Pixels:
    cover, small, held = average_cover(mask[None])[0], average_lab(scene[None])[0], average_lab(product[None])[0]
    near, around = _near(cover), Surroundings.of(cover[None])
    free = 1 - cover
    weight = max(float(free.sum()), 1.0)
    centre = np.asarray((small * free[..., None]).sum((0, 1)) / weight, np.float32)
    gain, shift, glow = np.ones(3, np.float32), np.zeros(3, np.float32), 0.0
    for _ in range(ROUNDS):
        now = clip_lab(_apply(small, centre, gain, shift, glow, near))
        picture = now * free[..., None] + held * cover[..., None]
        look = lab_looks(picture[None], around)[0]
        gain, glow = _corrected(gain, glow, look, wanted, around.gaps(picture[None]))
        shift = shift + _PACE * 100 * (wanted[:3] - look[:3]) * cover.size / weight
        shift = np.clip(shift, -_MOST_SHIFT, _MOST_SHIFT).astype(np.float32)
    large = np.asarray(Image.fromarray(near).resize(scene.shape[:2], Image.Resampling.BICUBIC), np.float32)
    return lab_to_bytes(_apply(srgb_to_lab(scene), centre, gain, shift, glow, large))


def _apply(lab: Floats, centre: Floats, gain: Floats, shift: Floats, glow: float, near: Floats) -> Floats:
    graded = centre + gain * (lab - centre) + shift
    graded[..., 0] += np.float32(glow) * near
    return np.asarray(graded, np.float32)


def _corrected(
    gain: Floats, glow: float, look: Floats, wanted: Floats, gaps: tuple[Floats, npt.NDArray[np.bool_]]
) -> tuple[Floats, float]:
    """Gain and glow after a round, from chroma, steps of lightness, and the gap round the product."""
    colourful = max(float(wanted[3]), 0.01) / max(float(look[3]), 0.01)
    busy = float(np.exp(wanted[4] - look[4]))
    light = float(np.clip(gain[0] * busy**_PACE, *_LIGHT_GAIN))
    hue = float(np.clip(gain[1] * colourful**_PACE, *_HUE_GAIN))
    (gap,), (known,) = gaps
    if known:
        apart = -25 * np.log(1 - min(max(float(wanted[5]), 0.05), _MOST_CONTRAST))
        needed = np.sqrt(max(apart**2 - float(gap[1] ** 2 + gap[2] ** 2), 0.0))  # of lightness, the hues as they are
        glow += _PACE * (np.copysign(needed, float(gap[0])) - float(gap[0]))
    return np.array([light, hue, hue], np.float32), float(np.clip(glow, -_MOST_GLOW, _MOST_GLOW))


def _near(cover: Floats) -> Floats:
    """(s, s) 1 on the product and right around it, falling off softly."""
    stamp = Image.fromarray(((cover > 0.5) * 255).astype(np.uint8)).filter(
        ImageFilter.GaussianBlur(_REACH * len(cover))
    )
    return np.asarray(np.minimum(np.asarray(stamp, np.float32) / 255 * _EVEN, 1), np.float32)
