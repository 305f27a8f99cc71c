"""Turns rows of pictures into one sheet to look at."""

from __future__ import annotations

from pathlib import Path

from PIL import Image
from torch import Tensor


def save_sheet(pictures: Tensor, file: Path) -> None:
    """Write uint8 pictures (rows, columns, S, S, 3) as one PNG; its folder is made if it is not there."""
    rows, columns, side = pictures.shape[:3]
    whole = pictures.permute(0, 2, 1, 3, 4).reshape(rows * side, columns * side, 3)
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(whole.numpy()).save(file)
