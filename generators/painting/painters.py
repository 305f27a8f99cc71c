"""Turns scene requests (whom, what for, around which product, which seed) into scenes, by any of the ways to draw.

Letters: B pictures, S side in pixels, D dimensions of the space.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch

from generators.layout import DEFAULT_BOX
from generators.products import Pixels, place_product, product_mask
from generators.taste.look import picture_looks

Floats = npt.NDArray[np.float32]

MID_GREY = 128


@dataclass(frozen=True)
class SceneRequest:
    """One scene to paint.

    Attributes:
        user: (D,) whom it is for; None: nobody in particular.
        concept: (D,) what it advertises; None: the way to draw does not know this space.
        product: RGBA pixels from `load_product`, uint8 (h, w, 4); None: without a product.
        seed: of everything that is drawn at random.
        headline, advertiser, topics: words, for ways that read text; empty where there are none.
    """

    user: Floats | None
    concept: Floats | None
    product: Pixels | None
    seed: int
    headline: str = ""
    advertiser: str = ""
    topics: tuple[str, ...] = ()


class Painter(Protocol):
    """A way to draw. A scene depends on its request alone, whatever else is painted in the same call."""

    @property
    def side(self) -> int:
        """S of the scenes, pixels."""

    @property
    def weights_hash(self) -> str:
        """SHA-256 of all learned weights that paint."""

    def paint(self, requests: Sequence[SceneRequest]) -> Pixels:
        """Scenes around the products, uint8 (B, S, S, 3); the product's pixels are exactly those given."""


def frame_product(product: Pixels | None, side: int) -> tuple[Pixels, Floats]:
    """The product on grey where the layout wants it, uint8 (side, side, 3), and its mask (side, side) in {0, 1}."""
    canvas = np.full((side, side, 3), MID_GREY, np.uint8)
    if product is None:
        return canvas, np.zeros((side, side), np.float32)
    mask = (product_mask(product, DEFAULT_BOX, side) > 0.5).astype(np.float32)
    return place_product(canvas, product, DEFAULT_BOX), mask


def scene_looks(scenes: Pixels, product: Pixels | None) -> Floats:
    """The looks (P, F) of scenes (P, S, S, 3) around one product; see `look.picture_looks`."""
    return picture_looks(scenes, frame_product(product, scenes.shape[1])[1])


def lay_product(scene: Pixels, product: Pixels | None) -> Pixels:
    """The scene (side, side, 3) with the product on top where the layout wants it; opaque pixels are the product's own."""
    return scene if product is None else place_product(scene, product, DEFAULT_BOX)


def stack_vectors(vectors: Sequence[Floats | None]) -> torch.Tensor | None:
    """(B, D) with zeros where there is none; None where no row has one."""
    known = next((vector for vector in vectors if vector is not None), None)
    if known is None:
        return None
    return torch.from_numpy(np.stack([np.zeros_like(known) if vector is None else vector for vector in vectors]))
