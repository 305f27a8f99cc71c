"""Turns a finished creative into the names of the checks that it fails; no name means that it may be shown.

| check | fails when |
|---|---|
| blank_or_flat | the scene without product and type, or the whole picture, varies by less than FLAT levels |
| product_altered | a single pixel differs from the product where the product is opaque |
| low_contrast | a text has less than 4.5 : 1 to what is behind it, when it was set or in the finished picture |
| text_overflow | type or button leaves the picture, meets the product's box or other type; a label leaves its button |
| near_duplicate | the perceptual hash is within NEAR bits of that of a known creative of its concept |
"""

from __future__ import annotations

from collections.abc import Collection
from itertools import combinations

import numpy as np
import numpy.typing as npt
from PIL import Image

from generators.backdrop import spread
from generators.contrast import LEAST_CONTRAST, text_contrast
from generators.layout import Layout
from generators.products import PixelBox, Pixels, fit_product
from generators.typesetter import TypesetReport
from generators.wording import Line

CHECKS = ("blank_or_flat", "product_altered", "low_contrast", "text_overflow", "near_duplicate")
"""All names that `check_creative` can give, in its order."""

FLAT = 1.5
"""Levels of 255: least standard deviation of the liveliest channel at 32 x 32; a soft gradient has 5 and more."""

NEAR = 2
"""Bits of 64: hashes no further apart show the same picture; one that was saved again as JPEG differs in 0 to 2."""

_THUMB = 32


def check_creative(
    image: Image.Image,
    product: Pixels | None,
    report: TypesetReport,
    layout: Layout,
    *,
    known_hashes: Collection[int] = (),
) -> list[str]:
    """Names of the failed checks, in the order of CHECKS; empty: passed.

    Args:
        image: the finished creative, as `typeset` gave it or as read back from disk.
        product: uint8 (h, w, 4), the one it was set with; None if it has none.
        report: what `typeset` set where.
        layout: the layout it was set in.
        known_hashes: `perceptual_hash` of the creatives it must not repeat: those of its concept.
    """
    pixels = np.asarray(image.convert("RGB"), dtype=np.uint8)
    if image.size != report.size:
        return ["blank_or_flat"]
    failed = {
        "blank_or_flat": _is_flat(pixels, report),
        "product_altered": product is not None and _is_altered(pixels, product, report, layout),
        "low_contrast": _is_faint(pixels, report),
        "text_overflow": _overflows(report),
        "near_duplicate": is_near_duplicate(perceptual_hash(image), known_hashes) if known_hashes else False,
    }
    return [name for name in CHECKS if failed[name]]


def _is_flat(pixels: Pixels, report: TypesetReport) -> bool:
    return report.scene_spread < FLAT or spread(pixels) < FLAT


def _is_altered(pixels: Pixels, product: Pixels, report: TypesetReport, layout: Layout) -> bool:
    resized, at = fit_product(product, layout.product, report.size)
    if report.product_at != at:
        return True
    shown = pixels[at.top : at.bottom, at.left : at.right]
    opaque = resized[..., 3] == 255
    return bool((shown[opaque] != resized[..., :3][opaque]).any())


def _is_faint(pixels: Pixels, report: TypesetReport) -> bool:
    if any(contrast < LEAST_CONTRAST for contrast in report.contrasts.values()):
        return True
    return any(measured_contrast(pixels, line) < LEAST_CONTRAST for line in report.lines)


def measured_contrast(pixels: Pixels, line: Line) -> float:
    """Contrast of a line of type with what shows between and around its letters in the finished picture.

    The ink is the median colour where the letters cover a pixel fully, the ground every pixel near them that they do
    not touch; the 2nd percentile counts. 1.0 if there is no letter or no ground.

    Args:
        pixels: uint8 (h, w, 3), with the type on it.
        line: as `typeset` reports it.
    """
    box = line.box
    high, wide = pixels.shape[:2]
    top, bottom = max(box.top, 0), min(box.bottom, high)
    left, right = max(box.left, 0), min(box.right, wide)
    part = pixels[top:bottom, left:right]
    cover = line.mask[top - line.y : bottom - line.y, left - line.x : right - line.x]
    if cover.shape != part.shape[:2] or not (cover == 0).any():
        return 1.0
    letters = part[cover >= 0.98 * cover.max()]
    red, green, blue = (int(value) for value in np.median(letters, axis=0))
    return text_contrast(part[cover == 0], (red, green, blue))


def _overflows(report: TypesetReport) -> bool:
    width, height = report.size
    boxes = dict(report.boxes)
    outside = any(box.left < 0 or box.top < 0 or box.right > width or box.bottom > height for box in boxes.values())
    on_product = report.product_at is not None and any(box.overlaps(report.product_box) for box in boxes.values())
    label, button = boxes.pop("label", None), boxes.get("button")
    spills = label is not None and (button is None or not _within(label, button))
    meets = any(one.overlaps(other) for one, other in combinations(boxes.values(), 2))
    return outside or on_product or spills or meets


def _within(inner: PixelBox, outer: PixelBox) -> bool:
    across = outer.left <= inner.left and inner.right <= outer.right
    return across and outer.top <= inner.top and inner.bottom <= outer.bottom


def perceptual_hash(image: Image.Image) -> int:
    """64 bits that change little when a picture is resized or compressed, and much when it is another one.

    40 bits: signs, against their median, of the 40 lowest frequencies but the mean of the lightness (DCT-II of
    32 x 32, as in pHash). 24 bits: mean lightness, blueness (Cb) and redness (Cr), each in 8 steps of a thermometer
    code, since two pictures that differ in colour alone are two pictures.
    """
    small = image.convert("RGB").convert("YCbCr").resize((_THUMB, _THUMB), Image.Resampling.BOX)
    light, blue, red = (np.asarray(plane, dtype=np.float64) for plane in small.split())
    frequencies = _DCT @ light @ _DCT.T
    low = np.array([frequencies[row, column] for row, column in _LOW])
    bits = list(low > np.median(low))
    for mean, steps in ((light.mean(), _LIGHT_STEPS), (blue.mean(), _HUE_STEPS), (red.mean(), _HUE_STEPS)):
        bits += list(mean > steps)
    return sum(1 << place for place, bit in enumerate(bits) if bit)


def is_near_duplicate(one: int, known: Collection[int]) -> bool:
    """Whether any known hash is within NEAR bits."""
    return any((one ^ other).bit_count() <= NEAR for other in known)


def _dct_matrix(size: int) -> npt.NDArray[np.float64]:
    """Orthonormal DCT-II, (size, size)."""
    row, column = np.arange(size)[:, None], np.arange(size)[None, :]
    matrix: npt.NDArray[np.float64] = np.cos(np.pi * row * (2 * column + 1) / (2 * size)) * np.sqrt(2 / size)
    matrix[0] /= np.sqrt(2)
    return matrix


_DCT = _dct_matrix(_THUMB)
_LOW = sorted(((r, c) for r in range(10) for c in range(10) if r + c), key=lambda at: (at[0] + at[1], at))[:40]
_LIGHT_STEPS = np.linspace(40, 215, 8)
_HUE_STEPS = 128 + np.array([-28.0, -16.0, -8.0, -2.5, 2.5, 8.0, 16.0, 28.0])
