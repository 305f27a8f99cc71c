"""A look is what a person would call it: light, warm, colourful, busy, a product that stands out."""

from __future__ import annotations

import numpy as np
import pytest

import sources.colour
from generators.taste.look import LOOK, NO_CONTRAST, picture_looks

S = 64
Pictures = np.ndarray


def plain(*colours: tuple[int, int, int]) -> Pictures:
    return np.stack([np.full((S, S, 3), colour, np.uint8) for colour in colours])


def number(name: str, pictures: Pictures, masks: Pictures | None = None) -> list[float]:
    return [float(value) for value in picture_looks(pictures, masks)[:, LOOK.index(name)]]


def test_numbers_of_plain_colours_are_those_of_cielab() -> None:
    looks = picture_looks(plain((255, 255, 255), (255, 0, 0), (0, 0, 255)))
    expected = [[1.0, 0, 0, 0], [0.5324, 0.8009, 0.6720, 1.0455], [0.3230, 0.7919, -1.0786, 1.3381]]
    assert np.allclose(looks[:, :4], expected, atol=2e-3)  # L*a*b* of sRGB white, red and blue (Lindbloom)


def test_numbers_are_what_a_second_way_to_cielab_says() -> None:
    pictures = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)
    lab = sources.colour.srgb_to_lab(pictures / 255)
    means = [lab[..., 0], lab[..., 1], lab[..., 2], np.hypot(lab[..., 1], lab[..., 2])]
    expected = np.stack([plane.mean((1, 2)) / 100 for plane in means], axis=1)
    assert np.allclose(picture_looks(pictures)[:, :4], expected, atol=1e-4)


def test_busy_is_what_changes_from_place_to_place_not_what_is_far_from_grey() -> None:
    stripes = plain((128, 128, 128))
    stripes[:, :, ::8] = 240
    calm, busy = number("busyness", np.concatenate([plain((250, 10, 10)), stripes]))
    assert busy > calm + 1


def test_contrast_is_between_the_product_and_what_is_around_it() -> None:
    pictures = plain((200, 40, 40), (200, 40, 40), (200, 40, 40))
    masks = np.zeros((3, S, S), np.uint8)
    masks[:, 20:44, 20:44] = 255
    pictures[1, 20:44, 20:44] = (200, 80, 60)
    pictures[2, 20:44, 20:44] = (20, 40, 200)
    none, some, much = number("contrast", pictures, masks)
    assert none == pytest.approx(0, abs=1e-3)
    assert none < some < much <= 1
    far = pictures[2:].copy()
    far[:, :8] = (0, 255, 0)  # away from the product
    assert number("contrast", far, masks[2:])[0] == pytest.approx(much, abs=1e-6)


def test_where_no_product_is_known_contrast_says_nothing() -> None:
    pictures = plain((10, 200, 10), (1, 2, 3))
    assert number("contrast", pictures) == [NO_CONTRAST, NO_CONTRAST]
    assert number("contrast", pictures, np.zeros((2, S, S), np.uint8)) == [NO_CONTRAST, NO_CONTRAST]


def test_masks_may_be_bytes_or_shares_and_one_may_serve_all() -> None:
    pictures = np.random.default_rng(0).integers(0, 256, (3, S, S, 3)).astype(np.uint8)
    mask = np.zeros((S, S), np.uint8)
    mask[10:30, 10:30] = 255
    one = picture_looks(pictures, mask)
    assert np.array_equal(one, picture_looks(pictures, np.stack([mask] * 3)))
    assert np.array_equal(one, picture_looks(pictures, (mask / 255).astype(np.float32)))


def test_a_picture_looks_alike_at_every_size() -> None:
    small = np.random.default_rng(0).integers(0, 256, (2, 16, 16, 3)).astype(np.uint8)
    small = small.repeat(4, 1).repeat(4, 2)
    large = small.repeat(3, 1).repeat(3, 2)
    assert np.allclose(picture_looks(small), picture_looks(large), atol=1e-4)


@pytest.mark.parametrize("shape", [(1, 60, 60, 3), (1, 64, 48, 3)])
def test_other_sides_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="multiple of 16"):
        picture_looks(np.zeros(shape, np.uint8))
