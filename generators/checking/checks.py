"""Turns a finished creative into findings on its pixels: flat, product altered, faint type, type out of place."""

from __future__ import annotations

from itertools import combinations

import numpy as np
from PIL import Image

from generators.checking.findings import Finding, at_least, at_most, failed
from generators.layout import Layout
from generators.products import PixelBox, Pixels, fit_product
from generators.typesetting.backdrop import spread
from generators.typesetting.contrast import LEAST_CONTRAST, text_contrast
from generators.typesetting.set_lines import Line
from generators.typesetting.typesetter import TypesetReport

FLAT = 3.0
"""Levels of 255: least standard deviation of the liveliest channel at 32 x 32; a soft gradient has 5 and more, and of 300 creatives of
three sample runs the calmest had 15."""


def check_creative(image: Image.Image, product: Pixels | None, report: TypesetReport, layout: Layout) -> list[str]:
    """Names of the failed checks of `examine`, in order; empty: passed."""
    return failed(examine(image, product, report, layout))


def examine(image: Image.Image, product: Pixels | None, report: TypesetReport, layout: Layout) -> list[Finding]:
    """What the pixels alone say, with what was measured.

    Args:
        image: the finished creative, as `typeset` gave it or as read back from disk.
        product: uint8 (h, w, 4), the one it was set with; None if it has none.
        report: what `typeset` set where.
        layout: the layout it was set in.

    Returns:
        blank_or_flat, product_altered, low_contrast, text_overflow; the first alone, failed, when the size is wrong.
    """
    pixels = np.asarray(image.convert("RGB"), dtype=np.uint8)
    if image.size != report.size:
        reason = f"is {image.width} x {image.height} pixels, not {report.size[0]} x {report.size[1]}"
        return [Finding("blank_or_flat", False, None, FLAT, reason)]
    varies = min(report.scene_spread, spread(pixels))
    faults = _overflows(report)
    return [
        at_least("blank_or_flat", varies, FLAT, f"varies by {varies:.1f} levels"),
        _product_finding(pixels, product, report, layout),
        _contrast_finding(pixels, report),
        at_most("text_overflow", len(faults), 0, "; ".join(faults)),
    ]


def _product_finding(pixels: Pixels, product: Pixels | None, report: TypesetReport, layout: Layout) -> Finding:
    if product is None:
        return Finding("product_altered", None, reason="the concept has no product picture")
    resized, at = fit_product(product, layout.product, report.size)
    opaque = resized[..., 3] == 255
    if report.product_at != at:
        return Finding("product_altered", False, float(opaque.sum()), 0, "the product stands elsewhere")
    shown = pixels[at.top : at.bottom, at.left : at.right]
    altered = int((shown[opaque] != resized[..., :3][opaque]).any(axis=-1).sum())
    return at_most("product_altered", altered, 0, f"{altered:,} of {int(opaque.sum()):,} pixels of the product changed")


def _contrast_finding(pixels: Pixels, report: TypesetReport) -> Finding:
    found = list(report.contrasts.items())
    found += [(line.name, measured_contrast(pixels, line)) for line in report.lines]
    if not found:
        return Finding("low_contrast", None, reason="there is no type")
    name, least = min(found, key=lambda one: one[1])
    return at_least("low_contrast", least, LEAST_CONTRAST, f"the {name} has {least:.2f} : 1")


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


def _overflows(report: TypesetReport) -> list[str]:
    width, height = report.size
    boxes = dict(report.boxes)
    faults = [
        f"the {name} leaves the picture"
        for name, box in boxes.items()
        if box.left < 0 or box.top < 0 or box.right > width or box.bottom > height
    ]
    if report.product_at is not None:
        faults += [f"the {name} meets the product" for name, box in boxes.items() if box.overlaps(report.product_box)]
    label, button = boxes.pop("label", None), boxes.get("button")
    if label is not None and (button is None or not _within(label, button)):
        faults.append("the label leaves its button")
    pairs = combinations(boxes.items(), 2)
    return faults + [f"the {one} meets the {other}" for (one, a), (other, b) in pairs if a.overlaps(b)]


def _within(inner: PixelBox, outer: PixelBox) -> bool:
    across = outer.left <= inner.left and inner.right <= outer.right
    return across and outer.top <= inner.top and inner.bottom <= outer.bottom
