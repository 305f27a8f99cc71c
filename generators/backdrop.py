"""Turns a small square scene into a full-size background: product removed, enlarged, cropped, grounded, grained."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter

from contracts.seeds import stream
from generators.contrast import FloatPicture
from generators.products import PixelBox, Pixels, ProductBox

_CRISP = 0.25  # unsharp amount before enlarging; makes up for the smoothing of the steps
_GRAIN = 1.1  # standard deviation of the film grain, levels of 255


def clear_product(scene: Pixels, mask: npt.NDArray[np.float32]) -> Pixels:
    """The scene with what the mask covers, and a thin rim around it, filled in from its surroundings.

    The scene holds a small copy of the product; enlarged, it would peep out around the sharp one. The filling is
    a diffusion that runs mostly sideways, so that a horizon or table edge goes on behind the product.

    Args:
        scene: uint8 (side, side, 3).
        mask: float32 (side, side), the product's cover, 0 to 1.
    """
    side = scene.shape[0]
    rim = 2 * max(1, round(side / 48)) + 1
    stamp = Image.fromarray(((mask > 0.02) * 255).astype(np.uint8)).filter(ImageFilter.MaxFilter(rim))
    hidden = np.asarray(stamp) > 0
    if not hidden.any() or hidden.all():
        return scene.copy()
    field = _fill_rows(scene.astype(np.float32), hidden)
    for _ in range(3 * side):
        around = np.pad(field, ((1, 1), (1, 1), (0, 0)), mode="edge")
        sideways = around[1:-1, :-2] + around[1:-1, 2:]
        upright = around[:-2, 1:-1] + around[2:, 1:-1]
        field = np.where(hidden[..., None], sideways * np.float32(0.4) + upright * np.float32(0.1), field)
    return np.clip(np.round(field), 0, 255).astype(np.uint8)


def _fill_rows(scene: FloatPicture, hidden: npt.NDArray[np.bool_]) -> FloatPicture:
    """A first guess: each row interpolated across its gap; rows hidden whole take the mean of the rest."""
    field = scene.copy()
    columns = np.arange(scene.shape[1])
    rest = scene[~hidden].mean(axis=0)
    for row in np.flatnonzero(hidden.any(axis=1)):
        known = ~hidden[row]
        for channel in range(3):
            values = np.interp(columns, columns[known], scene[row, known, channel]) if known.any() else rest[channel]
            field[row, :, channel] = np.where(known, scene[row, :, channel], values)
    return field


def enlarge(scene: Pixels, side: int) -> FloatPicture:
    """The square scene at `side` pixels, float32 (side, side, 3), 0 to 255, without blocks or ringing.

    Doubled step by step, each step followed by a (1, 2, 1) / 4 smoothing: in the limit a spline of high order.
    """
    planes = [_sharpen(scene[..., channel].astype(np.float32)) for channel in range(3)]
    return np.stack([np.clip(_grow(plane, side), 0, 255) for plane in planes], axis=-1)


def _sharpen(plane: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    return np.clip(plane + np.float32(_CRISP) * (plane - _smooth(plane)), 0, 255)


def _grow(plane: npt.NDArray[np.float32], side: int) -> npt.NDArray[np.float32]:
    while plane.shape[0] < side:
        step = min(2 * plane.shape[0], side)
        plane = _smooth(_resize(plane, step))
    return plane if plane.shape[0] == side else _resize(plane, side)


def _resize(plane: npt.NDArray[np.float32], side: int) -> npt.NDArray[np.float32]:
    return np.asarray(Image.fromarray(plane).resize((side, side), Image.Resampling.BICUBIC), dtype=np.float32)


def _smooth(plane: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """(1, 2, 1) / 4 along both axes, edges repeated."""
    wide = np.pad(plane, ((0, 0), (1, 1)), mode="edge")
    across = (wide[:, :-2] + 2 * wide[:, 1:-1] + wide[:, 2:]) * np.float32(0.25)
    high = np.pad(across, ((1, 1), (0, 0)), mode="edge")
    return np.asarray((high[:-2] + 2 * high[1:-1] + high[2:]) * np.float32(0.25), np.float32)


def cover_crop(
    picture: FloatPicture, size: tuple[int, int], scene_box: ProductBox, product_box: ProductBox
) -> FloatPicture:
    """The part of a square picture (side = the longer of width and height) that fills `size` (width, height).

    It is chosen so that the spot on which the product stood in the scene comes to lie, as nearly as the picture
    allows, where it stands in the layout: a shoe on a table stays on the table.
    """
    side = picture.shape[0]
    width, height = size
    left = (scene_box.left + scene_box.width / 2) * side - (product_box.left + product_box.width / 2) * width
    top = scene_box.bottom * side - product_box.bottom * height
    x, y = min(max(round(left), 0), side - width), min(max(round(top), 0), side - height)
    return picture[y : y + height, x : x + width]


def spread(picture: Pixels | FloatPicture) -> float:
    """How much a picture varies: the standard deviation, in levels of 255, of its liveliest channel at 32 x 32."""
    small = Image.fromarray(np.clip(np.round(picture), 0, 255).astype(np.uint8)).resize((32, 32), Image.Resampling.BOX)
    return float(np.asarray(small, dtype=np.float64).std(axis=(0, 1)).max())


def ground(picture: FloatPicture, resized: Pixels, at: PixelBox) -> FloatPicture:
    """The picture with the shadows that make a product stand: a tight one at its foot, a wide one, a faint halo.

    Args:
        picture: float32 (h, w, 3), 0 to 255; not changed.
        resized: the product as it will be placed, uint8 (h', w', 4).
        at: where.
    """
    high, wide = picture.shape[:2]
    step = max(1, min(high, wide) // 360)
    unit = min(high, wide) / step
    size = (-(-wide // step), -(-high // step))
    alpha = Image.fromarray(np.ascontiguousarray(resized[..., 3]))
    small = alpha.resize((max(1, alpha.width // step), max(1, alpha.height // step)), Image.Resampling.BOX)
    halo = Image.new("L", size, 0)
    halo.paste(small, (round(at.left / step), round(at.top / step + 0.012 * unit)))
    centre, half = _foot(resized[..., 3], 0.05)
    belly, round_half = _foot(resized[..., 3], 0.16)
    x, belly_x = (at.left + centre) / step, (at.left + belly) / step
    half, round_half, base = half / step, round_half / step, at.bottom / step
    along = 0.13 * round_half + 0.008 * unit
    wider = _ellipse(size, belly_x, base - 0.3 * along, round_half * 1.08, along, 0.02 * unit)
    tight = _ellipse(size, x, base - 0.004 * unit, half * 1.02, max(0.05 * half, 0.007 * unit), 0.006 * unit)
    light = np.ones((size[1], size[0]), dtype=np.float32)
    for shadow, strength in ((halo.filter(ImageFilter.GaussianBlur(0.024 * unit)), 0.16), (wider, 0.4), (tight, 0.45)):
        light *= 1 - np.asarray(shadow, dtype=np.float32) * np.float32(strength / 255)
    full = Image.fromarray(light).resize((size[0] * step, size[1] * step), Image.Resampling.BICUBIC)
    shade = np.asarray(full, dtype=np.float32)[:high, :wide, None]
    ambient = picture.mean(axis=(0, 1)) * np.float32(0.12)  # shadows keep a trace of the scene's colour
    return np.asarray(ambient + (picture - ambient) * shade, dtype=np.float32)


def _foot(alpha: npt.NDArray[np.uint8], share: float) -> tuple[float, float]:
    """Centre and half-width, in columns, of the lowest `share` of the product's height."""
    low = alpha[-max(1, round(alpha.shape[0] * share)) :]
    columns = np.flatnonzero((low > 127).any(axis=0))
    first, last = (columns[0], columns[-1] + 1) if len(columns) else (0, alpha.shape[1])
    return float(first + last) / 2, float(last - first) / 2


def _ellipse(size: tuple[int, int], x: float, y: float, across: float, along: float, soft: float) -> Image.Image:
    """A soft-edged ellipse, mode L."""
    columns, rows = np.arange(size[0], dtype=np.float32) + 0.5, np.arange(size[1], dtype=np.float32)[:, None] + 0.5
    distance = np.sqrt(((columns - x) / across) ** 2 + ((rows - y) / along) ** 2)
    inside = np.clip((1 - distance) * np.float32(min(across, along)) + 0.5, 0, 1)
    return Image.fromarray((inside * 255).astype(np.uint8)).filter(ImageFilter.GaussianBlur(soft))


def add_grain(picture: FloatPicture, seed: int) -> FloatPicture:
    """The picture with faint, even film grain in whole levels, so that smooth gradients show no bands."""
    noise = stream(seed, "grain").standard_normal(picture.shape[:2], dtype=np.float32)
    grain = (noise * np.float32(0.75) + _smooth(noise)) * np.float32(_GRAIN)
    return np.clip(np.round(picture + grain[..., None]), 0, 255)
