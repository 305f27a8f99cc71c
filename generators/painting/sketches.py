"""Turns logged scenes into sketches, what is light and what is dark in them, and lends one to every picture that is painted.

A sketch is the composition of a scene without its colours: the network paints over it in the colours, light and
texture of a look, around a product of its own. So a small network that has seen a few thousand scenes draws straight
edges and whole arches (conditions on structure: Zhang et al. 2023, arXiv 2302.05543; borrowed from stored pictures:
Blattmann et al. 2022, arXiv 2204.11824). Where the logged product stood, a sketch has a hole, which the network fills.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

Bytes = npt.NDArray[np.uint8]

CELL = 8
"""Pixels of a sketch per latent cell, along each side."""

CHANNELS = CELL**2 + 1
"""Numbers of a cell: its pixels, and the share of it that is hole."""

_LUMA = (0.2126, 0.7152, 0.0722)
_FLOOR = 0.04  # of the standard deviation, so that a flat scene has a flat sketch
_STEP = 1 / 80  # between two levels of a stored sketch; 0 is level 128, and level 0 is a hole
_WIDEN = 17  # pixels; a logged product is taken out with this much around it, its shadow included
_CHOICE = 24  # sketches that suit a product best, of which one is lent
_NEAR = 8  # of these and their mirror images, those as calm or busy as is wished
_PRODUCTS = 64  # whose choice is remembered


def holes_around(masks: Tensor) -> Tensor:
    """(B, 1, S, S) masks of logged products in {0, 1}, widened to what they hide and shade."""
    return functional.max_pool2d(masks, _WIDEN, 1, _WIDEN // 2)


def sketch_scenes(scenes: Tensor, holes: Tensor) -> Tensor:
    """Lightness of scenes less its mean, in standard deviations up to 2, and 0 in the holes.

    Args:
        scenes: (B, 3, S, S) in [-1, 1].
        holes: (B, 1, S, S) in {0, 1}.

    Returns:
        (B, 1, S, S).
    """
    light = (scenes * torch.tensor(_LUMA, device=scenes.device)[:, None, None]).sum(1, keepdim=True)
    known = 1 - holes
    count = known.sum((2, 3), keepdim=True).clamp(min=1)
    centred = light - (light * known).sum((2, 3), keepdim=True) / count
    spread = ((centred.square() * known).sum((2, 3), keepdim=True) / count).sqrt()
    return (centred / (spread + _FLOOR)).clamp(-2, 2) / 2 * known


def sketch_cells(sketches: Tensor, holes: Tensor) -> Tensor:
    """Sketches and holes (B, 1, S, S) as cells of a latent grid, (B, CHANNELS, S / 8, S / 8)."""
    return torch.cat(
        [functional.pixel_unshuffle(sketches * (1 - holes), CELL), functional.avg_pool2d(holes, CELL)], dim=1
    )


def no_sketch(rows: int, side: int) -> tuple[Tensor, Tensor]:
    """Sketches and holes (B, 1, S, S) that say nothing: all hole."""
    return torch.zeros(rows, 1, side, side), torch.ones(rows, 1, side, side)


def to_levels(sketches: Tensor) -> Tensor:
    """Sketches in [-1, 1] as uint8, to be stored."""
    return (sketches / _STEP + 128).round().clamp(1, 255).to(torch.uint8)


def from_levels(levels: Tensor) -> Tensor:
    """Stored sketches as float32."""
    return (levels.float() - 128) * _STEP


@dataclass(frozen=True, eq=False)
class Sketchbook:
    """Sketches that pictures are painted over.

    Attributes:
        levels: uint8 (K, S, S) as `to_levels` makes them, and 0 in the holes.
    """

    levels: Bytes

    def lend(
        self, mask: npt.NDArray[np.float32], random: np.random.Generator, busyness: float | None = None
    ) -> tuple[Tensor, Tensor]:
        """A sketch and its hole (1, S, S), by lot among those whose hole this product hides best, mirrored or not.

        Args:
            mask: (S, S), above 0 where the product stands.
            random: the lot.
            busyness: how busy it is to be, as the share of pictures that are calmer; None: whatever comes.
        """
        if not len(self.levels):
            return tuple(part[0] for part in no_sketch(1, mask.shape[0]))  # type: ignore[return-value]
        count = len(self.levels)
        fitting = self._fitting(_packed(mask > 0).tobytes())
        if busyness is not None:
            fitting = fitting[np.argsort(self._steps[fitting % count], kind="stable")]
            low = round(busyness * max(len(fitting) - _NEAR, 0))
            fitting = fitting[low : low + _NEAR]
        chosen = fitting[random.integers(len(fitting))]
        page = self.levels[chosen % count]
        levels = torch.from_numpy(np.ascontiguousarray(page[:, ::-1] if chosen >= count else page))[None]
        return from_levels(levels), (levels == 0).float()

    @cached_property
    def _fitting(self) -> Callable[[bytes], npt.NDArray[np.int64]]:
        """From a packed mask to the pages that suit it best, mirrored ones counted on; remembered for the products of a batch."""
        return lru_cache(_PRODUCTS)(self._rank)

    def _rank(self, mask: bytes) -> npt.NDArray[np.int64]:
        bare = np.bitwise_count(self._holes & ~np.frombuffer(mask, np.uint64)).sum(1, dtype=np.int64)
        return np.argsort(bare, kind="stable")[: 2 * _CHOICE]

    @cached_property
    def _steps(self) -> npt.NDArray[np.float32]:
        """(K,) mean step between neighbours outside the hole, at half the size: how busy each sketch is."""
        count, side = len(self.levels), self.levels.shape[-1] // 2
        halves = self.levels.reshape(count, side, 2, side, 2)
        light, known = halves.mean((2, 4), dtype=np.float32), (halves > 0).all((2, 4))
        total, pairs = np.zeros(count, np.float32), np.zeros(count, np.float32)
        for axis in (1, 2):
            low, high = (np.take(known, range(first, first + side - 1), axis) for first in (0, 1))
            total += (np.abs(np.diff(light, axis=axis)) * (low & high)).sum((1, 2))
            pairs += (low & high).sum((1, 2))
        return np.asarray(total / np.maximum(pairs, 1), np.float32)

    @cached_property
    def _holes(self) -> npt.NDArray[np.uint64]:
        """(2 K, S * S / 64) the holes as bits, of the sketches and then of their mirror images."""
        return _packed(np.concatenate([self.levels, self.levels[..., ::-1]]) == 0)


def _packed(where: npt.NDArray[np.bool_]) -> npt.NDArray[np.uint64]:
    """(..., S, S) as bits, 64 in a number: counting them is fifty times as fast."""
    flat = where.reshape(*where.shape[:-2], -1)
    return np.packbits(flat, axis=-1).view(np.uint64)
