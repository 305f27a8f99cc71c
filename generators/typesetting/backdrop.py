"""Turns a small square scene into a full-size background: the fitting part enlarged, grounded, grained."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter

from contracts.seeds import stream
from generators.layout import DEFAULT_BOX
from generators.products import PixelBox, Pixels, ProductBox, product_mask
from generators.typesetting.contrast import FloatPicture
from generators.typesetting.filling import clear_product

_CRISP = 0.25  # unsharp amount before enlarging; makes up for the smoothing of the steps
_GRAIN = 1.1  # standard deviation of the film grain, levels of 255


_GRAIN_SIDE = 640  # after which the grain repeats itself

_FINE_SIDE = 512  # to which a scene is doubled, smoothly, before the last, plain enlargement


@dataclass(frozen=True, eq=False)
class Backdrop:
    """A scene made ready to be cut to any size.

    Attributes:
        fine: the scene without the product, enlarged, float32 (3, F, F), 0 to 255.
        box: where the product stood in it.
        horizon: where wall meets surface, as a fraction of the height; None: nowhere.
    """

    fine: FloatPicture
    box: ProductBox
    horizon: float | None


def prepare(scene: Pixels, product: Pixels | None = None, box: ProductBox = DEFAULT_BOX) -> Backdrop:
    """The scene without the product, ready for many sizes: what that hid is filled, and it is enlarged, once.

    Args:
        scene: square, uint8 (side, side, 3).
        product: RGBA, that stands in it at `box`; None: there is none.
        box: in fractions of the side.
    """
    if product is not None:
        scene = clear_product(scene, product_mask(product, box, scene.shape[0]))
    return Backdrop(enlarge(scene), box, horizon(scene))


def enlarge(scene: Pixels) -> FloatPicture:
    """The square scene at _FINE_SIDE pixels and more, as planes (3, F, F), 0 to 255, without blocks or ringing.

    Doubled step by step, each step followed by a (1, 2, 1) / 4 smoothing: in the limit a spline of high order.
    """
    return np.stack([_grow(_sharpen(plane.astype(np.float32))) for plane in np.moveaxis(scene, 2, 0)])


def _sharpen(plane: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    return np.clip(plane + np.float32(_CRISP) * (plane - _smooth(plane)), 0, 255)


def _grow(plane: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    while plane.shape[0] < _FINE_SIDE:
        side = 2 * plane.shape[0]
        plane = _smooth(np.asarray(Image.fromarray(plane).resize((side, side), Image.Resampling.BICUBIC)))
    return plane


def _smooth(plane: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """(1, 2, 1) / 4 along both axes, edges repeated."""
    wide = np.pad(plane, ((0, 0), (1, 1)), mode="edge")
    across = (wide[:, :-2] + 2 * wide[:, 1:-1] + wide[:, 2:]) * np.float32(0.25)
    high = np.pad(across, ((1, 1), (0, 0)), mode="edge")
    return np.asarray((high[:-2] + 2 * high[1:-1] + high[2:]) * np.float32(0.25), np.float32)


def cover_crop(backdrop: Backdrop, size: tuple[int, int], product_box: ProductBox) -> FloatPicture:
    """The part of a square scene that fills `size` (width, height) in pixels; float32 (h, w, 3), 0 to 255.

    It is chosen so that the surface begins behind the product's lower part and its foot stands on it, and that the
    place around which the scene was painted lies where the product stands. A scene painted around a product at the
    right is mirrored for a layout that has it at the left.

    Args:
        backdrop: the scene.
        size: of the result.
        product_box: where the layout has the product.
    """
    fine, box = backdrop.fine, backdrop.box
    centre, wanted = box.left + box.width / 2, product_box.left + product_box.width / 2
    if (centre - 0.5) * (wanted - 0.5) < 0 and abs(wanted - 0.5) > 0.1:
        fine, centre = np.ascontiguousarray(fine[..., ::-1]), 1 - centre
    longer = max(size)
    wide, high = size[0] / longer, size[1] / longer
    left, top = centre - wanted * wide, box.bottom - product_box.bottom * high
    if backdrop.horizon is not None and high < 1:
        behind = product_box.bottom - 0.3 * product_box.height  # where the surface should begin in the picture
        top = backdrop.horizon - behind * high
    left, top = min(max(left, 0.0), 1 - wide), min(max(top, 0.0), 1 - high)
    side = fine.shape[1]
    window = (left * side, top * side, (left + wide) * side, (top + high) * side)
    planes = [np.asarray(Image.fromarray(plane).resize(size, Image.Resampling.BICUBIC, box=window)) for plane in fine]
    return np.asarray(np.clip(np.stack(planes, axis=-1), 0, 255), np.float32)


def horizon(scene: Pixels) -> float | None:
    """Where wall meets surface, as a fraction of the height; None if no level edge crosses most of the scene.

    It is the row at which most columns step the same way, weighed by the size of the median step.
    """
    side = scene.shape[0]
    reach = max(1, side // 32)
    light = scene.astype(np.float32).mean(axis=2)
    steps = np.stack([light[y : y + reach].mean(axis=0) - light[y - reach : y].mean(axis=0)
                      for y in range(reach, side - reach + 1)])  # fmt: skip
    median = np.median(steps, axis=1)
    agree = np.maximum((steps > 0).mean(axis=1), (steps < 0).mean(axis=1))
    rows = np.arange(reach, side - reach + 1) / side
    strength = np.abs(median) * (agree > 0.8) * (rows > 0.4) * (rows < 0.95)
    best = int(strength.argmax())
    return float(rows[best]) if strength[best] > 4 else None


def spread(picture: Pixels | FloatPicture) -> float:
    """How much a picture varies: the standard deviation, in levels of 255, of its liveliest channel at 32 x 32."""
    step = max(1, min(picture.shape[:2]) // 256)
    planes = [np.ascontiguousarray(plane, np.float32) for plane in np.moveaxis(picture[::step, ::step], 2, 0)]
    small = [np.asarray(Image.fromarray(plane).resize((32, 32), Image.Resampling.BOX)) for plane in planes]
    return max(float(plane.std(dtype=np.float64)) for plane in small)


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
    reach = round(0.09 * unit * step + 0.09 * (at.right - at.left))  # no shadow goes further
    left, top = max(at.left - reach, 0) // step * step, max(at.top - reach, 0) // step * step
    right, bottom = min(at.right + reach, wide), min(at.bottom + reach, high)
    size = (-(-(right - left) // step), -(-(bottom - top) // step))
    alpha = Image.fromarray(np.ascontiguousarray(resized[..., 3]))
    small = alpha.resize((max(1, alpha.width // step), max(1, alpha.height // step)), Image.Resampling.BOX)
    halo = Image.new("L", size, 0)
    halo.paste(small, (round((at.left - left) / step), round((at.top - top) / step + 0.012 * unit)))
    centre, half = _foot(resized[..., 3], 0.05)
    belly, round_half = _foot(resized[..., 3], 0.16)
    x, belly_x = (at.left - left + centre) / step, (at.left - left + belly) / step
    half, round_half, base = half / step, round_half / step, (at.bottom - top) / step
    along = 0.13 * round_half + 0.008 * unit
    wider = _ellipse(size, belly_x, base - 0.3 * along, round_half * 1.08, along, 0.02 * unit)
    tight = _ellipse(size, x, base - 0.004 * unit, half * 1.02, max(0.05 * half, 0.007 * unit), 0.006 * unit)
    light = np.ones((size[1], size[0]), dtype=np.float32)
    for shadow, strength in ((halo.filter(ImageFilter.GaussianBlur(0.024 * unit)), 0.16), (wider, 0.4), (tight, 0.45)):
        light *= 1 - np.asarray(shadow, dtype=np.float32) * np.float32(strength / 255)
    full = Image.fromarray(light).resize((size[0] * step, size[1] * step), Image.Resampling.BICUBIC)
    shade = np.asarray(full, dtype=np.float32)[: bottom - top, : right - left, None]
    ambient = picture[::step, ::step].mean(axis=(0, 1)) * np.float32(0.12)  # shadows keep a trace of the scene's colour
    out = picture.copy()
    part = out[top:bottom, left:right]
    part -= (part - ambient) * (1 - shade)
    return out


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
    high, wide = picture.shape[:2]
    noise = stream(seed, "grain").standard_normal((min(high, _GRAIN_SIDE), min(wide, _GRAIN_SIDE)), dtype=np.float32)
    grain = (noise * np.float32(0.75) + _smooth(noise)) * np.float32(_GRAIN)
    times = (-(-high // grain.shape[0]), -(-wide // grain.shape[1]))
    out = picture + np.tile(grain, times)[:high, :wide, None]
    np.round(out, out=out)
    return np.clip(out, 0, 255, out=out)
