"""Turns soft shapes and lights into a small picture, painted in linear light at twice its size."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt

from sources.colour import Floats

Plane = npt.NDArray[np.float32]  # (S, S) or (S, 1) or (1, S), S = 2 * side: one number per sub-pixel
Colour = npt.NDArray[np.float32]  # (3,) linear sRGB
_LEVELS, _BRIGHTEST, _KNEE = 16384, 2.0, 0.72


def smooth(value: Plane, low: float, high: float) -> Plane:
    """0 below `low`, 1 above `high`, the cubic 3t^2 - 2t^3 between; `low` > `high` gives the falling step."""
    t = np.clip((value - np.float32(low)) * np.float32(1 / (high - low)), 0.0, 1.0)
    step: Plane = t * t * (3 - 2 * t)
    return step


@lru_cache(maxsize=8)
def _axes(size: int) -> tuple[Plane, Plane]:
    centre = ((np.arange(size, dtype=np.float32) + 0.5) / size).astype(np.float32)
    centre.setflags(write=False)
    return centre[None, :], centre[:, None]


@lru_cache(maxsize=1)
def _encoding() -> npt.NDArray[np.uint8]:
    """From linear light in steps of _BRIGHTEST / _LEVELS to sRGB bytes, highlights rolled off above the knee."""
    linear = np.arange(_LEVELS) * (_BRIGHTEST / (_LEVELS - 1))
    over = np.maximum(linear - _KNEE, 0) / (1 - _KNEE)
    rolled = np.minimum(linear, _KNEE) + (1 - _KNEE) * over / (1 + over)
    srgb = np.where(rolled <= 0.0031308, 12.92 * rolled, 1.055 * rolled ** (1 / 2.4) - 0.055)
    return np.asarray(np.round(255 * np.clip(srgb, 0, 1)), dtype=np.uint8)


class Canvas:
    """A picture in the making: surface colours, and how much light falls on them. Lengths are fractions of the side."""

    def __init__(self, side: int, colour: Colour) -> None:
        self.size = 2 * side
        self.x, self.y = _axes(self.size)
        self.colours = np.empty((3, self.size, self.size), dtype=np.float32)
        self.colours[:] = colour[:, None, None]
        self.light: Plane = np.ones((self.size, self.size), dtype=np.float32)
        self.tint: Plane = np.zeros((self.size, self.size), dtype=np.float32)

    def paint(self, mask: Plane, colour: Colour) -> None:
        """Lays `colour` over the picture with opacity `mask` (0 to 1, broadcast to the picture)."""
        for index, value in enumerate(colour):
            self.colours[index] += mask * (value - self.colours[index])

    def window(self, x: float, y: float, reach: float) -> tuple[tuple[slice, slice], Plane, Plane]:
        """The part of the picture within `reach` of (x, y): its slices, and its offsets from (x, y)."""
        rows, columns = (
            slice(max(0, int((c - reach) * self.size)), max(0, min(self.size, int((c + reach) * self.size) + 2)))
            for c in (y, x)
        )
        return (rows, columns), self.x[:, columns] - np.float32(x), self.y[rows] - np.float32(y)

    def ellipse(
        self, x: float, y: float, across: float, along: float, angle: float = 0.0, edge: float = 0.01
    ) -> tuple[tuple[slice, slice], Plane]:
        """The slices and the soft mask of an ellipse with half-axes `across` and `along`, turned by `angle` radians."""
        where, dx, dy = self.window(x, y, max(across, along) + edge)
        cos, sin = np.float32(np.cos(angle)), np.float32(np.sin(angle))
        u, v = (dx * cos + dy * sin) / np.float32(across), (dy * cos - dx * sin) / np.float32(along)
        spread = edge / min(across, along)
        return where, smooth(np.sqrt(u * u + v * v), 1 + spread / 2, 1 - spread / 2)

    def paint_ellipse(
        self, x: float, y: float, across: float, along: float, colour: Colour, *,
        angle: float = 0.0, edge: float = 0.01, opacity: float = 1.0, cut: Plane | None = None,
    ) -> None:  # fmt: skip
        """Lays a soft-edged ellipse over the picture, only where the (S, 1) or (S, S) plane `cut` lets it through."""
        where, mask = self.ellipse(x, y, across, along, angle, edge)
        if cut is not None:
            mask = mask * cut[where[0], where[1] if cut.shape[1] > 1 else slice(None)]
        mask = mask * np.float32(opacity)
        for channel, value in zip(self.colours, colour, strict=True):
            part = channel[where]
            part += mask * (value - part)

    def finish(self, key_colour: Floats) -> npt.NDArray[np.uint8]:
        """The picture as sRGB bytes, shape (side, side, 3): light applied, averaged down in linear light, encoded.

        Args:
            key_colour: (3,) linear colour of the key light; it tints as far as `tint` (0 to 1) says.
        """
        half = self.size // 2
        out = np.empty((half, half, 3), dtype=np.uint8)
        scale = np.float32((_LEVELS - 1) / _BRIGHTEST / 4)
        for index, channel in enumerate(self.colours):
            lit = channel * self.light
            lit *= 1 + self.tint * np.float32(key_colour[index] - 1)
            rows = lit[0::2] + lit[1::2]
            small = (rows[:, 0::2] + rows[:, 1::2]) * scale + np.float32(0.5)
            out[..., index] = _encoding()[np.clip(small, 0, _LEVELS - 1).astype(np.uint16)]
        return out
