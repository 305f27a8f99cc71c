"""Type is legible on any background, and the shade that helps it is no stronger than needed."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from generators.products import PixelBox
from generators.typesetting.contrast import (
    DARK_INK,
    LEAST_CONTRAST,
    LIGHT_INK,
    contrast_ratio,
    ink_on,
    make_legible,
    relative_luminance,
    shade_mask,
    text_contrast,
)

BOXES = {"headline": PixelBox(12, 20, 180, 60), "body": PixelBox(12, 70, 150, 84)}


def _backgrounds() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(3)
    side = 200
    ramp = np.linspace(0, 255, side)
    stripes = np.where(np.arange(side) // 5 % 2, 255, 0)
    return {
        "white": np.full((side, side, 3), 255.0),
        "black": np.zeros((side, side, 3)),
        "middle grey": np.full((side, side, 3), 118.0),
        "noise": rng.integers(0, 256, (side, side, 3)).astype(float),
        "stripes": np.broadcast_to(stripes[:, None, None], (side, side, 3)).astype(float),
        "upright stripes": np.broadcast_to(stripes[None, :, None], (side, side, 3)).astype(float),
        "gradient": np.broadcast_to(ramp[None, :, None], (side, side, 3)).astype(float),
        "red": np.full((side, side, 3), (228.0, 30.0, 40.0)),
    }


def test_the_figures_of_the_wcag_are_met() -> None:
    assert float(contrast_ratio((0, 0, 0), (255, 255, 255))) == pytest.approx(21.0)
    assert float(contrast_ratio((119, 119, 119), (255, 255, 255))) == pytest.approx(
        4.48, abs=0.005
    )  # #777, known to fail
    assert float(contrast_ratio((118, 118, 118), (255, 255, 255))) == pytest.approx(4.54, abs=0.005)  # #767676, to pass
    assert float(relative_luminance((255, 0, 0))) == pytest.approx(0.2126)
    as_bytes = np.arange(256, dtype=np.uint8).repeat(3).reshape(-1, 3)
    assert np.allclose(relative_luminance(as_bytes), relative_luminance(as_bytes.astype(float)))


def test_a_few_bad_pixels_count_and_single_ones_do_not() -> None:
    ground = np.zeros((1000, 3))
    ground[:10] = 250
    assert text_contrast(ground, LIGHT_INK) > 20
    ground[:30] = 250
    assert text_contrast(ground, LIGHT_INK) < 1.1


@pytest.mark.parametrize("name", _backgrounds())
def test_contrast_is_repaired_on_every_background(name: str) -> None:
    picture = _backgrounds()[name].astype(np.float32)
    before = picture.copy()
    legible = make_legible(picture, BOXES)
    assert (picture == before).all()
    for text, box in BOXES.items():
        behind = legible.picture[box.top : box.bottom, box.left : box.right].reshape(-1, 3)
        worst = np.sort([float(contrast_ratio(pixel, legible.ink)) for pixel in behind])[int(0.02 * len(behind))]
        assert worst >= LEAST_CONTRAST, f"{text}: {worst}"
        assert legible.contrasts[text] >= LEAST_CONTRAST


def test_ink_is_chosen_before_a_shade_is_laid() -> None:
    backgrounds = _backgrounds()
    for name, ink in (("white", DARK_INK), ("black", LIGHT_INK)):
        legible = make_legible(backgrounds[name].astype(np.float32), BOXES)
        assert legible.ink == ink
        assert legible.strength == 0
        assert (legible.picture == backgrounds[name]).all()
    stripes = make_legible(backgrounds["stripes"].astype(np.float32), BOXES)
    assert stripes.plate is not None, "a shade that helped here would hide the picture"
    assert stripes.strength == 0


def test_the_shade_is_the_weakest_that_passes() -> None:
    picture = np.full((200, 200, 3), 150, dtype=np.float32)
    darker, lighter = (make_legible(picture + shift, BOXES).strength for shift in (-30, 60))
    assert 0 < darker < 0.6
    assert lighter == 0


def test_the_shade_has_no_edge_and_leaves_the_rest_alone() -> None:
    mask = shade_mask((300, 300), list(BOXES.values()))
    assert mask.shape == (300, 300)
    for box in BOXES.values():
        assert mask[box.top : box.bottom, box.left : box.right].min() > 0.95
    assert mask[200:].max() == 0
    assert np.abs(np.diff(mask, axis=0)).max() < 0.05
    assert np.abs(np.diff(mask, axis=1)).max() < 0.05


@settings(max_examples=50)
@given(st.tuples(st.integers(0, 255), st.integers(0, 255), st.integers(0, 255)))
def test_a_label_is_legible_on_a_button_of_any_colour(colour: tuple[int, int, int]) -> None:
    assert float(contrast_ratio(colour, ink_on(colour))) >= LEAST_CONTRAST
