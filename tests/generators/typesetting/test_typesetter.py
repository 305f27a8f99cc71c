"""Whatever the copy, the product and the scene: the ad is whole, in place, and the same again."""

from __future__ import annotations

import hashlib
from itertools import combinations, pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.errors import DataError, SettingsError
from generators.layout import DEFAULT_BOX, LAYOUTS, SQUARE
from generators.products import fit_product, place_product, product_mask
from generators.typesetting.backdrop import cover_crop, enlarge, horizon, prepare
from generators.typesetting.brand import Brand
from generators.typesetting.contrast import LEAST_CONTRAST, contrast_ratio
from generators.typesetting.filling import clear_product
from generators.typesetting.line_breaking import fit_text
from generators.typesetting.typeface import DISPLAY_FONT, FONTS, TEXT_FONT, clean_text, load_typeface
from generators.typesetting.typesetter import TypesetReport, typeset
from generators.typesetting.wording import Copy

COPY = Copy(
    headline="Slow mornings, brewed properly",
    body="Small-batch beans, roasted the day we ship them.",
    call_to_action="Taste it first",
    advertiser="Harbour Roasters",
    colours=("#0b6e4f",),
)


def _product(wide: int = 120, high: int = 150) -> np.ndarray:
    x, y = np.meshgrid(np.linspace(-1, 1, wide), np.linspace(-1, 1, high))
    alpha = np.clip((1 - np.maximum(np.abs(x) ** 4 + np.abs(y) ** 4, 0)) * 20, 0, 1)
    return np.dstack([200 + 50 * x, 90 + 40 * y, 60 + 0 * x, 255 * alpha]).astype(np.uint8)


def _scene(side: int = 64, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    top, bottom = rng.integers(30, 226, (2, 3))
    share = np.linspace(0, 1, side)[:, None, None] ** 1.5
    return np.broadcast_to(top * (1 - share) + bottom * share, (side, side, 3)).astype(np.uint8)


def _noise(side: int = 64) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (side, side, 3), dtype=np.uint8)


def _collisions(report: TypesetReport) -> list[str]:
    width, height = report.size
    found = [name for name, box in report.boxes.items() if box.overlaps(report.product_box)]
    found += [name for name, box in report.boxes.items()
              if box.left < 0 or box.top < 0 or box.right > width or box.bottom > height]  # fmt: skip
    rest = [name for name in report.boxes if name != "label"]
    return found + [f"{a}+{b}" for a, b in combinations(rest, 2) if report.boxes[a].overlaps(report.boxes[b])]


def test_the_formats_are_those_that_are_sold() -> None:
    assert {name: layout.size for name, layout in LAYOUTS.items()} == {
        "300x250": (300, 250), "336x280": (336, 280), "728x90": (728, 90), "160x600": (160, 600), "300x600": (300, 600),
        "970x250": (970, 250), "320x50": (320, 50), "1:1": (1080, 1080), "4:5": (1080, 1350), "9:16": (1080, 1920),
        "1.91:1": (1200, 628),
    }  # fmt: skip


@pytest.mark.parametrize("name", LAYOUTS)
def test_every_format_is_set_without_a_collision(name: str) -> None:
    layout = LAYOUTS[name]
    image, report = typeset(_scene(), _product(), COPY, layout)
    assert image.mode == "RGB"
    assert image.size == report.size == layout.size
    assert set(report.boxes) >= {"wordmark", "headline", "label", "button"}
    if name in ("728x90", "320x50"):
        assert "body" not in report.boxes, "there is no room for it"
    elif not layout.scale.body_may_go:
        assert "body" in report.boxes
    assert _collisions(report) == []
    rest = [report.boxes[one] for one in ("wordmark", "headline", "body") if one in report.boxes]
    assert all(upper.bottom <= lower.top for upper, lower in pairwise(rest)), "they follow downwards"
    assert min(report.contrasts.values()) >= LEAST_CONTRAST
    assert min(report.type_sizes.values()) >= 9
    assert report.type_sizes["headline"] > 1.4 * report.type_sizes.get("body", report.type_sizes["wordmark"])


_WORDS = st.one_of(
    st.text("abcdefghij ", min_size=1, max_size=40),
    st.lists(st.sampled_from(["Rindfleischetikettierungsueberwachung", "Donaudampfschifffahrtsgesellschaft", "a", "Ruhe",
                              "Wetterschutz", "und", "W", "illi", "unterwegs"]), min_size=1, max_size=6).map(" ".join),
)  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(name=st.sampled_from(sorted(LAYOUTS)), headline=_WORDS, body=st.one_of(st.just(""), _WORDS), call=_WORDS)
def test_whatever_the_words_they_are_in_place_or_refused_by_name(
    name: str, headline: str, body: str, call: str
) -> None:
    layout, unit = LAYOUTS[name], min(LAYOUTS[name].size)
    size = None if unit < 500 else layout.size[0] // 3
    copy = Copy(headline, body, call, "Harbour Roasters", ("#0b6e4f",))
    try:
        _, report = typeset(_scene(32), _product(), copy, layout, size)
    except DataError as error:
        if "does not fit" not in str(error) and "blank" not in str(error):
            raise
        return
    assert _collisions(report) == []
    assert min(report.contrasts.values()) >= LEAST_CONTRAST
    label, button = report.boxes.get("label"), report.boxes.get("button")
    if label is not None and button is not None:
        assert button.left <= label.left
        assert label.right <= button.right


@settings(max_examples=12, deadline=None)
@given(st.sampled_from(sorted(LAYOUTS)), st.integers(40, 300), st.integers(40, 300))
def test_the_product_is_exact_at_every_size(name: str, wide: int, high: int) -> None:
    product, layout, copy = _product(wide, high), LAYOUTS[name], Copy("Brew", "", "Go", "Roast", ("#ffffff",))
    image, report = typeset(_scene(seed=wide), product, copy, layout)
    resized, at = fit_product(product, layout.product, image.size)
    assert report.product_at == at
    opaque = resized[..., 3] == 255
    assert (np.asarray(image)[at.top : at.bottom, at.left : at.right][opaque] == resized[..., :3][opaque]).all()


def test_a_body_that_would_crowd_a_small_format_is_left_out_and_in_a_large_one_refused() -> None:
    crowded = Copy("A small home, anywhere you go", "many words " * 12, "Go", "A")
    _, report = typeset(_scene(), _product(), crowded, LAYOUTS["300x250"])
    assert "body" not in report.boxes
    with pytest.raises(DataError, match=r"body.*does not fit"):
        typeset(_scene(), _product(), Copy("Fine", "many words " * 60, "Go", "A"), LAYOUTS["4:5"], 500)


@pytest.mark.parametrize("name", LAYOUTS)
def test_the_surface_begins_behind_the_product(name: str) -> None:
    scene = np.zeros((64, 64, 3), dtype=np.uint8)
    scene[:41], scene[41:] = (200, 180, 160), (60, 50, 40)
    box = LAYOUTS[name].product
    picture = cover_crop(prepare(scene), LAYOUTS[name].size, box)
    foot = min(round(box.bottom * picture.shape[0]), picture.shape[0] - 1)
    assert picture[foot].mean() < 90, "it stands on the surface"
    assert picture[round((box.top + 0.1 * box.height) * picture.shape[0])].mean() > 150, "and has the wall behind it"


def test_a_horizon_is_found_where_there_is_one() -> None:
    scene = np.zeros((64, 64, 3), dtype=np.uint8)
    scene[:41], scene[41:] = (200, 180, 160), (60, 50, 40)
    found = horizon(scene)
    assert found is not None
    assert abs(found - 41 / 64) < 0.04
    assert horizon(_noise()) is None
    assert horizon(np.full((64, 64, 3), 90, np.uint8)) is None


def test_stripes_go_on_where_the_product_was() -> None:
    columns = np.arange(64)[None, :] + np.arange(64)[:, None]
    scene = np.where((columns // 8 % 2)[..., None], (200, 90, 40), (40, 60, 120)).astype(np.uint8)
    painted = place_product(scene, _product(), DEFAULT_BOX)
    mask = product_mask(_product(), DEFAULT_BOX, 64)
    cleared = clear_product(painted, mask)
    hole = mask > 0.5
    plain = np.abs(scene[hole].astype(int) - scene[~hole].mean(axis=0)).mean()
    assert np.abs(cleared[hole].astype(int) - scene[hole]).mean() < 0.35 * plain, "far nearer than a smear of the mean"


@pytest.mark.parametrize("kind", ["white", "black", "noise", "stripes"])
def test_type_is_legible_on_the_worst_of_scenes(kind: str) -> None:
    stripes = np.where(np.arange(64) // 4 % 2, 255, 0)[:, None, None]
    scenes = {
        "white": np.full((64, 64, 3), 255, np.uint8), "black": np.zeros((64, 64, 3), np.uint8), "noise": _noise(),
        "stripes": np.broadcast_to(stripes, (64, 64, 3)).astype(np.uint8),
    }  # fmt: skip
    _, report = typeset(scenes[kind], _product(), COPY, SQUARE, 400)
    assert set(report.contrasts) == {"wordmark", "headline", "body", "label"}
    assert min(report.contrasts.values()) >= LEAST_CONTRAST
    assert (report.shade > 0 or report.plate is not None) == (kind in ("noise", "stripes"))


def test_the_same_arguments_give_the_same_bytes_and_the_seed_moves_only_the_grain() -> None:
    product = _product()
    arguments = (_scene(), product, COPY, SQUARE, 360)
    digests = [hashlib.sha256(typeset(*arguments, seed=seed)[0].tobytes()).hexdigest() for seed in (1, 1, 2)]
    assert digests[0] == digests[1]
    assert digests[0] != digests[2]
    first, second = (np.asarray(typeset(*arguments, seed=seed)[0]).astype(int) for seed in (1, 2))
    assert np.abs(first - second).max() < 16


def test_long_copy_is_set_smaller_and_too_long_copy_is_refused_by_name() -> None:
    short, long = "Brew slower", "Brew it slower, drink it warmer, share it with whoever is up this early"
    sizes = [typeset(_scene(), None, Copy(text, "", "Go", "A"), SQUARE, 500)[1] for text in (short, long)]
    assert sizes[0].type_sizes["headline"] > 1.1 * sizes[1].type_sizes["headline"]
    assert sum(line.name == "headline" for line in sizes[1].lines) in (2, 3)
    faults = {
        "headline": Copy("word " * 60, "", "Go", "A"),
        "body": Copy("Fine", "many words " * 60, "Go", "A"),
        "call to action": Copy("Fine", "", "Click here to see all of what we have got in store", "A"),
        "advertiser": Copy("Fine", "", "Go", "The Very Long Incorporated Name " * 8),
    }
    for name, copy in faults.items():
        with pytest.raises(DataError, match=f"{name}.*does not fit"):
            typeset(_scene(), None, copy, SQUARE, 500, where="concept c7")


def test_an_unbreakable_word_is_shrunk_to_fit() -> None:
    _, report = typeset(_scene(), None, Copy("Donaudampfschifffahrtsgesellschaft", "", "Los", "A"), SQUARE, 500)
    assert report.boxes["headline"].right <= 0.94 * 500


def test_characters_that_the_font_lacks_are_named_with_the_way_out() -> None:
    with pytest.raises(DataError, match=r"个 \(U\+4E2A\)") as caught:
        typeset(_scene(), None, Copy("个性化 coffee", "", "Go", "A"), SQUARE, 300, where="concept c3")
    assert "headline" in str(caught.value)
    assert "concept c3" in str(caught.value)
    assert "font_path" in caught.value.fix


def test_where_nothing_can_shape_a_script_that_needs_it_is_refused_and_not_garbled(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    matplotlib = pytest.importorskip("matplotlib")
    dejavu = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
    monkeypatch.setattr("generators.typesetting.typeface.features.check", lambda _: False)
    with pytest.raises(DataError, match=r"Arabic.*FriBiDi.*libfribidi0"):
        typeset(_scene(), None, Copy("قهوة", "", "Go", "A"), SQUARE, 300, brand=Brand.in_font(dejavu))


def test_another_font_can_be_named() -> None:
    matplotlib = pytest.importorskip("matplotlib")
    dejavu = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans-Bold.ttf"
    own, other = (typeset(_scene(), None, COPY, SQUARE, 300, brand=Brand.in_font(path))[0] for path in (None, dejavu))
    assert own.tobytes() != other.tobytes()
    with pytest.raises(SettingsError, match="not a usable font"):
        typeset(_scene(), None, COPY, SQUARE, 300, brand=Brand.in_font(Path(__file__)))


def test_the_shipped_fonts_cover_european_languages_and_are_small() -> None:
    needed = "ÀÉÎÕÜßøåčďěřůźżłğışțΑΩαωЖщё€£¥₹–—…’“”«»→✓★%&@#°×½"
    for path in (DISPLAY_FONT, TEXT_FONT):
        assert not [character for character in needed if ord(character) not in load_typeface(path).glyphs]
    assert sum(path.stat().st_size for path in FONTS.iterdir()) < 400_000
    assert "SIL OPEN FONT LICENSE" in (FONTS / "OFL.txt").read_text(encoding="utf-8").upper()


def test_kerning_draws_awkward_pairs_together() -> None:
    face = load_typeface(DISPLAY_FONT)
    for pair in ("AV", "To", "Ty"):
        assert face.width(pair) < sum(face.width(letter) for letter in pair)


def test_lines_are_balanced_as_well_as_any_break_can_be() -> None:
    face = load_typeface(DISPLAY_FONT)
    words = ["Your", "fastest", "mile", "is", "still", "ahead", "of", "you"]
    fitted = fit_text(
        face, " ".join(words), width=1e9, height=60, most_lines=3, largest=1e9, smallest=1, leading=1.0
    )  # fmt: skip
    assert fitted is not None
    count = len(fitted.lines)
    wide = 9 * fitted.size
    narrow = fit_text(
        face, " ".join(words), width=wide, height=1e9, most_lines=3, largest=1e9, smallest=1, leading=1.0
    )  # fmt: skip
    assert narrow is not None
    assert len(narrow.lines) == 3
    best = min(
        max(face.width(" ".join(part)) for part in (words[:a], words[a:b], words[b:]))
        for a in range(1, len(words) - 1)
        for b in range(a + 1, len(words))
    )
    assert max(face.width(line) for line in narrow.lines) == pytest.approx(best)
    assert " ".join(narrow.lines) == " ".join(words)
    assert count == 1


def test_odd_white_space_and_control_characters_are_cleaned() -> None:
    assert clean_text("  Cafe\u0301 \t at\u200b\n noon\x00 ") == "Café at noon"


def test_missing_pieces_are_left_out_and_a_blank_headline_is_refused() -> None:
    _, report = typeset(_scene(), None, Copy("Only this", "", " ", ""), SQUARE, 300)
    assert set(report.boxes) == {"headline"}
    assert report.product_at is None
    with pytest.raises(DataError, match="blank"):
        typeset(_scene(), None, Copy(" \n", "", "Go", "A"), SQUARE, 300)


def test_the_button_wears_the_brand_or_else_the_product() -> None:
    plain = Brand()
    assert plain.button_colour(("#123456", "#ffffff"), _product(), "c") == (0x12, 0x34, 0x56)
    red, green, blue = plain.button_colour((), _product(), "c")
    assert red > green
    assert red > blue
    assert float(contrast_ratio((red, green, blue), (255, 255, 255))) >= LEAST_CONTRAST
    grey = np.full((40, 40, 4), (128, 128, 128, 255), dtype=np.uint8)
    assert plain.button_colour((), grey, "c") == plain.button_colour((), None, "c")
    with pytest.raises(DataError, match="#rrggbb"):
        plain.button_colour(("teal",), None, "concept c1")


def test_the_low_resolution_product_does_not_peep_out_around_the_sharp_one() -> None:
    product = np.full((100, 100, 4), (255, 0, 0, 255), dtype=np.uint8)
    scene = place_product(np.full((64, 64, 3), (40, 90, 160), dtype=np.uint8), product, DEFAULT_BOX)
    cleared = clear_product(scene, product_mask(product, DEFAULT_BOX, 64))
    assert (cleared == (40, 90, 160)).all()
    assert (scene[40, 45] == (255, 0, 0)).all(), "the scene given is not changed"


def test_a_horizon_goes_on_behind_the_product() -> None:
    scene = np.zeros((64, 64, 3), dtype=np.uint8)
    scene[:40], scene[40:] = (200, 180, 160), (60, 50, 40)
    cleared = clear_product(scene, product_mask(_product(), DEFAULT_BOX, 64)).astype(int)
    assert np.abs(cleared[34] - (200, 180, 160)).max() < 25
    assert np.abs(cleared[46] - (60, 50, 40)).max() < 25


def test_enlarging_shows_no_blocks_and_keeps_the_light() -> None:
    scene = _noise(32)
    large = enlarge(scene)
    side = large.shape[2]
    assert large.shape == (3, side, side)
    assert side >= 512
    assert np.abs(large.mean(axis=(1, 2)) - scene.mean(axis=(0, 1))).max() < 4
    flat = np.full((32, 32, 3), 77, dtype=np.uint8)
    assert np.abs(enlarge(flat) - 77).max() < 0.01
    steps = np.abs(np.diff(large, axis=2)).mean(axis=(0, 1))
    at_edges = steps[np.arange(1, 32) * side // 32 - 1].mean()
    assert at_edges < 1.5 * steps.mean(), "no steps where two scene pixels meet"
