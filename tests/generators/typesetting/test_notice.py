"""The label that says that a model drew it: small, in a free corner of every size, and legible on the pixels that are there."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import features

from contracts.errors import DataError
from generators.checking.checks import check_creative, measured_contrast
from generators.layout import LAYOUTS, SQUARE, with_product
from generators.products import fit_product
from generators.typesetting.brand import Brand
from generators.typesetting.contrast import LEAST_CONTRAST
from generators.typesetting.notice import NAME
from generators.typesetting.typesetter import TypesetReport, check_copy, typeset
from generators.typesetting.wording import Copy
from tests.generators.tiny_fonts import write_box_font

COPY = Copy(
    headline="Slow mornings, brewed properly",
    body="Small-batch beans, roasted the day we ship them.",
    call_to_action="Taste it first",
    advertiser="Harbour Roasters",
    colours=("#0b6e4f",),
)
LABELLED = replace(COPY, notice="AI-generated")
WORDS = ("AI-generated", "KI-generiert", "Généré par IA", "Создано ИИ", "Generado con IA")


def product(wide: int = 120, high: int = 150) -> np.ndarray:
    pixels = np.zeros((high, wide, 4), np.uint8)
    pixels[4:-4, 4:-4] = (180, 90, 60, 255)
    return pixels


def scene(kind: str, side: int = 96) -> np.ndarray:
    rng = np.random.default_rng(3)
    if kind == "noise":
        return rng.integers(0, 256, (side, side, 3), dtype=np.uint8)
    if kind == "stripes":
        return np.tile(np.where(np.arange(side) // 3 % 2, 255, 0).astype(np.uint8)[:, None, None], (1, side, 3))
    return np.full((side, side, 3), {"white": 250, "grey": 119, "black": 4}[kind], np.uint8)


def collisions(report: TypesetReport) -> list[str]:
    """What the label meets, or where it leaves the picture."""
    box, (wide, high) = report.boxes[NAME], report.size
    met = [name for name, other in report.boxes.items() if name != NAME and box.overlaps(other)]
    met += ["the product"] if box.overlaps(report.product_box) else []
    return met + (["the edge"] if min(box.left, box.top, wide - box.right, high - box.bottom) < 0 else [])


@pytest.mark.parametrize("kind", ["white", "grey", "black", "noise", "stripes"])
@pytest.mark.parametrize("name", LAYOUTS)
def test_in_every_size_it_is_small_legible_and_meets_nothing(name: str, kind: str) -> None:
    image, report = typeset(scene(kind), product(), LABELLED, LAYOUTS[name])
    plain, before = typeset(scene(kind), product(), COPY, LAYOUTS[name])
    assert collisions(report) == []
    line = next(line for line in report.lines if line.name == NAME)
    assert line.text == "AI-generated"
    assert 9 <= report.type_sizes[NAME] <= max(9, 0.024 * min(report.size)) + 1e-6
    assert report.contrasts[NAME] >= LEAST_CONTRAST
    assert measured_contrast(np.asarray(image), line) >= LEAST_CONTRAST
    assert check_creative(image, product(), report, LAYOUTS[name]) == check_creative(
        plain, product(), before, LAYOUTS[name]
    )
    box = report.boxes[NAME]
    changed = (np.asarray(image) != np.asarray(plain)).any(axis=-1)
    assert changed[box.top : box.bottom, box.left : box.right].any()
    changed[box.top : box.bottom, box.left : box.right] = False
    assert not changed.any(), "only the label's own place differs: product, type and logo are as they were"


@pytest.mark.parametrize("words", WORDS)
@pytest.mark.parametrize("name", LAYOUTS)
def test_its_words_are_the_reader_s_own(name: str, words: str) -> None:
    image, report = typeset(scene("stripes"), product(60, 200), replace(COPY, notice=words), LAYOUTS[name])
    assert collisions(report) == []
    assert next(line.text for line in report.lines if line.name == NAME) == words
    assert check_creative(image, product(60, 200), report, LAYOUTS[name]) == []


def test_a_logo_with_its_clear_space_and_a_larger_product_are_left_alone() -> None:
    logo = np.zeros((40, 160, 4), np.uint8)
    logo[5:35, 5:155] = (20, 20, 20, 255)
    brand = Brand(logos=(logo,), clear_space=0.3)
    for name, layout in LAYOUTS.items():
        grown = with_product(layout, 1.08)
        _, report = typeset(scene("grey"), product(), replace(LABELLED, body=""), grown, brand=brand)
        assert collisions(report) == [], name
        assert report.logo_at is not None


def test_a_story_shows_it_where_no_app_lays_anything_over_it() -> None:
    _, report = typeset(scene("grey"), product(), LABELLED, LAYOUTS["9:16"])
    box = report.boxes[NAME]
    assert box.top >= 0.14 * 1920
    assert box.bottom <= 0.81 * 1920


def test_without_words_nothing_is_set() -> None:
    for words in ("", "  ", "\u200b"):
        image, report = typeset(scene("grey"), product(), replace(COPY, notice=words))
        assert NAME not in report.boxes
        assert image.tobytes() == typeset(scene("grey"), product(), COPY)[0].tobytes()


def test_glyphs_that_the_font_lacks_are_named_and_a_font_that_has_them_helps(tmp_path: Path) -> None:
    chinese = replace(COPY, notice="人工智能生成")
    with pytest.raises(DataError, match=r"AI label has characters that .* lacks: 人") as raised:
        check_copy(chinese, SQUARE, 480, where="concept tea")
    assert "U+751F" in raised.value.what
    assert "font_path" in (raised.value.fix or "")
    font = write_box_font(tmp_path / "boxes.ttf", "".join(map(chr, range(33, 127))) + chinese.notice)
    brand = Brand(text=font)
    image, report = typeset(scene("noise"), product(), chinese, brand=brand)
    assert collisions(report) == []
    assert check_creative(image, product(), report, SQUARE) == []


@pytest.mark.skipif(not features.check("raqm"), reason="Pillow finds no raqm here: right-to-left scripts are refused")
def test_a_script_from_right_to_left_is_shaped(tmp_path: Path) -> None:
    hebrew = "נוצר בבינה"
    font = write_box_font(tmp_path / "boxes.ttf", "".join(map(chr, range(33, 127))) + hebrew)
    _, report = typeset(scene("grey"), product(), replace(COPY, notice=hebrew), brand=Brand(text=font))
    assert collisions(report) == []


def test_where_there_is_no_room_the_size_is_refused_and_never_set_without_it() -> None:
    long = replace(COPY, notice="Made with the help of a generative model, entirely simulated")
    check_copy(long, SQUARE, 480, where="concept tea")
    with pytest.raises(DataError, match="AI label has no room") as raised:
        typeset(scene("grey"), product(), long, LAYOUTS["160x600"])
    assert "ai_label" in (raised.value.fix or "")


def test_the_product_s_pixels_are_the_product_s() -> None:
    image, report = typeset(scene("noise"), product(), LABELLED)
    resized, at = fit_product(product(), SQUARE.product, report.size)
    shown = np.asarray(image)[at.top : at.bottom, at.left : at.right]
    opaque = resized[..., 3] == 255
    assert (shown[opaque] == resized[..., :3][opaque]).all()
