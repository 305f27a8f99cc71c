"""The gate finds repeats, wrong colours and misread headlines, names them, and says what it did not look at."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from contracts.seeds import stream
from contracts.settings import CheckSettings
from generators.checking.findings import CHECKS, Finding, failed
from generators.checking.gate import Gate
from generators.checking.legibility import Reader, misread
from generators.checking.likeness import Album, colours_around, colours_of, distances
from generators.colour import difference, srgb_to_lab
from generators.layout import DEFAULT_BOX, SQUARE
from generators.typesetting.typesetter import TypesetReport, typeset
from generators.typesetting.wording import Copy

COPY = Copy("Slow mornings, brewed properly", "Roasted the day we ship.", "Taste it first", "Harbour", ("#0b6e4f",))


def scene(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    coarse = rng.integers(20, 236, (4, 4, 3)).astype(np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((64, 64), Image.Resampling.BICUBIC))


@pytest.fixture(scope="module")
def creative() -> tuple[Image.Image, TypesetReport]:
    return typeset(scene(0), None, COPY, SQUARE, 480)


def found(
    gate: Gate, image: Image.Image, report: TypesetReport, copy: Copy = COPY, cohort: int = 0
) -> dict[str, Finding]:
    findings = gate.examine(image, None, copy, report, SQUARE, cohort=cohort)
    assert [finding.check for finding in findings] == list(CHECKS)
    return {finding.check: finding for finding in findings}


def test_a_sound_creative_passes_and_what_was_not_looked_at_says_why(
    creative: tuple[Image.Image, TypesetReport],
) -> None:
    findings = found(Gate(), *creative)
    assert failed(list(findings.values())) == []
    assert findings["text_illegible"].passed is None
    assert "turned off" in findings["text_illegible"].reason
    wanted = Gate(CheckSettings(read_headline=True, unsafe=True))
    assert "adloom[ocr]" in found(wanted, *creative)["text_illegible"].reason
    assert len(wanted.missing()) == 2
    assert Gate().missing() == []


def test_a_copy_is_caught_and_another_scene_is_not(creative: tuple[Image.Image, TypesetReport]) -> None:
    image, report = creative
    gate = Gate()
    gate.remember("mug-1", 3, image)
    again, _ = typeset(scene(0), None, COPY, SQUARE, 480, seed=9)
    same, other = (found(gate, again, report, cohort=cohort)["near_duplicate"] for cohort in (3, 4))
    assert same.passed is False
    assert "mug-1, for the same people" in same.reason
    assert other.passed is False
    assert other.reason.endswith("from mug-1")
    for seed in (1, 2, 3, 4):
        fresh, fresh_report = typeset(scene(seed), None, COPY, SQUARE, 480)
        assert found(gate, fresh, fresh_report)["near_duplicate"].passed


def test_likeness_outlives_resizing_and_compression_but_not_a_change_of_colour(
    creative: tuple[Image.Image, TypesetReport],
) -> None:
    image, _ = creative
    album = Album()
    album.add("one", 0, colours_of(image))
    limit = CheckSettings().run_repeat
    jpeg = io.BytesIO()
    image.save(jpeg, "jpeg", quality=75)

    def apart(other: Image.Image) -> float:
        twin = album.nearest(colours_of(other))
        assert twin is not None
        return twin.distance

    assert apart(Image.open(jpeg)) < limit
    assert apart(image.resize((256, 256))) < limit
    light, blue, red = image.convert("YCbCr").split()
    tinted = Image.merge("YCbCr", (light, blue.point(lambda v: v * 0.7), red.point(lambda v: min(255, v * 1.2))))
    assert apart(tinted.convert("RGB")) > limit
    assert apart(image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)) > limit


def test_two_strong_reds_are_two_pictures() -> None:
    album = Album()
    album.add("crimson", 0, colours_of(Image.new("RGB", (64, 64), (190, 15, 45))))
    twin = album.nearest(colours_of(Image.new("RGB", (64, 64), (235, 40, 30))))
    assert twin is not None
    assert twin.distance > 3 * CheckSettings().run_repeat


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 9), st.integers(-1, 3)), max_size=80), st.integers(0, 9))
def test_the_album_names_what_a_plain_search_names(pictures: list[tuple[int, int]], wanted: int) -> None:
    looks = stream(3, "looks").uniform(0, 100, (10, 64, 3)).astype(np.float32)
    album = Album()
    for number, (known, cohort) in enumerate(pictures):
        album.add(str(number), cohort, looks[known])
    apart = distances(looks)[wanted]
    for cohort in (None, -1, 2):
        there = [(apart[known], n) for n, (known, c) in enumerate(pictures) if cohort in (None, c)]
        twin = album.nearest(looks[wanted], cohort)
        assert (twin is None) == (not there)
        if twin is not None:
            least, first = min(there)
            assert int(twin.name) == first
            assert twin.distance == pytest.approx(least, abs=1e-3)


def test_a_button_in_another_colour_and_a_forbidden_colour_are_caught(
    creative: tuple[Image.Image, TypesetReport],
) -> None:
    image, report = creative
    assert found(Gate(), image, report)["off_brand"].value < 1
    other = Copy(COPY.headline, COPY.body, COPY.call_to_action, COPY.advertiser, ("#0b4f6e",))
    assert found(Gate(), image, report, other)["off_brand"].passed is False
    rival = Gate(CheckSettings(forbidden_colours={"Harbour": ("#e61e2b",)}))
    assert found(rival, image, report)["forbidden_colour"].passed
    pixels = np.array(image)
    pixels[200:260, 100:300] = (230, 30, 43)
    spoilt = found(rival, Image.fromarray(pixels), report)["forbidden_colour"]
    assert spoilt.passed is False
    assert spoilt.value == pytest.approx(60 * 200 / 480**2, rel=0.05)
    assert "#e61e2b" in spoilt.reason


def test_lab_agrees_with_published_values() -> None:
    """sRGB primaries under D65, as in Bruce Lindbloom's calculator; black to white is 100."""
    colours = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255]], np.uint8)
    expected = [[53.24, 80.09, 67.20], [87.73, -86.18, 83.18], [32.30, 79.19, -107.86], [100, 0, 0]]
    assert np.abs(srgb_to_lab(colours) - expected).max() < 0.06
    assert float(difference(srgb_to_lab(colours[3]), srgb_to_lab(np.zeros(3, np.uint8)))) == pytest.approx(100)


def test_distance_is_nothing_between_equals_and_a_hundred_from_black_to_white() -> None:
    black, white = (colours_of(Image.new("RGB", (32, 32), colour)) for colour in ("black", "white"))
    assert np.abs(distances(np.stack([black, black, white])) - [[0, 0, 100], [0, 0, 100], [100, 100, 0]]).max() < 1e-3


def test_variety_is_of_the_scenes_and_not_of_what_is_advertised_in_them() -> None:
    """Four products on one scene are no variety, though their pictures look different; four scenes are."""

    def with_product(seed: int, lightness: int) -> np.ndarray:
        framed = scene(seed).repeat(2, axis=0).repeat(2, axis=1).copy()
        box = DEFAULT_BOX.pixels((128, 128))
        framed[box.top : box.bottom, box.left : box.right] = lightness
        return framed

    same = [with_product(1, lightness) for lightness in (10, 90, 170, 250)]
    scenes = [with_product(seed, 128) for seed in (1, 2, 3, 4)]
    limit = CheckSettings().audience_distance

    def apart(looks: list[np.ndarray]) -> float:
        return float(distances(np.stack(looks))[np.triu_indices(4, k=1)].mean())

    assert apart([colours_of(Image.fromarray(one)) for one in same]) > limit
    assert apart([colours_around(one) for one in same]) == 0
    assert apart([colours_around(one) for one in scenes]) > limit


def plain_edits(one: str, other: str) -> int:
    if not one or not other:
        return len(one) + len(other)
    changed = plain_edits(one[1:], other[1:]) + (one[0] != other[0])
    return min(changed, plain_edits(one[1:], other) + 1, plain_edits(one, other[1:]) + 1)


@given(st.text("abc", max_size=5), st.text("abc", max_size=5))
def test_misreading_is_the_normalised_edit_distance(one: str, other: str) -> None:
    longer = max(len(one), len(other))
    assert misread(one, other) == (plain_edits(one, other) / longer if longer else 0)


def test_case_accents_and_punctuation_are_no_misreading() -> None:
    assert misread("Café: slow mornings!", "CAFE slow-mornings") == 0


def test_a_reader_reads_what_was_set_and_misses_what_was_wiped_out(creative: tuple[Image.Image, TypesetReport]) -> None:
    reader = Reader.load()
    if reader is None:
        pytest.skip("adloom[ocr] is not installed")
    image, report = creative
    gate = Gate(CheckSettings(read_headline=True), reader=reader)
    assert found(gate, image, report)["text_illegible"].passed
    pixels = np.array(image)
    box = next(line.box for line in report.lines if line.name == "headline")
    pixels[box.top : box.bottom, (box.left + box.right) // 2 : box.right] = 0
    spoilt = found(gate, Image.fromarray(pixels), report)["text_illegible"]
    assert spoilt.passed is False
    assert "is read as" in spoilt.reason
    hebrew = Copy("שלום", COPY.body, COPY.call_to_action, COPY.advertiser, COPY.colours)
    assert "Hebrew" in found(gate, image, report, hebrew)["text_illegible"].reason
