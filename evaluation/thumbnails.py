"""Turns a finished creative into a thumbnail small enough to travel inside a page."""

from __future__ import annotations

import io

from PIL import Image, UnidentifiedImageError

from contracts.errors import DataError

SIDE = 460
"""Longest side in pixels: sharp at 230 CSS pixels on a dense screen."""


def thumbnail(encoded: bytes, *, name: str, side: int = SIDE) -> bytes:
    """WebP of at most `side` pixels a side, shape kept; smaller pictures are not enlarged.

    Args:
        encoded: PNG, JPEG or WebP bytes.
        name: of the picture, for errors.
        side: longest side, pixels.

    Raises:
        DataError: the bytes are not a picture.
    """
    try:
        with Image.open(io.BytesIO(encoded)) as opened:
            picture = opened.convert("RGB")
    except (UnidentifiedImageError, OSError) as error:
        raise DataError("is not a picture", where=f"picture {name}", fix="Give PNG, JPEG or WebP bytes.") from error
    picture.thumbnail((side, side), Image.Resampling.LANCZOS)
    out = io.BytesIO()
    picture.save(out, "WEBP", quality=84, method=4)
    return out.getvalue()
