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
TO_RATIO = (_TO_XYZ.T / _WHITE).astype(np.float32)
TO_LINEAR = np.linalg.inv(_TO_XYZ.T / _WHITE).astype(np.float32)
TO_LAB = np.array([[0, 500, 0], [116, -500, 200], [0, 0, -200]], np.float32)
TO_ROOT = np.linalg.inv(TO_LAB)
DARK_RATIO, DARK_SLOPE = np.float32(216 / 24389), np.float32(24389 / 27)


def _encoded(linear: npt.NDArray[np.floating]) -> Floats:
    """Linear light as sRGB, both 0 to 1 (IEC 61966-2-1)."""
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


def _decoded(encoded: npt.NDArray[np.floating]) -> Floats:
    """Undoes `_encoded`."""
    return np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)


LINEAR = _decoded(np.arange(256, dtype=np.float32) / 255)
"""Linear light of the 256 levels of sRGB."""

_STEPS = (1 << 14) - 1
LEVELS = np.round(_encoded(np.linspace(0, 1, _STEPS + 1, dtype=np.float32)) * 255).astype(np.uint8)
"""Levels of sRGB at even steps of linear light: the darkest steps are a fifth of a level apart."""


def srgb_to_lab(pixels: npt.NDArray[np.generic]) -> Floats:
    """sRGB, 0 to 255, (..., 3) into L* (0 to 100), a* and b* under D65, (..., 3)."""
    if pixels.dtype == np.uint8:
        return _lab(LINEAR.take(pixels.astype(np.uint8, copy=False)))
    return _lab(_decoded(np.asarray(pixels, np.float32) / 255))


def lab_to_srgb(lab: npt.NDArray[np.floating]) -> Floats:
    """Undoes `srgb_to_lab`: CIELAB (..., 3) into sRGB, 0 to 255; what no screen shows is clipped, channel by channel."""
    return np.asarray(_encoded(_shown(lab)) * 255, np.float32)


def _lab(linear: Floats) -> Floats:
    ratio = linear @ TO_RATIO
    root = np.cbrt(ratio)
    dark = ratio <= DARK_RATIO
    if dark.any():
        root[dark] = (DARK_SLOPE * ratio[dark] + 16) / 116
    lab = root @ TO_LAB
    lab[..., 0] -= 16
    return np.asarray(lab, np.float32)


def _shown(lab: npt.NDArray[np.floating]) -> Floats:
    """Linear light, 0 to 1."""
    root = (np.asarray(lab, np.float32) + np.array([16, 0, 0], np.float32)) @ TO_ROOT
    ratio = root * root * root
    dark = root <= 6 / 29
    if dark.any():
        ratio[dark] = (116 * root[dark] - 16) / DARK_SLOPE
    linear = ratio @ TO_LINEAR
    return np.asarray(np.clip(linear, 0, 1, out=linear), np.float32)


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
