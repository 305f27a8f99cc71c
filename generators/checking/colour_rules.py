"""Turns a finished picture and an advertiser's colours into findings: the button in them, others nowhere to be seen."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from generators.checking.findings import Finding, at_most
from generators.colour import NEAR_COLOUR, difference, parse_colour, srgb_to_lab
from generators.products import Pixels
from generators.typesetting.typesetter import TypesetReport


def check_button(pixels: Pixels, report: TypesetReport, colours: Sequence[str], *, limit: float, where: str) -> Finding:
    """Whether the button, as it stands in the picture, has one of the concept's colours.

    Args:
        pixels: uint8 (h, w, 3), finished.
        report: what `typeset` set where.
        colours: "#rrggbb"; none: any colour will do.
        limit: CIE76 difference to the nearest one at most.
        where: names the concept in errors.
    """
    box = report.boxes.get("button")
    if box is None or not colours:
        return Finding("off_brand", None, reason="no button" if box is None else "the concept names no colours")
    ours = pixels[max(box.top, 0) : box.bottom, max(box.left, 0) : box.right].reshape(-1, 3)
    fill = srgb_to_lab(np.median(ours, axis=0))
    nearest = min(float(difference(fill, parse_colour(colour, where=where))) for colour in colours)
    return at_most("off_brand", nearest, limit, f"the button is in none of {', '.join(colours)}")


def check_forbidden(
    pixels: Pixels, product: Pixels | None, report: TypesetReport, colours: Sequence[str], *, limit: float, where: str
) -> Finding:
    """Whether colours that must not be seen cover more than `limit` of the picture; the product's box is left out.

    Arguments as in `check_button`; the worst colour counts.
    """
    if not colours:
        return Finding("forbidden_colour", None, reason="no colour is forbidden to this advertiser")
    counted = np.ones(pixels.shape[:2], dtype=bool)
    if report.product_at is not None and product is not None:
        at = report.product_at
        counted[at.top : at.bottom, at.left : at.right] = False
    seen = srgb_to_lab(pixels[counted])
    shares = {
        colour: float((difference(seen, parse_colour(colour, where=where)) < NEAR_COLOUR).mean()) for colour in colours
    }
    worst = max(shares, key=lambda colour: (shares[colour], colour))
    return at_most(
        "forbidden_colour",
        shares[worst],
        limit,
        f"{worst} and colours near it cover {shares[worst]:.1%} of the picture",
    )
