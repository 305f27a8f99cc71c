"""Variety is the mean distance of what is around the product, and no rearranging of pictures changes it."""

from __future__ import annotations

import numpy as np
import pytest

from generators.layout import DEFAULT_BOX
from generators.taste.variety import distances, spread, thumbnails


def plain(*levels: int, side: int = 64) -> np.ndarray:
    return np.stack([np.full((side, side, 3), level, np.uint8) for level in levels])


def test_plain_pictures_are_as_far_apart_as_their_levels() -> None:
    thumbs = thumbnails(plain(0, 51, 255))
    assert distances(thumbs, thumbs) == pytest.approx(np.array([[0, 0.2, 1], [0.2, 0, 0.8], [1, 0.8, 0]]), abs=1e-6)
    assert spread(thumbs) == pytest.approx(2 * (0.2 + 1 + 0.8) / 6, abs=1e-6)
    assert spread(thumbs[::-1]) == pytest.approx(spread(thumbs))
    assert np.isnan(spread(thumbs[:1]))


def test_the_product_does_not_count_and_its_surroundings_do() -> None:
    scene = plain(100)[0]
    top, bottom, left, right = (round(64 * getattr(DEFAULT_BOX, side)) for side in ("top", "bottom", "left", "right"))
    product, around = scene.copy(), scene.copy()
    product[top + 4 : bottom - 4, left + 4 : right - 4] = 255
    around[:8] = 255
    thumbs = thumbnails(np.stack([scene, product, around]))
    assert distances(thumbs, thumbs)[0, 1] == 0
    assert distances(thumbs, thumbs)[0, 2] > 0.1


def test_the_size_of_a_picture_does_not_matter() -> None:
    rng = np.random.default_rng(0)
    cells = rng.integers(0, 255, (3, 16, 16, 3)).astype(np.uint8)
    small, large = (cells.repeat(n, axis=1).repeat(n, axis=2) for n in (1, 6))
    assert thumbnails(small) == pytest.approx(thumbnails(large))
