"""Turns sRGB into CIELAB, where equal steps look about equally large (CIE 15:2004, D65)."""

from __future__ import annotations

import re

import numpy as np
import numpy.typing as npt

from contracts.errors import DataError

Floats = npt.NDArray[np.float32]

_TO_XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
)
_WHITE = np.array([0.95047, 1.0, 1.08883])


def srgb_to_lab(pixels: npt.NDArray[np.generic]) -> Floats:
    """sRGB, 0 to 255, (..., 3) into L* (0 to 100), a* and b* under D65, (..., 3)."""
    encoded = np.asarray(pixels, np.float32) / 255
    linear = np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)
    ratio = linear @ (_TO_XYZ.T / _WHITE).astype(np.float32)
    root = np.where(ratio > 216 / 24389, np.cbrt(ratio), (24389 / 27 * ratio + 16) / 116)
    light = 116 * root[..., 1] - 16
    lab = [light, 500 * (root[..., 0] - root[..., 1]), 200 * (root[..., 1] - root[..., 2])]
    return np.asarray(np.stack(lab, axis=-1), np.float32)


def lab_to_srgb(lab: npt.NDArray[np.floating]) -> Floats:
    """Undoes `srgb_to_lab`: CIELAB (..., 3) into sRGB, 0 to 255; what no screen shows is clipped, channel by channel."""
    values = np.asarray(lab, np.float32)
    middle = (values[..., 0] + 16) / 116
    root = np.stack([middle + values[..., 1] / 500, middle, middle - values[..., 2] / 200], axis=-1)
    ratio = np.where(root > 6 / 29, root**3, (116 * root - 16) * (27 / 24389))
    linear = np.clip(ratio @ np.linalg.inv(_TO_XYZ.T / _WHITE).astype(np.float32), 0, 1)
    encoded = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return np.asarray(encoded * 255, np.float32)


NEAR_COLOUR = 12.0
"""CIE76 difference under which people would call two colours by one name."""


def parse_colour(colour: str, *, where: str) -> Floats:
    """CIELAB of "#rrggbb", (3,). Raises DataError when it is none."""
    if not re.fullmatch(r"#[0-9a-fA-F]{6}", colour):
        raise DataError(f'colour "{colour}" is not "#rrggbb"', where=where, fix='Write it like "#1a7f5a".')
    return srgb_to_lab(np.array([int(colour[place : place + 2], 16) for place in (1, 3, 5)]))


def difference(one: npt.NDArray[np.floating], other: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """CIE76 difference, broadcast over the last axis: 2 is just noticeable, 100 is black against white."""
    apart = np.asarray(one, np.float64) - other
    return np.asarray(np.sqrt((apart**2).sum(axis=-1)), np.float64)
