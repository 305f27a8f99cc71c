"""Turns a scene and a cut-out product into a historic ad picture: the product stands in a box, with a soft shadow."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from sources.scenes import Picture, ground_shadow

_SOLID = 40  # alpha above this counts as the product itself, not its soft edge


@dataclass(frozen=True)
class Box:
    """Where the product's square picture lies, in fractions of the side of the ad, from the upper left."""

    left: float
    top: float
    width: float
    height: float


@dataclass(frozen=True)
class Cutout:
    """A product on a transparent ground, and the part of the square that it fills (fractions, from the upper left)."""

    image: Image.Image
    left: float
    top: float
    right: float
    bottom: float


@lru_cache(maxsize=64)
def load_cutout(path: Path) -> Cutout:
    """Reads an RGBA product picture; `image` has premultiplied colours ("RGBa"): edges stay clean when resized."""
    with Image.open(path) as opened:
        picture = opened.convert("RGBA")
    solid = picture.getchannel("A").point(lambda value: 255 * (value > _SOLID)).getbbox() or (0, 0, *picture.size)
    wide, high = picture.size
    return Cutout(picture.convert("RGBa"), solid[0] / wide, solid[1] / high, solid[2] / wide, solid[3] / high)


def sample_box(rng: np.random.Generator, cutout: Cutout, side: int) -> Box:
    """A box on whole pixels, 45 to 58 % of the side, mostly lower right or centre, the product on the surface."""
    size = round(rng.uniform(0.45, 0.58) * side)
    centre = rng.choice(
        [rng.uniform(0.66, 0.74), rng.uniform(0.46, 0.56), rng.uniform(0.26, 0.34)], p=[0.55, 0.35, 0.1]
    )
    left = int(np.clip(round(centre * side - size / 2), 0, side - size))
    top = int(np.clip(round(rng.uniform(0.86, 0.94) * side - cutout.bottom * size), 0, side - size))
    return Box(left / side, top / side, size / side, size / side)


def place_product(scene: Picture, cutout: Cutout, box: Box) -> Picture:
    """A new picture, uint8 (side, side, 3): the scene, the product in its box and a contact shadow beneath."""
    side = scene.shape[0]
    wide, high = round(box.width * side), round(box.height * side)
    left, top = round(box.left * side), round(box.top * side)
    grounded = ground_shadow(
        scene,
        left=box.left + cutout.left * box.width,
        top=box.top + cutout.top * box.height,
        width=(cutout.right - cutout.left) * box.width,
        height=(cutout.bottom - cutout.top) * box.height,
    )
    small = np.asarray(cutout.image.resize((wide, high), Image.Resampling.LANCZOS), dtype=np.float32)
    part = grounded[top : top + high, left : left + wide].astype(np.float32)
    mixed = small[..., :3] + part * (1 - small[..., 3:] / 255)
    out = grounded.copy()
    out[top : top + high, left : left + wide] = np.clip(np.round(mixed), 0, 255).astype(np.uint8)
    return out


def boxes_array(boxes: list[Box]) -> npt.NDArray[np.float64]:
    """Boxes as rows of (left, top, width, height), shape (N, 4)."""
    return np.array([(box.left, box.top, box.width, box.height) for box in boxes], dtype=np.float64).reshape(-1, 4)
