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

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageFilter
from torch import Tensor

from generators.painting.tones import brighten, change, lab_of, shown_lab, small_roots, to_levels, to_roots, tone_looks
from generators.products import Pixels
from generators.taste.look import Surroundings, average_cover, average_lab

Floats = npt.NDArray[np.float32]

ROUNDS = 4
_PACE = 0.9  # of a correction that is made in a round
_LIGHT_GAIN, _HUE_GAIN = (0.35, 1.6), (0.5, 1.6)
_MOST_SHIFT, _MOST_GLOW = 30.0, 28.0  # CIELAB units
_REACH = 0.18  # of the side: standard deviation of the fall of the glow
_EVEN = 3.0  # times that the fall is cut: so far it is even
_MOST_CONTRAST = 0.92  # a product cannot stand out from its surroundings more than this
_PRODUCTS = 64  # remembered
_AT_ONCE = 4  # scenes of full size: what is between two steps stays in the cache


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
    stands, wish = _Stand.several(framed, masks), torch.from_numpy(wanted)
    painted = np.ascontiguousarray(scenes.transpose(0, 3, 1, 2))
    gain, shift, glow = _found(painted, stands, wish.nan_to_num())
    levels = [
        to_levels(brighten(change(to_roots(painted[part]), gain[part], shift[part]), glow[part, None, None, None] * stands.large[part]))
        for part in (slice(first, first + _AT_ONCE) for first in range(0, len(scenes), _AT_ONCE))
    ]  # fmt: skip
    left = np.isnan(wanted).any(axis=1).reshape(-1, 1, 1, 1)
    return np.where(left, scenes, np.concatenate(levels).transpose(0, 2, 3, 1))


@dataclass(frozen=True, eq=False)
class _Stand:
    """What a grade must know of each of B products in their places.

    Attributes:
        cover: (B, 1, s, s). held: (B, 3, s, s) CIELAB of the product. near: (B, 1, s, s). large: (B, 1, S, S) near at full size.
        inside, ring: (B, s * s) weights of a mean over the product, and over the ring around it. known: (B,) bool, whether there are both.
    """

    cover: Tensor
    held: Tensor
    near: Tensor
    large: Tensor
    inside: Tensor
    ring: Tensor
    known: Tensor

    @classmethod
    def several(cls, framed: Pixels, masks: Floats) -> _Stand:
        side = masks.shape[-1]
        each = [_stand(one.tobytes(), mask.tobytes(), side) for one, mask in zip(framed, masks, strict=True)]
        return cls(*(torch.stack(part) for part in zip(*each, strict=True)))

    def gaps(self, lab: Tensor) -> Tensor:
        """(B, 3) mean colour of the ring less that of the product, of CIELAB (B, 3, s, s)."""
        return torch.matmul(lab.flatten(2), (self.ring - self.inside)[..., None])[..., 0]


@lru_cache(_PRODUCTS)
def _stand(framed: bytes, mask: bytes, side: int) -> tuple[Tensor, ...]:
    """The fields of `_Stand` for one product: every candidate of every cohort stands around the same few."""
    cover = average_cover(np.frombuffer(mask, np.float32).reshape(1, side, side))[0]
    held = average_lab(np.frombuffer(framed, np.uint8).reshape(1, side, side, 3))[0]
    near, around = _near(cover), Surroundings.of(cover[None])
    large = np.asarray(Image.fromarray(near).resize((side, side), Image.Resampling.BICUBIC), np.float32)
    weights = [where.reshape(-1) / np.float32(max(where.sum(), 1)) for where in (around.inside, around.ring)]
    known = bool(around.inside.any() and around.ring.any())
    return (
        torch.from_numpy(cover)[None], torch.from_numpy(held).permute(2, 0, 1).contiguous(), torch.from_numpy(near)[None],
        torch.from_numpy(large.copy())[None], *(torch.from_numpy(one) for one in weights), torch.tensor(known),
    )  # fmt: skip


def _found(painted: Pixels, stands: _Stand, wanted: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Gain (B, 3) and shift (B, 3) of CIELAB as a whole, and glow (B,), for scenes uint8 (B, 3, S, S)."""
    small = small_roots(painted, painted.shape[-1] // stands.cover.shape[-1])
    free = 1 - stands.cover
    weight = free.sum((1, 2, 3)).clamp(min=1)[:, None]
    centre = (lab_of(small) * free).sum((2, 3)) / weight
    held, share = stands.held * stands.cover, stands.cover[0].numel() / weight
    gain, shift, glow = torch.ones_like(centre), torch.zeros_like(centre), torch.zeros(len(centre))
    for _ in range(ROUNDS):
        moved = brighten(change(small, gain, centre * (1 - gain) + shift), glow[:, None, None, None] * stands.near)
        picture = shown_lab(moved) * free + held
        gaps = stands.gaps(picture)
        look = tone_looks(picture, gaps, stands.known)
        gain, glow = _corrected(gain, glow, look, wanted, torch.where(stands.known[:, None], gaps, torch.nan))
        shift = (shift + _PACE * 100 * (wanted[:, :3] - look[:, :3]) * share).clamp(-_MOST_SHIFT, _MOST_SHIFT)
    return gain, centre * (1 - gain) + shift, glow


def _corrected(gain: Tensor, glow: Tensor, look: Tensor, wanted: Tensor, gaps: Tensor) -> tuple[Tensor, Tensor]:
    """Gains (B, 3) and glows (B,) after a round, from chroma, steps of lightness, and the gap round the product; NaN: none."""
    colourful = wanted[:, 3].clamp(min=0.01) / look[:, 3].clamp(min=0.01)
    busy = torch.exp(wanted[:, 4] - look[:, 4])
    light = (gain[:, 0] * busy**_PACE).clamp(*_LIGHT_GAIN)
    hue = (gain[:, 1] * colourful**_PACE).clamp(*_HUE_GAIN)
    apart = -25 * torch.log(1 - wanted[:, 5].clamp(0.05, _MOST_CONTRAST))
    needed = (apart**2 - gaps[:, 1] ** 2 - gaps[:, 2] ** 2).clamp(min=0).sqrt()  # of lightness, the hues as they are
    more = _PACE * (torch.copysign(needed, gaps[:, 0]) - gaps[:, 0])
    return torch.stack([light, hue, hue], 1), (glow + more.nan_to_num()).clamp(-_MOST_GLOW, _MOST_GLOW)


def _near(cover: Floats) -> Floats:
    """(s, s) 1 on the product and right around it, falling off softly."""
    stamp = Image.fromarray(((cover > 0.5) * 255).astype(np.uint8)).filter(
        ImageFilter.GaussianBlur(_REACH * len(cover))
    )
    return np.asarray(np.minimum(np.asarray(stamp, np.float32) / 255 * _EVEN, 1), np.float32)
