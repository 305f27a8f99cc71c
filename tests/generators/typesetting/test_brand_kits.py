"""A brand kit is read whole, every fault of it is told at once, and what it asks for is what is set."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from contracts.errors import DataError, SettingsError
from generators.layout import LAYOUTS, SQUARE
from generators.products import Pixels, resize_rgba
from generators.typesetting.brand import Brand, is_apart
from generators.typesetting.brand_kits import FILE, load_brands
from generators.typesetting.contrast import LEAST_CONTRAST, contrast_ratio
from generators.typesetting.logo import LEAST_LOGO_CONTRAST
from generators.typesetting.typeface import DISPLAY_FONT, TEXT_FONT
from generators.typesetting.typesetter import TypesetReport, typeset
from generators.typesetting.wording import Copy
from tests.generators.tiny_fonts import write_box_font

COPY = Copy(
    "Slow mornings, brewed properly", "Small-batch beans, roasted the day we ship them.", "Taste it first", "Harbour"
)
GREEN, RED = (11, 110, 79), (208, 2, 27)


def logo(colour: tuple[int, int, int], wide: int = 240, high: int = 60) -> Pixels:
    out = np.zeros((high, wide, 4), np.uint8)
    out[:] = (*colour, 255)
    out[high // 3 : -high // 3, wide // 5 : -wide // 5, 3] = 0
    return out


def product() -> Pixels:
    out = np.zeros((150, 120, 4), np.uint8)
    out[5:-5, 5:-5] = (200, 90, 60, 255)
    return out


def plain(level: int) -> Pixels:
    return np.full((64, 64, 3), level, np.uint8)


def noise() -> Pixels:
    return np.random.default_rng(1).integers(0, 256, (64, 64, 3), dtype=np.uint8)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "brand").mkdir()
    Image.fromarray(logo(GREEN)).save(tmp_path / "brand" / "dark.png")
    Image.fromarray(logo((255, 255, 255))).save(tmp_path / "brand" / "light.png")
    (tmp_path / "brand" / "Own.ttf").write_bytes(TEXT_FONT.read_bytes())
    return tmp_path


def written(folder: Path, text: str) -> Path:
    (folder / FILE).write_text(text, encoding="utf-8")
    return folder


KIT = """
["Harbour"]
display_font = "brand/Own.ttf"
logos = ["brand/dark.png", "brand/light.png"]
clear_space = 0.5
colours = ["#0b6e4f"]
inks = ["#fff4e0"]
plate = "#0b6e4f"
forbidden_colours = ["#d0021b"]

["*"]
colours = ["#224466"]
"""


def test_what_the_file_says_is_what_the_brand_is(folder: Path) -> None:
    brands = load_brands(written(folder, KIT))
    ours = brands.of("Harbour")
    assert ours.display == (folder / "brand" / "Own.ttf").resolve()
    assert ours.text == TEXT_FONT
    assert len(ours.logos) == 2
    assert (ours.clear_space, ours.colours, ours.inks, ours.plate) == (0.5, (GREEN,), ((255, 244, 224),), GREEN)
    assert brands.of("Somebody else").colours == ((0x22, 0x44, 0x66),)
    assert brands.forbidden == {"Harbour": ("#d0021b",), "*": ()}


def test_without_the_file_everybody_is_plain_and_one_font_may_be_named_for_all(tmp_path: Path) -> None:
    assert load_brands(tmp_path).of("Harbour").display == DISPLAY_FONT
    other = write_box_font(tmp_path / "boxes.ttf", "abc")
    assert load_brands(tmp_path, font_path=other).of("Harbour").display == other
    with pytest.raises(SettingsError, match="not a usable font"):
        load_brands(tmp_path, font_path=Path(__file__))


def test_every_fault_is_told_at_once_with_its_place(folder: Path) -> None:
    (folder / "brand" / "broken.png").write_bytes(b"no picture")
    Image.fromarray(logo(GREEN, 100, 100)).save(folder / "brand" / "square.png")
    bad = """
["Harbour"]
colors = ["#0b6e4f"]
["Mill"]
colours = ["green"]
clear_space = 7
["Quay"]
logos = ["brand/broken.png", "brand/gone.png", "../elsewhere.png"]
text_font = "brand/dark.png"
["Pier"]
logos = ["brand/dark.png", "brand/square.png"]
["Dock"]
colours = ["#d0021b"]
forbidden_colours = ["#d1051e"]
["Harbor Cafe"]
["Lock"]
forbidden_colours = ["#ffffff", "#14161c"]
"""
    with pytest.raises(DataError) as caught:
        load_brands(written(folder, bad), advertisers=["Harbour Cafe", "Mill"])
    said = str(caught.value)
    for words in (
        FILE, '"Harbour".colors: unknown key, the nearest known one is colours', '"green" is not "#rrggbb"', '"Mill".clear_space',
        "broken.png: is not a PNG", "gone.png: it is missing", "../elsewhere.png is not in the folder brand/",
        '"Quay".text_font: brand/dark.png is not a usable font', '"Pier".logos: the variants are not of one shape',
        '"Dock".colours: #d0021b is a forbidden colour', '"Harbor Cafe": no concept is of this advertiser; "Harbour Cafe"',
        '"Lock".inks',
    ):  # fmt: skip
        assert words in said, words
    with pytest.raises(DataError, match="is not TOML"):
        load_brands(written(folder, "[Harbour"))
    with pytest.raises(DataError, match='"colours"'):
        load_brands(written(folder, 'colours = ["#0b6e4f"]'))


def collisions(report: TypesetReport) -> list[str]:
    width, height = report.size
    found = [
        name for name, box in report.boxes.items() if report.product_at is not None and box.overlaps(report.product_box)
    ]
    found += [name for name, box in report.boxes.items()
              if box.left < 0 or box.top < 0 or box.right > width or box.bottom > height]  # fmt: skip
    rest = [name for name in report.boxes if name != "label"]
    return found + [f"{a}+{b}" for a, b in combinations(rest, 2) if report.boxes[a].overlaps(report.boxes[b])]


@pytest.mark.parametrize("name", LAYOUTS)
@pytest.mark.parametrize("shape", [(60, 60), (240, 60), (600, 60)], ids=["square", "usual", "flat"])
def test_the_logo_stands_exact_in_its_clear_space_in_every_size(name: str, shape: tuple[int, int]) -> None:
    layout, ours = LAYOUTS[name], logo((255, 255, 255), *shape)
    brand = Brand(logos=(ours,), clear_space=0.4)
    size = None if min(layout.size) < 500 else layout.size[0] // 2
    image, report = typeset(plain(40), product(), COPY, layout, size, brand=brand)
    at, clear = report.logo_at, report.boxes["logo"]
    assert at is not None
    assert "wordmark" not in report.boxes, "in place of the name"
    assert collisions(report) == []
    high = at.bottom - at.top
    assert high >= 9
    assert min(at.left - clear.left, at.top - clear.top, clear.right - at.right, clear.bottom - at.bottom) >= 0.4 * high
    assert (at.right - at.left) / high == pytest.approx(shape[0] / shape[1], rel=0.12)
    shown = np.asarray(image)[at.top : at.bottom, at.left : at.right]
    sized = resize_rgba(ours, (at.right - at.left, high))
    opaque = sized[..., 3] == 255
    assert (shown[opaque] == sized[..., :3][opaque]).all()
    assert report.logo_contrast is not None
    assert report.logo_contrast >= LEAST_LOGO_CONTRAST


@settings(max_examples=12, deadline=None)
@given(
    name=st.sampled_from(sorted(LAYOUTS)), wide=st.integers(40, 700), clear=st.floats(0, 1),
    headline=st.text("abcdefgh ", min_size=1, max_size=30).filter(str.strip),
)  # fmt: skip
def test_nothing_comes_into_the_clear_space_of_any_logo(name: str, wide: int, clear: float, headline: str) -> None:
    brand = Brand(logos=(logo((255, 255, 255), wide),), clear_space=clear)
    copy = Copy(headline, "Roasted today.", "Go", "Harbour")
    layout = LAYOUTS[name]
    try:
        _, report = typeset(
            plain(40), product(), copy, layout, layout.size[0] // (3 if min(layout.size) > 500 else 1), brand=brand
        )
    except DataError as error:
        if "does not fit" not in str(error) and "pixels high" not in str(error):
            raise
        return
    assert collisions(report) == []


def test_of_a_logos_variants_the_one_that_stands_out_is_set_and_a_plate_is_the_last_resort() -> None:
    dark, light = logo((20, 30, 60)), logo((255, 255, 255))
    for level, wanted in ((20, light), (235, dark)):
        image, report = typeset(plain(level), None, COPY, SQUARE, 500, brand=Brand(logos=(dark, light)))
        at = report.logo_at
        assert at is not None
        assert tuple(np.asarray(image)[at.top + 2, at.left + 2]) == tuple(wanted[0, 0, :3])
    _, report = typeset(plain(30), None, COPY, SQUARE, 500, brand=Brand(logos=(dark,)))
    assert report.logo_contrast is not None
    assert report.logo_contrast >= LEAST_LOGO_CONTRAST, "on a light plate"


def test_contrast_is_repaired_by_colour_then_shade_then_plate() -> None:
    calm, restless = plain(30), noise()
    middling = np.clip(plain(30).astype(int) + np.linspace(0, 140, 64)[:, None, None].astype(int), 0, 255).astype(
        np.uint8
    )[::-1]
    kinds = []
    for scene in (calm, middling, restless):
        _, report = typeset(scene, None, COPY, SQUARE, 500)
        assert min(report.contrasts.values()) >= LEAST_CONTRAST
        kinds.append((report.shade > 0, report.plate is not None))
    assert kinds[0] == (False, False), "colour alone"
    assert kinds[1] == (True, False), "a shade"
    stripes = np.broadcast_to(np.where(np.arange(64) // 4 % 2, 255, 0)[:, None, None], (64, 64, 3)).astype(np.uint8)
    image, report = typeset(stripes, product(), COPY, SQUARE, 500, brand=Brand(plate=GREEN))
    assert report.plate is not None
    assert report.shade == 0
    assert min(report.contrasts.values()) >= LEAST_CONTRAST
    at = report.plate
    assert tuple(np.asarray(image)[at.top + 8, at.right - 4]) == GREEN
    assert not at.overlaps(report.product_box)
    assert not at.overlaps(report.boxes["button"])


def test_type_wears_only_the_inks_that_the_kit_names_where_they_are_legible() -> None:
    cream = (255, 244, 224)
    for level in (20, 120, 240):
        _, report = typeset(plain(level), None, COPY, SQUARE, 500, brand=Brand(inks=(cream,)))
        assert report.inks["headline"] == cream
        assert min(report.contrasts.values()) >= LEAST_CONTRAST


def test_forbidden_colours_are_on_nothing_that_we_set() -> None:
    brand = Brand(colours=(GREEN,), forbidden=(RED,))
    assert brand.button_colour(("#d0021b",), None, "c") == GREEN
    assert brand.button_colour(("#d1041d", "#223344"), None, "c") == (0x22, 0x33, 0x44)
    alone = Brand(forbidden=(RED,))
    reddish = np.full((40, 40, 4), (*RED, 255), np.uint8)
    assert is_apart(alone.button_colour((), reddish, "c"), (RED,))
    with pytest.raises(DataError, match="no colour is left"):
        Brand(forbidden=((38, 44, 58), (20, 22, 28), (255, 255, 255))).button_colour((), None, "concept c")


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 255), st.integers(0, 255), st.integers(0, 255)), min_size=1, max_size=3),
    st.integers(0, 255),
)  # fmt: skip
def test_whatever_the_inks_type_is_legible(inks: list[tuple[int, int, int]], level: int) -> None:
    _, report = typeset(
        plain(level), None, Copy("Brew slower", "", "Go", "A"), SQUARE, 200, brand=Brand(inks=tuple(inks))
    )
    assert min(report.contrasts.values()) >= LEAST_CONTRAST
    assert float(contrast_ratio(report.button_colour, report.inks["label"])) >= LEAST_CONTRAST
