"""Every size of a creative comes from one scene, is checked, and fits what ad platforms take."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

import generators.typesetting.backdrop
from contracts.settings import CheckSettings
from generators.checking.gate import Gate
from generators.layout import LAYOUTS
from generators.products import fit_product
from generators.renditions import MOST_BYTES, SPARE_BYTES, Rendition, encode, renditions_of
from generators.studio import Finished, Order, finish
from generators.typesetting.wording import Copy


@pytest.fixture(scope="module")
def finished() -> Finished:
    product = np.zeros((80, 60, 4), np.uint8)
    product[5:75, 5:55] = (20, 90, 160, 255)
    copy = Copy("Run further", "Light on every road.", "See more", "Stride", ("#0b6e4f",))
    ramp = np.broadcast_to(np.linspace(40, 200, 64)[:, None, None], (64, 64, 3)).astype(np.uint8)
    return finish(Order("one", "shoes", None, None, product, copy, 7), ramp, side=480, gate=Gate())


def test_every_size_is_made_with_the_product_exact_and_in_a_file_that_platforms_take(finished: Finished) -> None:
    made = {one.layout: one for one in renditions_of(finished, LAYOUTS, Gate())}
    assert list(made) == list(LAYOUTS)
    product = finished.order.product
    assert product is not None
    for name, one in made.items():
        assert one.reason == ""
        assert one.image is not None
        assert one.image.size == LAYOUTS[name].size
        read = Image.open(io.BytesIO(one.content))
        assert read.size == one.image.size
        if max(read.size) < 1000:
            assert len(one.content) <= MOST_BYTES - SPARE_BYTES
        if one.suffix == ".png":
            assert read.tobytes() == one.image.tobytes(), "not a pixel is lost"
        resized, at = fit_product(product, LAYOUTS[name].product, one.image.size)
        opaque = resized[..., 3] == 255
        shown = np.asarray(one.image)[at.top : at.bottom, at.left : at.right]
        assert (shown[opaque] == resized[..., :3][opaque]).all()
    assert [made[name].suffix for name in ("300x250", "728x90", "320x50", "1:1")] == [".png"] * 4


def test_the_scene_is_filled_once_for_all_sizes(finished: Finished, monkeypatch: pytest.MonkeyPatch) -> None:
    def again(*_: object) -> None:
        raise AssertionError("filled again")

    monkeypatch.setattr(generators.typesetting.backdrop, "clear_product", again)
    monkeypatch.setattr(generators.typesetting.backdrop, "enlarge", again)
    assert len([one for one in renditions_of(finished, ("300x250", "9:16"), Gate()) if one.image]) == 2


def test_a_size_without_room_for_the_words_is_left_out_with_its_reason_and_the_others_are_made(
    finished: Finished,
) -> None:
    words = Copy(
        "A headline that has far too much to say for any small strip at the foot of a telephone, and says it all",
        "",
        "See what is new",
        "Stride",
    )
    crowded = replace(finished, order=replace(finished.order, copy=words))
    strip, square = renditions_of(crowded, ("320x50", "1:1"), Gate())
    assert strip.image is None
    assert "does not fit" in strip.reason
    assert square.image is not None


def test_a_size_that_fails_a_check_is_left_out_with_its_reason(finished: Finished) -> None:
    flat = replace(finished.backdrop, fine=np.full_like(finished.backdrop.fine, 90))
    (one,) = renditions_of(replace(finished, backdrop=flat), ("300x250",), Gate())
    assert one.image is None
    assert "blank_or_flat" in one.reason


def test_a_display_ad_that_no_lossless_file_holds_is_the_best_jpeg_that_fits() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (250, 970, 3), dtype=np.uint8)
    soft = np.asarray(Image.fromarray(noise).resize((97, 25)).resize((970, 250)))
    restless = Image.fromarray((soft * 0.9 + noise * 0.1).astype(np.uint8))
    content, suffix = encode(restless)
    assert suffix == ".jpg"
    assert 0.85 * (MOST_BYTES - SPARE_BYTES) < len(content) <= MOST_BYTES - SPARE_BYTES
    assert encode(Image.new("RGB", (300, 250)))[1] == ".png"


def test_a_size_that_shows_too_much_of_a_forbidden_colour_is_left_out_and_one_that_shows_less_is_made(
    finished: Finished,
) -> None:
    fine = finished.backdrop.fine.copy()
    fine[:, 200:300] = np.array([230, 30, 43], np.float32)[:, None, None]
    banded = replace(finished, backdrop=replace(finished.backdrop, fine=fine))
    free = list(renditions_of(banded, LAYOUTS, Gate()))
    assert all(one.reason == "" for one in free)

    def red(one: Rendition) -> float:
        assert one.image is not None
        return float((np.abs(np.asarray(one.image, np.int64) - (230, 30, 43)).max(axis=-1) < 12).mean())

    most, least = max(free, key=red), min(free, key=red)
    limit = (red(most) + red(least)) / 2
    strict = Gate(CheckSettings(forbidden_colours={"Stride": ("#e61e2b",)}, forbidden_share=limit))
    refused, made = renditions_of(banded, (most.layout, least.layout), strict)
    assert "forbidden_colour: #e61e2b" in refused.reason
    assert made.reason == ""
