"""Turns colours between OKLCH, linear light, sRGB and CIELAB."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

_OKLAB_TO_LMS = np.array(
    [[1.0, 0.3963377774, 0.2158037573], [1.0, -0.1055613458, -0.0638541728], [1.0, -0.0894841775, -1.2914855480]]
)
_LMS_TO_LINEAR = np.array(
    [
        [4.0767416621, -3.3077115913, 0.2309699292],
        [-1.2684380046, 2.6097574011, -0.3413193965],
        [-0.0041960863, -0.7034186147, 1.7076147010],
    ]
)
_SRGB_TO_XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
)
_D65 = _SRGB_TO_XYZ.sum(axis=1)  # the white point that (1, 1, 1) maps to, so that white is exactly neutral
_TO_XYZ_OVER_WHITE = (_SRGB_TO_XYZ / _D65[:, None]).T


def oklch_to_linear(lightness: float, chroma: float, hue: float) -> Floats:
    """Linear sRGB, shape (3,), of an OKLCH colour (B. Ottosson, "A perceptual color space", 2020); may leave [0, 1].

    Args:
        lightness: 0 (black) to 1 (white).
        chroma: 0 (grey) to about 0.32.
        hue: degrees; 30 is red, 90 yellow, 145 green, 250 blue, 330 magenta.
    """
    angle = np.deg2rad(hue)
    lab = np.array([lightness, chroma * np.cos(angle), chroma * np.sin(angle)])
    lms: Floats = (_OKLAB_TO_LMS @ lab) ** 3
    linear: Floats = _LMS_TO_LINEAR @ lms
    return linear


@lru_cache(maxsize=1)
def _gamut_edge() -> Floats:
    """Largest chroma inside sRGB, shape (101 lightnesses, 360 hues), by bisection."""
    lightness = np.linspace(0.0, 1.0, 101)[:, None]
    angle = np.deg2rad(np.arange(360.0))[None, :]
    low, high = np.zeros((101, 360)), np.full((101, 360), 0.4)
    for _ in range(14):
        middle = (low + high) / 2
        lab = np.stack([np.broadcast_to(lightness, middle.shape), middle * np.cos(angle), middle * np.sin(angle)], -1)
        linear = (lab @ _OKLAB_TO_LMS.T) ** 3 @ _LMS_TO_LINEAR.T
        inside = ((linear >= -1e-4) & (linear <= 1.0001)).all(axis=-1)
        low, high = np.where(inside, middle, low), np.where(inside, high, middle)
    low.setflags(write=False)
    return low


def largest_chroma(lightness: float, hue: float) -> float:
    """The largest OKLCH chroma that sRGB can show at this lightness (0 to 1) and hue (degrees), to one table step."""
    return float(_gamut_edge()[round(100 * min(max(lightness, 0.0), 1.0)), round(hue) % 360])


def paint_colour(lightness: float, chroma: float, hue: float) -> npt.NDArray[np.float32]:
    """Linear sRGB in [0, 1], shape (3,), of an OKLCH colour, its chroma cut to 85 % of what sRGB can show."""
    lightness = min(max(lightness, 0.03), 0.985)
    linear = oklch_to_linear(lightness, min(chroma, 0.85 * largest_chroma(lightness, hue)), hue)
    return np.clip(linear, 0.0, 1.0).astype(np.float32)


def srgb_to_lab(srgb: Floats) -> Floats:
    """CIELAB (L* 0 to 100, a*, b*), shape (..., 3), of gamma-coded sRGB in [0, 1], shape (..., 3).

    sRGB decoding after IEC 61966-2-1, its D65 primaries, and CIE 15:2004 section 8.2.1:
    L* = 116 f(Y) - 16, a* = 500 (f(X) - f(Y)), b* = 200 (f(Y) - f(Z)), each relative to the white, with
    f(t) = t^(1/3) above (6/29)^3 and t / (3 (6/29)^2) + 4/29 below.
    """
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    relative = linear @ _TO_XYZ_OVER_WHITE
    edge = 6 / 29
    f = np.where(relative > edge**3, np.cbrt(relative), relative / (3 * edge**2) + 4 / 29)
    lab: Floats = np.stack(
        [116 * f[..., 1] - 16, 500 * (f[..., 0] - f[..., 1]), 200 * (f[..., 1] - f[..., 2])], axis=-1
    )
    return lab
