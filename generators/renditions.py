"""Turns a finished creative into its other sizes, from the same scene, each checked and in a file that platforms take."""

from __future__ import annotations

import io
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from PIL import Image

from contracts.errors import DataError
from generators.checking.findings import Finding, failed
from generators.checking.gate import Gate
from generators.layout import LAYOUTS, with_product
from generators.studio import Finished
from generators.typesetting.typesetter import typeset

MOST_BYTES = 150 * 1024
"""Of a display ad's file: Google Ads and Display & Video 360 take no larger ones."""

SPARE_BYTES = 20 * 1024
"""Of these, for what the file is to say of how it was made: a stamp, and where it is signed a manifest and its time."""

MOST_QUALITY, LEAST_QUALITY = 95, 60
"""Of a JPEG; the least one is written even if it is larger."""

_PNG: dict[str, int] = {"compress_level": 1, "compress_type": zlib.Z_RLE}
"""Runs alone are looked for: film grain hardly packs. Level 4 of the usual search takes nearly twice as long for files 2 %
larger, level 6 five times as long for files 1 % smaller."""

_SOCIAL = 1000  # pixels of the longer side from which a size is no display ad, but a post; those may be some megabytes


@dataclass(frozen=True)
class Rendition:
    """A creative in one more size.

    Attributes:
        layout: name of the format, key in LAYOUTS.
        image: the picture; None: it could not be set or failed a check.
        reason: why not; empty: it was made.
        content, suffix: of its file, ".png" or ".jpg".
    """

    layout: str
    image: Image.Image | None = None
    reason: str = ""
    content: bytes = b""
    suffix: str = ""


def renditions_of(finished: Finished, layouts: Iterable[str], gate: Gate) -> Iterator[Rendition]:
    """The creative in each of the formats; the scene that was filled and enlarged for the first serves all.

    What depends on the scene and the words alone (repeats, indecency, rudeness) was examined on the creative itself; see
    `Gate.examine_size` for the rest.
    """
    order = finished.order
    for name in layouts:
        layout = with_product(LAYOUTS[name], order.product_scale)
        try:
            image, report = typeset(
                finished.backdrop, order.product, order.copy, layout, brand=order.brand, seed=order.seed % 2**32,
                plate=order.plate, where=f"creative {order.name} in {name}",
            )  # fmt: skip
        except DataError as error:
            yield Rendition(name, reason=f"{error.what}")
            continue
        findings = gate.examine_size(image, order.product, order.copy, report, layout, where=f"creative {order.name}")
        if failed(findings):
            yield Rendition(name, reason="; ".join(_why(one) for one in findings if one.passed is False))
            continue
        content, suffix = encode(image)
        yield Rendition(name, image, "", content, suffix)


def _why(finding: Finding) -> str:
    return f"{finding.check}: {finding.reason}"


def encode(image: Image.Image) -> tuple[bytes, str]:
    """The picture as a file: PNG, every pixel as it was set, or the best JPEG where a display ad's is larger than
    MOST_BYTES less SPARE_BYTES.

    A post (a longer side of 1,000 pixels and more) is a PNG whatever its size.
    """
    lossless, most = png(image), MOST_BYTES - SPARE_BYTES
    if len(lossless) <= most or max(image.size) >= _SOCIAL:
        return lossless, ".png"
    low, high = LEAST_QUALITY, MOST_QUALITY + 1
    best = _jpeg(image, low)
    while high - low > 1:
        middle = (low + high) // 2
        tried = _jpeg(image, middle)
        if len(tried) <= most:
            low, best = middle, tried
        else:
            high = middle
    return best, ".jpg"


def png(image: Image.Image) -> bytes:
    """The picture as a PNG file."""
    out = io.BytesIO()
    image.save(out, "PNG", **_PNG)
    return out.getvalue()


def _jpeg(image: Image.Image, quality: int) -> bytes:
    out = io.BytesIO()
    image.save(out, "JPEG", quality=quality, subsampling=0, optimize=True)
    return out.getvalue()
