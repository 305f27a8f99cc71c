"""A graded scene has the look that was wanted, keeps its shapes, and is left alone where it has that look already."""

from __future__ import annotations

import numpy as np
import pytest

from generators.colour import lab_to_srgb, srgb_to_lab
from generators.layout import DEFAULT_BOX
from generators.painting.grading import grade
from generators.products import place_product, product_mask
from generators.taste.look import LOOK, picture_looks

S = 128
TYPICAL = np.array([0.16, 0.14, 0.15, 0.1, 0.27, 0.2])
"""Standard deviations of looks."""


@pytest.fixture(scope="module")
def product() -> np.ndarray:
    pixels = np.zeros((90, 70, 4), np.uint8)
    pixels[5:85, 5:65] = (60, 130, 120, 255)
    return pixels


def scene(seed: int = 0) -> np.ndarray:
    """A wall and a table in related colours, with soft waves."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:S, 0:S] / S
    wave = np.sin(2 * np.pi * (3 * x + rng.random()) + 4 * y) * 12
    wall, table = rng.uniform(90, 170, 3), rng.uniform(90, 170, 3)
    return np.clip(np.where(y[..., None] < 0.65, wall, table) + wave[..., None], 0, 255).astype(np.uint8)


def picture_look(one: np.ndarray, product: np.ndarray) -> np.ndarray:
    mask = product_mask(product, DEFAULT_BOX, S) > 0.5
    return picture_looks(place_product(one, product, DEFAULT_BOX)[None], mask.astype(np.float32)[None])[0]


def graded(one: np.ndarray, product: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    mask = (product_mask(product, DEFAULT_BOX, S) > 0.5).astype(np.float32)
    framed = place_product(np.full((S, S, 3), 128, np.uint8), product, DEFAULT_BOX)
    return grade(one[None], framed[None], mask[None], wanted[None].astype(np.float32))[0]


def test_cielab_goes_back_to_the_bytes_it_came_from() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (500, 3)).astype(np.uint8)
    assert np.abs(lab_to_srgb(srgb_to_lab(pixels)) - pixels).max() < 0.1


@pytest.mark.parametrize("seed", range(4))
def test_the_look_of_a_scene_in_other_light_and_colours_is_found_again(seed: int, product: np.ndarray) -> None:
    """Planted: the wanted look is that of the same scene after a known change."""
    one = scene(seed)
    lab = srgb_to_lab(one)
    centre = lab.mean((0, 1))
    other = lab_to_srgb(centre + np.array([1.3, 1.4, 1.4]) * (lab - centre) + np.array([7, 6, -5])).astype(np.uint8)
    wanted, before = picture_look(other, product), picture_look(one, product)
    off = np.abs(picture_look(graded(one, product, wanted), product) - wanted)
    assert (off[:3] < 0.015).all(), dict(zip(LOOK, off, strict=True))
    assert (off / TYPICAL).mean() < 0.4 * (np.abs(before - wanted) / TYPICAL).mean(), dict(zip(LOOK, off, strict=True))


def test_a_scene_that_has_its_look_is_left_as_it_is(product: np.ndarray) -> None:
    one = scene()
    assert np.abs(graded(one, product, picture_look(one, product)).astype(int) - one).mean() < 5


def test_a_grade_keeps_the_shapes(product: np.ndarray) -> None:
    """Away from the product, light and dark stay where they were."""
    one = scene()
    wanted = picture_look(one, product) + np.array([0.1, 0.05, 0.05, 0.05, 0.3, 0.0])
    corner = (slice(0, 40), slice(0, 60))
    light = [srgb_to_lab(each[corner])[..., 0].ravel() for each in (one, graded(one, product, wanted))]
    assert np.corrcoef(*light)[0, 1] > 0.95


def test_what_cannot_be_reached_is_approached_within_bounds(product: np.ndarray) -> None:
    one = scene()
    wild = graded(one, product, np.array([3.0, 2.0, -2.0, 5.0, 9.0, 4.0]))
    assert np.isfinite(wild.astype(float)).all()
    assert np.array_equal(graded(one, product, np.full(6, np.nan)), one)
