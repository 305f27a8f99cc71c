"""Turns scenes into thumbnails, and thumbnails into how varied the pictures are.

Letters: P and N pictures, F picture features, T numbers of a thumbnail.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from generators.layout import DEFAULT_BOX
from generators.products import Pixels

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]

_CELLS = 16  # of a thumbnail, each way


@dataclass(frozen=True)
class Looks:
    """What pictures look like: features (P, F), which say what one is like, and thumbnails (P, T), which say how two differ."""

    features: Floats
    thumbnails: Floats

    def __len__(self) -> int:
        return len(self.features)

    def __getitem__(self, which: npt.NDArray[np.int64] | slice) -> Looks:
        return Looks(self.features[which], self.thumbnails[which])

    @property
    def standard(self) -> tuple[Doubles, Doubles]:
        """Mean and standard deviation (F,) of each feature; a feature that never varies gets a deviation that is not zero."""
        features = self.features.astype(np.float64)
        return features.mean(axis=0), features.std(axis=0) + 1e-6


def thumbnails(scenes: Pixels) -> Floats:
    """(P, T) mean sRGB, 0 to 1, of the 16 x 16 cells around the product's box; scenes: uint8 (P, S, S, 3), S a multiple of 16."""
    cell = scenes.shape[1] // _CELLS
    cells = scenes.reshape(len(scenes), _CELLS, cell, _CELLS, cell, 3).mean(axis=(2, 4), dtype=np.float32) / 255
    place = (np.arange(_CELLS) + 0.5) / _CELLS
    high = (place > DEFAULT_BOX.top) & (place < DEFAULT_BOX.bottom)
    wide = (place > DEFAULT_BOX.left) & (place < DEFAULT_BOX.right)
    around = ~(high[:, None] & wide[None])
    return np.asarray(cells[:, around].reshape(len(scenes), -1), np.float32)


def distances(one: Floats, other: Floats) -> Doubles:
    """(P, N) root mean square differences of thumbnails (P, T) and (N, T), in [0, 1]; 0 between equal ones."""
    a, b = one.astype(np.float64), other.astype(np.float64)
    squares = ((a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1)[None] - 2 * a @ b.T) / a.shape[1]
    return np.asarray(np.sqrt(np.where(squares > 1e-12, squares, 0.0)))  # rounding leaves equal ones about 1e-16 apart


def spread(shown: Floats) -> float:
    """Mean distance of two different pictures of thumbnails (P, T), in [0, 1]; NaN for fewer than two."""
    count = len(shown)
    return float(distances(shown, shown).sum() / (count * (count - 1))) if count > 1 else float("nan")
