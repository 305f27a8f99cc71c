"""Scenes and their look: reproducible, soft, wide, and judged from pixels alone."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from sources.calibration import measure_looks
from sources.colour import largest_chroma, oklch_to_linear, srgb_to_lab
from sources.look import LOOK_MEANS, LOOK_SPREADS, look, raw_look, standout
from sources.patterns import LIGHT_PAINTERS, WALL_PAINTERS
from sources.placing import Box, load_cutout, place_product, sample_box
from sources.scenes import draw_scene, sample_style
from sources.style import PATTERNS


def _scenes(count: int, seed: int = 1, side: int = 64) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.stack([draw_scene(sample_style(rng), side) for _ in range(count)])


@pytest.fixture(scope="module")
def cutout(tmp_path_factory: pytest.TempPathFactory):
    """A red disc on a transparent ground, standing a tenth above the lower edge."""
    y, x = np.mgrid[0:200, 0:200] / 199
    inside = (x - 0.5) ** 2 + (y - 0.5) ** 2 < 0.4**2
    pixels = np.zeros((200, 200, 4), dtype=np.uint8)
    pixels[inside] = (220, 30, 30, 255)
    path = tmp_path_factory.mktemp("products") / "disc.png"
    Image.fromarray(pixels).save(path)
    return load_cutout(path)


def test_the_same_style_gives_the_same_bytes() -> None:
    style = sample_style(np.random.default_rng(3))
    assert np.array_equal(draw_scene(style, 64), draw_scene(style, 64))
    assert not np.array_equal(draw_scene(style, 64), draw_scene(dataclasses.replace(style, hue=style.hue + 90), 64))


@pytest.mark.parametrize("pattern", PATTERNS)
def test_every_pattern_is_painted_and_leaves_its_mark(pattern: str) -> None:
    assert (pattern in WALL_PAINTERS) != (pattern in LIGHT_PAINTERS)
    style = dataclasses.replace(sample_style(np.random.default_rng(11)), busyness=0.9, lightness=0.6)
    bare = draw_scene(dataclasses.replace(style, pattern="none", busyness=0.1), 64).astype(float)
    assert np.abs(draw_scene(dataclasses.replace(style, pattern=pattern), 64) - bare).mean() > 1.0


def test_a_scene_is_the_same_picture_at_every_size() -> None:
    rng = np.random.default_rng(5)
    for _ in range(12):
        style = sample_style(rng)
        small = draw_scene(style, 64).astype(float)
        large = draw_scene(style, 128).astype(float).reshape(64, 2, 64, 2, 3).mean(axis=(1, 3))
        assert np.abs(small - large).mean() < 3.0


def test_scenes_are_soft_not_noise() -> None:
    scenes = _scenes(40).astype(float)
    steps = np.abs(np.diff(scenes, axis=2)).mean(axis=3)  # (N, 64, 63)
    assert (np.quantile(steps, 0.5, axis=(1, 2)) < 6).mean() > 0.9
    shuffled = np.random.default_rng(0).permuted(scenes, axis=2)
    assert np.quantile(np.abs(np.diff(shuffled, axis=2)).mean(axis=3), 0.5) > 6


def test_bad_colours_are_held_inside_srgb() -> None:
    for lightness in (0.2, 0.5, 0.8):
        for hue in range(0, 360, 30):
            edge = largest_chroma(lightness, hue)
            assert oklch_to_linear(lightness, 0.99 * edge, hue).min() > -0.002
            outside = oklch_to_linear(lightness, edge + 0.02, hue)
            assert outside.min() < 0 or outside.max() > 1


def test_lab_agrees_with_published_values() -> None:
    """Reference: sRGB primaries under D65 as given by B. Lindbloom's calculator."""
    colours = np.array([[1, 1, 1], [0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1], [0.5, 0.5, 0.5]], dtype=float)
    expected = [
        [100, 0, 0], [0, 0, 0], [53.2408, 80.0925, 67.2032], [87.7347, -86.1827, 83.1793],
        [32.2970, 79.1875, -107.8602], [53.3890, 0, 0],
    ]  # fmt: skip
    assert np.allclose(srgb_to_lab(colours), expected, atol=0.02)


def test_a_look_follows_what_an_eye_would_say() -> None:
    grey = np.full((1, 64, 64, 3), 128, dtype=np.uint8)
    darker, warm, red, green = (grey.copy() for _ in range(4))
    darker[:] = 90
    warm[..., 2] = 60
    red[..., 0] = 200
    green[..., 1] = 200
    checks = grey.copy()
    checks[:, :, ::8] = 160
    plain = look(grey)[0]
    assert look(darker)[0, 0] < plain[0]
    assert look(warm)[0, 1] > plain[1]
    assert look(red)[0, 2] > plain[2] > look(green)[0, 2]
    assert look(red)[0, 3] > plain[3]
    assert look(checks)[0, 4] > plain[4]


def test_a_busier_style_gives_a_busier_look() -> None:
    rng = np.random.default_rng(8)
    styles = [sample_style(rng) for _ in range(60)]
    calm, busy = (
        look(np.stack([draw_scene(dataclasses.replace(style, busyness=level), 64) for style in styles]))[:, 4]
        for level in (0.1, 0.9)
    )
    assert (busy > calm).mean() > 0.85


@settings(max_examples=20, deadline=None)
@given(st.integers(min_value=65, max_value=200), st.integers(min_value=65, max_value=200))
def test_a_look_does_not_depend_on_the_size_of_the_picture(height: int, width: int) -> None:
    scene = Image.fromarray(_scenes(1, seed=2, side=64)[0])
    resized = np.asarray(scene.resize((width, height), Image.Resampling.BILINEAR))[None]
    assert np.allclose(look(resized)[0, :4], look(np.asarray(scene)[None])[0, :4], atol=0.1)


def test_whole_and_fractional_averaging_agree() -> None:
    fractional = _scenes(2, seed=4, side=96)  # 1.5 pixels to a cell
    whole = fractional.repeat(2, axis=1).repeat(2, axis=2)  # the same picture, 3 pixels to a cell
    assert np.allclose(raw_look(fractional), raw_look(whole))
    assert np.allclose(raw_look(whole.repeat(2, axis=1)), raw_look(whole))


def test_no_pictures_have_no_looks() -> None:
    none = np.zeros((0, 64, 64, 3), dtype=np.uint8)
    assert look(none).shape == (0, 5)
    assert standout(none, np.zeros((0, 4))).shape == (0,)


def test_the_constants_of_the_look_still_hold() -> None:
    raw = measure_looks(360)
    off_centre = np.abs(raw.mean(axis=0) - LOOK_MEANS) / LOOK_SPREADS
    assert off_centre.max() < 0.15
    assert np.abs(raw.std(axis=0) / LOOK_SPREADS - 1).max() < 0.12
    correlations = np.corrcoef(raw.T)[np.triu_indices(5, 1)]
    assert np.abs(correlations).max() < 0.4
    spread = np.quantile((raw - LOOK_MEANS) / LOOK_SPREADS, [0.05, 0.95], axis=0)
    assert (spread[0] < -1.2).all()
    assert (spread[1] > 1.2).all()


def test_a_product_is_set_exactly_in_its_box_and_nowhere_else(cutout) -> None:
    scene = np.full((128, 128, 3), 200, dtype=np.uint8)
    box = Box(0.25, 0.25, 0.5, 0.5)
    placed = place_product(scene, cutout, box)
    assert np.array_equal(scene, np.full((128, 128, 3), 200))
    assert np.array_equal(placed[64, 64], (220, 30, 30))
    assert np.abs(placed[20, 20].astype(int) - 200).max() <= 2
    below, above = placed[93, 64].mean(), placed[34, 32].mean()
    assert below < above - 8  # the contact shadow lies under the product


def test_boxes_are_large_low_and_on_whole_pixels(cutout) -> None:
    rng = np.random.default_rng(0)
    boxes = [sample_box(rng, cutout, 128) for _ in range(300)]
    for box in boxes:
        assert 0.44 <= box.width <= 0.59
        assert box.width == box.height
        assert 0 <= box.left <= 1 - box.width
        assert 0 <= box.top <= 1 - box.height
        assert all(float(128 * part).is_integer() for part in (box.left, box.top, box.width))
        assert 0.8 <= box.top + cutout.bottom * box.height <= 1.0
    assert np.mean([box.left + box.width / 2 > 0.44 for box in boxes]) > 0.8


def test_a_product_stands_out_from_another_colour_and_not_from_its_own(cutout) -> None:
    box = Box(0.3, 0.3, 0.5, 0.5)
    places = np.array([[box.left, box.top, box.width, box.height]])
    red, teal = (np.full((128, 128, 3), colour, dtype=np.uint8) for colour in ((220, 30, 30), (20, 110, 110)))
    values = [standout(place_product(scene, cutout, box)[None], places)[0] for scene in (red, teal)]
    assert 0 <= values[0] < 0.4 < values[1] < 1
    assert standout(red[None], np.full((1, 4), np.nan))[0] == 0.5
