"""Claims about what a planted world's law is asked of pictures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from flows.measure_truth import product_square
from generators.layout import DEFAULT_BOX
from generators.products import load_product, place_product


@pytest.mark.parametrize("margins", [(0, 0, 0, 0), (10, 30, 5, 15)])
def test_the_square_of_a_product_is_that_of_its_picture_margins_and_all(
    tmp_path: Path, margins: tuple[int, int, int, int]
) -> None:
    """Left, top, right and bottom margins round a product of 60 by 40 pixels, found again in a scene."""
    left, top, right, bottom = margins
    picture = np.zeros((40 + top + bottom, 60 + left + right, 4), np.uint8)
    picture[top : top + 40, left : left + 60] = (200, 10, 10, 255)
    Image.fromarray(picture).save(tmp_path / "p.png")
    scene = place_product(np.zeros((256, 256, 3), np.uint8), load_product(tmp_path / "p.png"), DEFAULT_BOX)
    rows, columns = np.nonzero(scene[..., 0] > 100)
    x, y, wide, high = product_square(tmp_path / "p.png", 256)
    assert (x + wide * left / picture.shape[1]) * 256 == pytest.approx(columns.min(), abs=1.5)
    assert (x + wide * (left + 60) / picture.shape[1]) * 256 == pytest.approx(columns.max() + 1, abs=1.5)
    assert (y + high * top / picture.shape[0]) * 256 == pytest.approx(rows.min(), abs=1.5)
    assert (y + high * (top + 40) / picture.shape[0]) * 256 == pytest.approx(rows.max() + 1, abs=1.5)
