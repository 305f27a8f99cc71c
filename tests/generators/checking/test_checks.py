"""Planted defects of each kind are caught, and what is sound passes."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from generators.checking.checks import check_creative, examine, measured_contrast
from generators.layout import LAYOUTS, SQUARE
from generators.products import PixelBox
from generators.typesetting.typesetter import TypesetReport, typeset
from generators.typesetting.wording import Copy

COPY = Copy("Slow mornings, brewed properly", "Roasted the day we ship.", "Taste it first", "Harbour", ("#0b6e4f",))


def _product() -> np.ndarray:
    x, y = np.meshgrid(np.linspace(-1, 1, 120), np.linspace(-1, 1, 150))
    alpha = np.clip((1 - (x**4 + y**4)) * 20, 0, 1)
    return np.dstack([200 + 50 * x, 90 + 40 * y, 60 + 0 * x, 255 * alpha]).astype(np.uint8)


def _scene(seed: int = 0) -> np.ndarray:
    """Wall, table and some blurred lamps."""
    rng = np.random.default_rng(seed)
    wall, table, lamp = rng.integers(20, 236, (3, 3))
    y, x = np.mgrid[0:64, 0:64] / 64
    scene = np.where((y > rng.uniform(0.5, 0.8))[..., None], table, wall).astype(float)
    for _ in range(5):
        glow = np.exp(-(((x - rng.random()) ** 2 + (y - rng.random()) ** 2) / rng.uniform(0.005, 0.03)))
        scene += glow[..., None] * 0.6 * (lamp - scene)
    return np.clip(scene, 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def creative() -> tuple[Image.Image, TypesetReport]:
    return typeset(_scene(), _product(), COPY, SQUARE, 480)


@pytest.mark.parametrize("name", LAYOUTS)
@pytest.mark.parametrize("width", [300, 480])
def test_sound_creatives_pass(name: str, width: int) -> None:
    for seed in range(3):
        image, report = typeset(_scene(seed), _product(), COPY, LAYOUTS[name], width, seed=seed)
        assert check_creative(image, _product(), report, LAYOUTS[name]) == []
    image, report = typeset(_scene(), None, COPY, LAYOUTS[name], width)
    assert check_creative(image, None, report, LAYOUTS[name]) == []


def test_a_creative_read_back_from_png_passes(creative: tuple[Image.Image, TypesetReport]) -> None:
    image, report = creative
    stored = io.BytesIO()
    image.save(stored, "png")
    assert check_creative(Image.open(stored), _product(), report, SQUARE) == []


@pytest.mark.parametrize("level", [0, 128, 255])
def test_a_flat_scene_is_caught(level: int) -> None:
    image, report = typeset(np.full((64, 64, 3), level, np.uint8), None, COPY, SQUARE, 480)
    assert check_creative(image, None, report, SQUARE) == ["blank_or_flat"]


def test_a_blank_picture_and_one_of_another_size_are_caught(creative: tuple[Image.Image, TypesetReport]) -> None:
    image, report = creative
    failed = check_creative(Image.new("RGB", image.size, "#000000"), _product(), report, SQUARE)
    assert failed == ["blank_or_flat", "product_altered", "low_contrast"]
    assert check_creative(image.resize((200, 200)), _product(), report, SQUARE) == ["blank_or_flat"]


def test_one_changed_pixel_of_the_product_is_caught(creative: tuple[Image.Image, TypesetReport]) -> None:
    image, report = creative
    assert report.product_at is not None
    at = report.product_at
    pixels = np.array(image)
    pixels[(at.top + at.bottom) // 2, (at.left + at.right) // 2, 1] ^= 1
    assert check_creative(Image.fromarray(pixels), _product(), report, SQUARE) == ["product_altered"]


def test_another_product_is_caught(creative: tuple[Image.Image, TypesetReport]) -> None:
    image, report = creative
    assert "product_altered" in check_creative(image, _product()[:, ::-1], report, SQUARE)
    assert "product_altered" in check_creative(image, _product()[:, :60], report, SQUARE)


def test_faint_type_is_caught_in_the_picture_itself(creative: tuple[Image.Image, TypesetReport]) -> None:
    image, report = creative
    box = report.boxes["body"]
    pixels = np.array(image)
    region = pixels[box.top : box.bottom, box.left : box.right]
    ground = np.median(region, axis=(0, 1))
    pixels[box.top : box.bottom, box.left : box.right] = (0.7 * ground + 0.3 * region).astype(np.uint8)
    assert check_creative(Image.fromarray(pixels), _product(), report, SQUARE) == ["low_contrast"]


def test_a_busy_ground_behind_the_type_is_caught(creative: tuple[Image.Image, TypesetReport]) -> None:
    image, report = creative
    pixels = np.array(image)
    line = next(line for line in report.lines if line.name == "headline")
    before = measured_contrast(pixels, line)
    ink = report.inks["headline"]
    box = line.box
    bare = line.mask[box.top - line.y : box.bottom - line.y, box.left - line.x : box.right - line.x] == 0
    spots = bare & (np.random.default_rng(0).random(bare.shape) < 0.05)
    pixels[box.top : box.bottom, box.left : box.right][spots] = ink
    assert before >= 4.5
    assert measured_contrast(pixels, line) < 1.1
    assert check_creative(Image.fromarray(pixels), _product(), report, SQUARE) == ["low_contrast"]


def test_faint_type_is_caught_in_the_report(creative: tuple[Image.Image, TypesetReport]) -> None:
    image, report = creative
    faint = replace(report, contrasts={**report.contrasts, "label": 4.49})
    assert check_creative(image, _product(), faint, SQUARE) == ["low_contrast"]


@pytest.mark.parametrize(
    ("name", "box"),
    [
        ("headline", PixelBox(-2, 60, 300, 120)),  # off the picture
        ("button", PixelBox(31, 410, 230, 449)),  # into the product's box
        ("body", PixelBox(31, 40, 200, 110)),  # over the headline
        ("label", PixelBox(31, 410, 200, 449)),  # wider than its button
    ],
)
def test_overflow_of_each_kind_is_caught(creative: tuple[Image.Image, TypesetReport], name: str, box: PixelBox) -> None:
    image, report = creative
    assert check_creative(image, _product(), replace(report, boxes={**report.boxes, name: box}), SQUARE) == [
        "text_overflow"
    ]


def test_a_finding_tells_what_was_measured_and_why_it_fails(creative: tuple[Image.Image, TypesetReport]) -> None:
    image, report = creative
    assert report.product_at is not None
    at = report.product_at
    pixels = np.array(image)
    pixels[(at.top + at.bottom) // 2, at.left + 40 : at.left + 50] ^= 1
    found = {finding.check: finding for finding in examine(Image.fromarray(pixels), _product(), report, SQUARE)}
    assert found["product_altered"].value == 10
    assert found["product_altered"].limit == 0
    assert "10 of " in found["product_altered"].reason
    assert found["low_contrast"].passed
    assert found["low_contrast"].value >= 4.5
    assert found["low_contrast"].reason == ""
    assert {f.check: f.passed for f in examine(image, None, report, SQUARE)}["product_altered"] is None
