"""Turns pictures into their look: six plain numbers of colour, light and texture, in which tastes are learned and told.

The numbers are means over CIELAB (CIE 15:2004, D65), where equal steps look about equally large: what a person would
call bright, warm, colourful, busy, or a product that stands out. Few numbers learn from few clicks.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from generators.colour import srgb_to_lab

Floats = npt.NDArray[np.float32]
Pixels = npt.NDArray[np.uint8]

LOOK = ("lightness", "red_green", "yellow_blue", "chroma", "busyness", "contrast")
"""Names of the numbers, in the order of every look array: L*, a*, b* and C* over 100; the logarithm of the mean step of
L* between neighbours; and how far the product's colour is from that of the ring around it, 1 - exp(-difference / 25)."""

NO_CONTRAST = 0.5
"""The contrast of a picture whose product is not known."""

STEP_FLOOR = 0.05
"""Added to the mean step of L*, so that its logarithm has an end."""

_SIDE = 64  # looks are measured at about this size, so that film grain and JPEG noise do not count
_RING = 5  # pixels at that size around the product
_CHUNK = 256


def picture_looks(pictures: Pixels, masks: npt.NDArray[np.generic] | None = None) -> Floats:
    """The looks of sRGB pictures, not standardised.

    Args:
        pictures: uint8 (P, S, S, 3), S a multiple of 16.
        masks: (P, S, S), or (S, S) for all: above half of its type's range (127, or 0.5) on the product; None, or a
            picture without such a pixel: no product is known.

    Returns:
        (P, 6) in the order of LOOK.
    """
    count, side = len(pictures), pictures.shape[1]
    if side % 16 or pictures.shape[2] != side:
        raise ValueError(f"pictures must be square with a side that is a multiple of 16, not {pictures.shape}")
    looks = np.empty((count, len(LOOK)), np.float32)
    for start in range(0, count, _CHUNK):
        part = slice(start, start + _CHUNK)
        lab = average_lab(pictures[part])
        around = None
        if masks is not None:
            around = Surroundings.of(average_cover(masks[part] if masks.ndim == 3 else masks[None]))
        looks[part] = lab_looks(lab, around)
    return looks


def colour_look(colours: Pixels) -> Floats:
    """L*, a*, b* over 100 of sRGB colours, uint8 (..., 3): the first three numbers of a plain picture's look."""
    return np.asarray(srgb_to_lab(colours) / 100, np.float32)


@dataclass(frozen=True, eq=False)
class Surroundings:
    """The pixels on a product, and those of the ring around it: (P or 1, s, s) each."""

    inside: npt.NDArray[np.bool_]
    ring: npt.NDArray[np.bool_]

    @classmethod
    def of(cls, covers: Floats) -> Surroundings:
        """From what `average_cover` gave, (P or 1, s, s)."""
        inside = covers > 0.5
        return cls(inside, _widened(inside, max(1, round(_RING * covers.shape[1] / _SIDE))) & ~inside)

    def gaps(self, lab: Floats) -> tuple[Floats, npt.NDArray[np.bool_]]:
        """(P, 3) mean CIELAB colour of the ring less that of the product, and (P,) whether there are both; lab is (P, s, s, 3)."""
        known = np.broadcast_to(self.inside.any((1, 2)) & self.ring.any((1, 2)), len(lab))
        return _mean_under(lab, self.ring) - _mean_under(lab, self.inside), known


def lab_looks(lab: Floats, around: Surroundings | None) -> Floats:
    """`picture_looks` of what `average_lab` gave, (P, s, s, 3), into (P, 6); None: no product is known."""
    light, red, yellow = lab[..., 0], lab[..., 1], lab[..., 2]
    down, across = np.diff(light, axis=1)[:, :, :-1], np.diff(light, axis=2)[:, :-1]
    steps = np.sqrt(down * down + across * across).mean((1, 2)) * (lab.shape[1] / _SIDE)
    contrast = np.full(len(lab), NO_CONTRAST, np.float32)
    if around is not None:
        gaps, known = around.gaps(lab)
        contrast = np.where(known, 1 - np.exp(-np.sqrt((gaps**2).sum(1)) / 25), contrast).astype(np.float32)
    return np.stack(
        [
            light.mean((1, 2)) / 100, red.mean((1, 2)) / 100, yellow.mean((1, 2)) / 100,
            np.sqrt(red * red + yellow * yellow).mean((1, 2)) / 100, np.log(STEP_FLOOR + steps), contrast,
        ],
        axis=1,
    ).astype(np.float32)  # fmt: skip


def _mean_under(lab: Floats, where: npt.NDArray[np.bool_]) -> Floats:
    weights = np.broadcast_to(where, lab.shape[:3]).reshape(len(lab), 1, -1).astype(np.float32, order="C")
    total = np.maximum(weights.sum(2), 1)
    return np.asarray((weights @ lab.reshape(len(lab), -1, 3))[:, 0] / total, np.float32)


def _widened(where: npt.NDArray[np.bool_], reach: int) -> npt.NDArray[np.bool_]:
    """Everything within `reach` pixels, along rows and columns, of what is marked, (P, s, s)."""
    for axis in (1, 2):
        wide = where.copy()
        for step in range(1, reach + 1):
            low, high = [slice(None)] * 3, [slice(None)] * 3
            low[axis], high[axis] = slice(None, -step), slice(step, None)
            wide[tuple(high)] |= where[tuple(low)]
            wide[tuple(low)] |= where[tuple(high)]
        where = wide
    return where


def average_lab(pictures: Pixels) -> Floats:
    """(P, S, S, 3) averaged by area to about 64 pixels, in CIELAB."""
    block = max(1, pictures.shape[1] // _SIDE)
    while pictures.shape[1] % block:
        block -= 1
    side = pictures.shape[1] // block
    small = pictures.reshape(len(pictures), side, block, side, block, 3).mean((2, 4), dtype=np.float32)
    return srgb_to_lab(small)


def average_cover(masks: npt.NDArray[np.generic]) -> Floats:
    """(P, S, S) of any scale averaged like the pictures, 0 to 1."""
    values = np.asarray(masks, np.float32) / (255 if masks.dtype == np.uint8 else 1)
    block = max(1, masks.shape[1] // _SIDE)
    while masks.shape[1] % block:
        block -= 1
    side = masks.shape[1] // block
    return np.asarray(values.reshape(len(values), side, block, side, block).mean((2, 4)), np.float32)
