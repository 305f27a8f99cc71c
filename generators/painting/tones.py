"""Turns scenes as tensors into the roots that CIELAB is made of, looks, and back: as generators/colour.py and generators/taste/look.py, for many at once.

Letters: B scenes, S side in pixels. Channels come first, so that every step is one pass over long rows. CIELAB is linear in the three
roots of X, Y and Z over white: L* = 116 y - 16, a* = 500 (x - y), b* = 200 (y - z). So what is linear in CIELAB is linear in
roots, and nothing else needs a conversion.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from generators.colour import DARK_RATIO, DARK_SLOPE, LEVELS, LINEAR, TO_LAB, TO_LINEAR, TO_RATIO, TO_ROOT
from generators.products import Pixels
from generators.taste.look import NO_CONTRAST, STEP_FLOOR

_RATIO, _LINEAR, _LAB, _ROOT = (torch.from_numpy(one.T.copy()) for one in (TO_RATIO, TO_LINEAR, TO_LAB, TO_ROOT))
_BLACK = torch.tensor([16.0, 0.0, 0.0])[:, None, None]
_DARK_ROOT = 6 / 29
_ROOT_SLOPE, _CUBE_SLOPE = float(DARK_SLOPE) / 116, 116 / float(DARK_SLOPE)  # of the tangents that go on in the dark


def to_roots(pixels: Pixels) -> Tensor:
    """sRGB, uint8 (B, 3, S, S), into roots."""
    return _roots(torch.from_numpy(LINEAR.take(pixels)))


def to_levels(roots: Tensor) -> Pixels:
    """Undoes `to_roots`; what no screen shows is clipped, channel by channel."""
    most = len(LEVELS) - 1
    return LEVELS.take((shown(roots) * most + 0.5).to(torch.int32).numpy())


def shown(roots: Tensor) -> Tensor:
    """Linear light, 0 to 1, as a screen shows it."""
    bright = roots.clamp(min=_DARK_ROOT)
    return _mixed(_LINEAR, (bright * bright * bright).add_(roots - bright, alpha=_CUBE_SLOPE)).clamp_(0, 1)


def shown_lab(roots: Tensor) -> Tensor:
    """CIELAB (B, 3, S, S) of roots as a screen shows them."""
    return lab_of(_roots(shown(roots)))


def lab_of(roots: Tensor) -> Tensor:
    """CIELAB (B, 3, S, S)."""
    return _mixed(_LAB, roots) - _BLACK


def change(roots: Tensor, gain: Tensor, shift: Tensor) -> Tensor:
    """Roots whose CIELAB is gain * CIELAB + shift, (B, 3) each."""
    matrix = _ROOT @ (gain[:, :, None] * _LAB)
    moved = _ROOT @ ((1 - gain) * _BLACK[:, 0, 0] + shift)[..., None]
    return torch.baddbmm(moved, matrix, roots.flatten(2)).view(roots.shape)


def brighten(roots: Tensor, lightness: Tensor) -> Tensor:
    """Roots whose L* is so much more, (B, 1, S, S)."""
    return roots.add_(lightness, alpha=1 / 116)


def tone_looks(lab: Tensor, gaps: Tensor, known: Tensor) -> Tensor:
    """(B, 6) looks in the order of `look.LOOK` of CIELAB (B, 3, s, s); see `look.lab_looks`.

    Args:
        gaps: (B, 3) colour around the product less its own. known: (B,) bool, whether there is a product.
    """
    light = lab[:, 0]
    down, across = light.diff(dim=1)[:, :, :-1], light.diff(dim=2)[:, :-1]
    steps = (down * down + across * across).sqrt_().mean((1, 2)) * (lab.shape[-1] / 64)
    chroma = (lab[:, 1] * lab[:, 1] + lab[:, 2] * lab[:, 2]).sqrt_().mean((1, 2)) / 100
    contrast = torch.where(known, 1 - torch.exp(-gaps.square().sum(1).sqrt() / 25), NO_CONTRAST)
    return torch.cat([lab.mean((2, 3)) / 100, torch.stack([chroma, torch.log(STEP_FLOOR + steps), contrast], 1)], 1)


def _roots(linear: Tensor) -> Tensor:
    ratio = _mixed(_RATIO, linear)
    bright = ratio.clamp(min=float(DARK_RATIO))
    return (bright ** (1 / 3)).add_(ratio - bright, alpha=_ROOT_SLOPE)


def small_roots(pixels: Pixels, block: int) -> Tensor:
    """Roots (B, 3, S / block, S / block) of sRGB uint8 (B, 3, S, S), averaged by area."""
    rows, channels, side = pixels.shape[:3]
    small = side // block
    rows_added = pixels.reshape(rows, channels, small, block, side).sum(3, dtype=np.uint32)
    total = sum(rows_added[..., first::block] for first in range(block))
    srgb = torch.from_numpy(np.asarray(total, np.float32) / np.float32(255 * block**2))
    return _roots(torch.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4))


def _mixed(matrix: Tensor, grids: Tensor) -> Tensor:
    return torch.matmul(matrix, grids.flatten(2)).view(grids.shape)
