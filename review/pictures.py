"""Turns a picture of the run store into bytes for a browser: as it is, or a thumbnail that is made once and kept."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from contracts.errors import RunError
from contracts.store import write_atomically

Floats = npt.NDArray[np.float64]
THUMBNAIL = 480
"""Longest side of a thumbnail, pixels."""

KINDS = {".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".webp": "image/webp"}


def inside(run: Path, file: str) -> Path:
    """The path of a file that a table of a run names.

    Raises:
        RunError: it lies outside the run, is no picture, or is not there.
    """
    path = (run / file).resolve()
    if not path.is_relative_to(run.resolve()) or path.suffix.lower() not in KINDS:
        raise RunError(
            "is not a picture of this run", where=run.name, fix="The run's tables are damaged: run it again."
        )
    if not path.is_file():
        raise RunError("the picture is missing", where=f"{run.name}/{file}", fix="Draw it again: adloom run DATA.")
    return path


class Thumbnails:
    """Small pictures by the hash of the large one, made when first asked for, and kept in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._making = threading.BoundedSemaphore(2)

    def of(self, path: Path, file_hash: str) -> bytes:
        """WebP with a longest side of THUMBNAIL pixels. Raises RunError when the file is no whole picture."""
        kept = self.folder / file_hash[:2] / f"{file_hash}.webp"
        try:
            return kept.read_bytes()
        except OSError:
            pass
        with self._making:
            content = _small(path)
        try:
            kept.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(kept, content)
        except OSError:
            pass  # a full disk costs time, not the page
        return content


def _small(path: Path) -> bytes:
    try:
        with Image.open(path) as opened:
            image = opened.convert("RGB")
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError, SyntaxError, ValueError) as error:
        raise RunError("is not a whole picture", where=path.name, fix="Draw it again: adloom run DATA.") from error
    image.thumbnail((THUMBNAIL, THUMBNAIL), Image.Resampling.LANCZOS)
    out = io.BytesIO()
    image.save(out, "WEBP", quality=82, method=2)
    return out.getvalue()


def differences(path: Path, other: Path) -> list[str]:
    """What changed from `other` to `path`, in words: brightness, contrast, warmth, colour, and how much of the picture.

    Lightness is CIE luma of 8-bit sRGB (ITU-R BT.601); a pixel has changed when any channel moved by more than 24 of 255
    on a 96-pixel picture. Differences under 3 % of the scale are not mentioned; an unreadable picture says nothing.
    """
    try:
        mine, theirs = (_array(one) for one in (path, other))
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError, SyntaxError, ValueError):
        return []
    said = []
    for (more, less), measure in _MEASURES.items():
        by = measure(mine) - measure(theirs)
        if abs(by) >= 0.03:
            said.append(f"{more if by > 0 else less} by {abs(by):.0%}")
    moved = float((np.abs(mine - theirs).max(axis=2) > 24 / 255).mean())
    return [f"{moved:.0%} of the picture differs", *said]


def _array(path: Path) -> Floats:
    with Image.open(path) as opened:
        return np.asarray(opened.convert("RGB").resize((96, 96), Image.Resampling.BOX), np.float64) / 255


_LUMA = np.array([0.299, 0.587, 0.114])
_MEASURES: dict[tuple[str, str], Callable[[Floats], float]] = {
    ("brighter", "darker"): lambda image: float((image @ _LUMA).mean()),
    ("stronger contrast", "softer contrast"): lambda image: float(2 * (image @ _LUMA).std()),
    ("warmer", "cooler"): lambda image: float((image[..., 0] - image[..., 2]).mean()),
    ("more colourful", "less colourful"): lambda image: float((image.max(axis=2) - image.min(axis=2)).mean()),
}
