"""Turns a product picture of any common kind into RGBA pixels, a place in the ad, and an exact composite."""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError

from contracts.errors import DataError

Pixels = npt.NDArray[np.uint8]

SMALLEST_SIDE = 16
"""A product picture with a shorter side, after trimming, is not worth printing; pixels."""

MOST_PIXELS = 100_000_000
"""A product picture that decodes to more is refused before it is decoded; a JPEG is decoded at a fraction of its size."""

WORKING_SIDE = 2048
"""A picture with a longer side of twice this and more is reduced by a whole factor, to no less than this; pixels."""

CLEAR = 4
"""Alpha up to this is dust at the margin, not product."""

_FORMATS = ("PNG", "JPEG", "WEBP")
_STRIP_ROWS = 256  # of the reduced picture: made at a time, so that the whole is never held in full colour
_DAMAGE = (OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error, MemoryError)


@dataclass(frozen=True)
class ProductBox:
    """Where the product may stand: fractions of the picture's width (left, width) and height (top, height)."""

    left: float
    top: float
    width: float
    height: float

    @property
    def right(self) -> float:
        """Fraction of the picture's width."""
        return self.left + self.width

    @property
    def bottom(self) -> float:
        """Fraction of the picture's height: the line that the product stands on."""
        return self.top + self.height

    def pixels(self, size: tuple[int, int]) -> PixelBox:
        """The box in a picture of this width and height."""
        wide, high = size
        return PixelBox(
            round(self.left * wide), round(self.top * high), round(self.right * wide), round(self.bottom * high)
        )


@dataclass(frozen=True)
class PixelBox:
    """A rectangle of whole pixels: left and top inside, right and bottom just outside."""

    left: int
    top: int
    right: int
    bottom: int

    def overlaps(self, other: PixelBox) -> bool:
        """Whether the two share a pixel."""
        across = self.left < other.right and other.left < self.right
        return across and self.top < other.bottom and other.top < self.bottom


def load_product(path: Path, *, trim: bool = True) -> Pixels:
    """The product as RGBA, uint8 (h, w, 4), upright, transparent margins cut off unless `trim` is False.

    Takes PNG, JPEG and WebP: RGBA, RGB, greyscale, palette, CMYK, 16 bits a channel, animated (the first frame).
    Colours come out as sRGB, by the colour profile in the file where it has one. A very large picture is reduced while
    it is read, see WORKING_SIDE. A picture without alpha is an opaque rectangle, like a film poster. The array is read-only.

    Raises:
        DataError: missing, not one of these formats whatever its name says, damaged, too large, too small, invisible.
    """
    where = str(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(path, formats=_FORMATS) as opened:
                if min(opened.size) < SMALLEST_SIDE:
                    raise _too_small(opened.size, where)
                factor = _factor(opened.size)
                if factor > 1:  # a JPEG is then decoded at 1/2, 1/4 or 1/8 of its size
                    opened.draft(opened.mode, (opened.width // factor, opened.height // factor))
                if opened.width * opened.height > MOST_PIXELS:
                    raise _too_large(where)
                rgba = ImageOps.exif_transpose(_reduced(opened))
    except FileNotFoundError as error:
        raise DataError(
            "product picture is missing", where=where, fix="Put the file there, or clear product_image in concepts."
        ) from error
    except UnidentifiedImageError as error:
        raise DataError(
            "is not a PNG, JPEG or WebP picture, whatever its name says", where=where, fix="Save it as PNG."
        ) from error
    except Image.DecompressionBombError as error:
        raise _too_large(where) from error
    except _DAMAGE as error:
        raise DataError(
            f"product picture is damaged or cannot be read ({error})", where=where, fix="Export it again."
        ) from error
    product = _visible_part(rgba, where, trim)
    product.flags.writeable = False
    return product


def _too_large(where: str) -> DataError:
    return DataError(
        f"product picture has over {MOST_PIXELS // 1_000_000} million pixels",
        where=where,
        fix="Scale it down; 2,000 a side is plenty.",
    )


def _too_small(size: tuple[int, int], where: str) -> DataError:
    return DataError(
        f"product picture is only {size[0]} x {size[1]} pixels",
        where=where,
        fix="Give one of 500 pixels or more a side.",
    )


def _factor(size: tuple[int, int]) -> int:
    return max(1, min(max(size) // WORKING_SIDE, min(size) // SMALLEST_SIDE))


def _reduced(opened: Image.Image) -> Image.Image:
    """The picture in 8-bit RGBA and sRGB, reduced by a whole factor where it is very large, with its orientation."""
    wide, high = opened.size
    factor, to_rgba = _factor(opened.size), _colours_of(opened)
    if factor == 1:
        out = to_rgba(opened)
    else:
        out = Image.new("RGBA", (-(-wide // factor), -(-high // factor)))
        for top in range(0, high, _STRIP_ROWS * factor):
            strip = opened.crop((0, top, wide, min(top + _STRIP_ROWS * factor, high)))
            out.paste(to_rgba(strip).reduce(factor), (0, top // factor))
    out.info = {}
    out.getexif().update(opened.getexif())
    return out


def _colours_of(opened: Image.Image) -> Callable[[Image.Image], Image.Image]:
    """What makes 8-bit RGBA of a picture, or of a part of it, by the colour profile it carries."""
    profile = opened.info.get("icc_profile")
    if not profile or opened.mode not in ("RGB", "RGBA", "CMYK", "L"):
        return _to_rgba
    try:
        transform = ImageCms.buildTransform(
            ImageCms.ImageCmsProfile(io.BytesIO(profile)), ImageCms.createProfile("sRGB"),
            "RGB" if opened.mode == "RGBA" else opened.mode, "RGB",
        )  # fmt: skip
    except (ImageCms.PyCMSError, OSError):
        return _to_rgba  # a damaged profile, or one for another kind of colours, says nothing

    def managed(part: Image.Image) -> Image.Image:
        plain = _to_rgba(part)
        inside = part.convert("RGB") if part.mode == "RGBA" else part
        seen = ImageCms.applyTransform(inside, transform)
        assert seen is not None
        seen.putalpha(plain.getchannel("A"))
        return seen

    return managed


def _to_rgba(picture: Image.Image) -> Image.Image:
    """8-bit RGBA. Pillow would clip 16-bit greyscale instead of scaling it."""
    if picture.mode.startswith("I") or picture.mode == "F":
        deep = np.asarray(picture, dtype=np.float64)
        picture = Image.fromarray(np.clip(np.round(deep / 257.0), 0, 255).astype(np.uint8))
    return picture.convert("RGBA")


def _visible_part(picture: Image.Image, where: str, trim: bool) -> Pixels:
    rgba = np.array(picture, dtype=np.uint8)
    seen = rgba[..., 3] > CLEAR
    if not seen.any():
        raise DataError("product picture is fully transparent", where=where, fix="Export it with its pixels visible.")
    rows, columns = np.flatnonzero(seen.any(axis=1)), np.flatnonzero(seen.any(axis=0))
    part = rgba[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    if min(part.shape[:2]) < SMALLEST_SIDE:
        raise _too_small((part.shape[1], part.shape[0]), where)
    return part.copy() if trim else rgba


def fit_product(product: Pixels, box: ProductBox, size: tuple[int, int]) -> tuple[Pixels, PixelBox]:
    """The product resized once (Lanczos on premultiplied colours), as large as the box allows, and its place.

    Args:
        product: uint8 (h, w, 4).
        box: in fractions of the picture.
        size: width and height of the picture in pixels.

    Returns:
        uint8 (h', w', 4) with the product's aspect ratio, to the nearest pixel, and where it stands in the picture:
        centred in the box, on its lower edge.
    """
    at = _place(product, box, size)
    return _at_size(product, (at.right - at.left, at.bottom - at.top)), at


def _place(product: Pixels, box: ProductBox, size: tuple[int, int]) -> PixelBox:
    """Where `fit_product` sets a product."""
    wide, high = max(1, round(box.width * size[0])), max(1, round(box.height * size[1]))
    scale = min(wide / product.shape[1], high / product.shape[0])
    width = min(wide, max(1, round(product.shape[1] * scale)))
    height = min(high, max(1, round(product.shape[0] * scale)))
    left = round((box.left + box.width / 2) * size[0] - width / 2)
    top = round(box.bottom * size[1]) - height
    left, top = min(max(left, 0), max(size[0] - width, 0)), min(max(top, 0), max(size[1] - height, 0))
    return PixelBox(left, top, left + width, top + height)


_REMEMBERED = 128  # a batch of pictures in its sizes
_sized: OrderedDict[tuple[int, int, int], tuple[Pixels, Pixels]] = OrderedDict()
_sized_lock = Lock()


def _at_size(product: Pixels, size: tuple[int, int]) -> Pixels:
    """`resize_rgba`, its last results remembered: every candidate, format and check wants a product in the same few sizes.

    Only for arrays that nobody can change (`load_product` gives such); what is remembered keeps its product alive, so
    that its id is not another's.
    """
    if product.flags.writeable:
        return resize_rgba(product, size)
    key = (id(product), *size)
    with _sized_lock:
        known = _sized.get(key)
        if known is not None:
            _sized.move_to_end(key)
            return known[1]
    resized = resize_rgba(product, size)
    resized.flags.writeable = False
    with _sized_lock:
        _sized[key] = (product, resized)
        while len(_sized) > _REMEMBERED:
            _sized.popitem(last=False)
    return resized


def resize_rgba(product: Pixels, size: tuple[int, int]) -> Pixels:
    """RGBA at another width and height: Lanczos on premultiplied colours, divided by the alpha before it is clipped: hard edges get no bright rim."""
    alpha = product[..., 3].astype(np.float32)
    planes = [_resize_plane(product[..., channel] * (alpha / np.float32(255)), size) for channel in range(3)]
    covered = _resize_plane(alpha, size)
    share = np.maximum(covered / np.float32(255), np.float32(1e-3))
    return np.clip(np.round(np.stack([*(plane / share for plane in planes), covered], axis=-1)), 0, 255).astype(
        np.uint8
    )


def _resize_plane(plane: npt.NDArray[np.float32], size: tuple[int, int]) -> npt.NDArray[np.float32]:
    return np.asarray(Image.fromarray(plane).resize(size, Image.Resampling.LANCZOS), dtype=np.float32)


def place_product(canvas: Pixels, product: Pixels, box: ProductBox) -> Pixels:
    """A copy of the canvas with the product in its box; where its alpha is 255 the pixels are its own, exactly.

    Args:
        canvas: uint8 (h, w, 3).
        product: uint8 (h', w', 4).
        box: in fractions of the canvas.
    """
    resized, at = fit_product(product, box, (canvas.shape[1], canvas.shape[0]))
    return composite(canvas, resized, at)


def composite(canvas: Pixels, resized: Pixels, at: PixelBox) -> Pixels:
    """A copy of the canvas with the RGBA pixels over it at `at`: (alpha * ours + (255 - alpha) * canvas) / 255."""
    out = canvas.copy()
    alpha = resized[..., 3:].astype(np.int32)
    under = canvas[at.top : at.bottom, at.left : at.right].astype(np.int32)
    mixed = (resized[..., :3] * alpha + under * (255 - alpha) + 127) // 255
    out[at.top : at.bottom, at.left : at.right] = mixed.astype(np.uint8)
    return out


def product_mask(product: Pixels, box: ProductBox, side: int) -> npt.NDArray[np.float32]:
    """How much of each pixel of a square picture the product covers: float32 (side, side), 0 to 1."""
    at = _place(product, box, (side, side))
    alpha = _resize_plane(product[..., 3].astype(np.float32), (at.right - at.left, at.bottom - at.top))
    mask = np.zeros((side, side), dtype=np.float32)
    mask[at.top : at.bottom, at.left : at.right] = np.clip(np.round(alpha), 0, 255) / np.float32(255)
    return mask
