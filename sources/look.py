"""Turns pictures into their look: five numbers from the pixels (lightness, warmth, redness, chroma, busyness)."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from sources.colour import Floats, srgb_to_lab

LOOK_SIDE = 64
_CHUNK = 256
_STANDOUT_SCALE = 25.0  # CIELAB units; a difference of this much counts as 1 - 1/e

LOOK_MEANS = np.array([54.4, 1.5, 2.0, 23.5, 0.96])
LOOK_SPREADS = np.array([16.9, 15.9, 14.5, 10.6, 0.27])
"""Mean and standard deviation of the five raw numbers over the space of historic creatives.

Measured by `python -m sources.calibration` (4,000 scenes at 128 pixels with products in their boxes); the test
`test_the_constants_of_the_look_still_hold` measures them again.
"""

Pictures = npt.NDArray[np.uint8]


def look(pictures: Pictures) -> Floats:
    """The look of sRGB pictures, (N, H, W, 3) of any size, as (N, 5): mean 0 and sd 1 over historic creatives.

    In order: lightness (mean L*), warmth (mean b*), redness (mean a*), chroma (mean C*ab) and busyness (log of the
    mean gradient of L*), CIELAB under D65, of the picture averaged by area to 64 x 64.
    """
    standard: Floats = (raw_look(pictures) - LOOK_MEANS) / LOOK_SPREADS
    return standard


def raw_look(pictures: Pictures) -> Floats:
    """The five numbers before they are standardised, (N, 5): four in CIELAB units, the last a natural logarithm."""
    rows = [
        np.stack(
            [
                lab[..., 0].mean((1, 2)), lab[..., 2].mean((1, 2)), lab[..., 1].mean((1, 2)),
                np.hypot(lab[..., 1], lab[..., 2]).mean((1, 2)), np.log(0.05 + _gradient(lab[..., 0])),
            ],
            axis=1,
        )
        for lab in _small_lab(pictures)
    ]  # fmt: skip
    return np.concatenate(rows) if rows else np.zeros((0, 5))


def standout(pictures: Pictures, boxes: Floats) -> Floats:
    """How far the product stands out, shape (N,), in [0, 1): 1 - exp(-difference / 25).

    The difference is the CIELAB distance between the mean colour inside the product's box, over its middle 70 %, and
    that of the ring round the box, a quarter of its size wide.

    Args:
        pictures: uint8 (N, H, W, 3).
        boxes: (N, 4) left, top, width, height as fractions of the picture; a row with a NaN counts as 0.5.
    """
    centre = (np.arange(LOOK_SIDE) + 0.5) / LOOK_SIDE
    chances: list[Floats] = []
    start = 0
    for lab in _small_lab(pictures):
        part = np.asarray(boxes[start : start + len(lab)], dtype=np.float64)
        start += len(lab)
        left, top, wide, high = (part[:, index, None] for index in range(4))

        def within(grow: float, low: Floats, size: Floats) -> Floats:
            inside: Floats = ((centre >= low - grow * size) & (centre <= low + (1 + grow) * size)).astype(np.float64)
            return inside

        inner = within(-0.15, top, high)[:, :, None] * within(-0.15, left, wide)[:, None, :]
        box = within(0.0, top, high)[:, :, None] * within(0.0, left, wide)[:, None, :]
        ring = within(0.25, top, high)[:, :, None] * within(0.25, left, wide)[:, None, :] - box
        gap = _mean_colour(lab, inner) - _mean_colour(lab, ring)
        chances.append(np.where(np.isnan(part).any(1), 0.5, 1 - np.exp(-np.sqrt((gap**2).sum(1)) / _STANDOUT_SCALE)))
    return np.concatenate(chances) if chances else np.zeros(0)


def _mean_colour(lab: Floats, weights: Floats) -> Floats:
    total = np.maximum(weights.sum((1, 2)), 1e-9)[:, None]
    mean: Floats = np.einsum("nhwc,nhw->nc", lab, weights) / total
    return mean


def _gradient(lightness: Floats) -> Floats:
    """Mean length of the central-difference gradient of (N, 64, 64), in L* per pixel of 64, shape (N,)."""
    down, across = np.gradient(lightness, axis=(1, 2))
    mean: Floats = np.hypot(down, across).mean((1, 2))
    return mean


def _small_lab(pictures: Pictures) -> Iterator[Floats]:
    """CIELAB of the pictures averaged by area to 64 x 64, in chunks of (<= 256, 64, 64, 3)."""
    height, width = pictures.shape[1:3]
    down, across = _area_weights(height), _area_weights(width)
    for start in range(0, len(pictures), _CHUNK):
        part = pictures[start : start + _CHUNK]
        if height % LOOK_SIDE == 0 and width % LOOK_SIDE == 0:
            by_row, by_column = height // LOOK_SIDE, width // LOOK_SIDE
            blocks = part.reshape(len(part), LOOK_SIDE, by_row, LOOK_SIDE, by_column, 3)
            small = blocks.sum(axis=(2, 4), dtype=np.float64) / (by_row * by_column)
        else:
            small = np.einsum("ih,nhwc,jw->nijc", down, part.astype(np.float64), across, optimize=True)
        yield srgb_to_lab(small / 255)


def _area_weights(length: int) -> Floats:
    """Row i holds what each of `length` pixels gives to the i-th of 64 equal parts, (64, length), rows sum to 1."""
    edges = np.linspace(0, length, LOOK_SIDE + 1)
    pixel = np.arange(length)
    overlap = np.minimum(edges[1:, None], pixel + 1) - np.maximum(edges[:-1, None], pixel)
    weights: Floats = np.clip(overlap, 0, None) * (LOOK_SIDE / length)
    return weights
