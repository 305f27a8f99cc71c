"""Each reason of a rejection changes what it should in the next drawing, and nothing else."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
import pytest
from PIL import Image

from contracts.decisions import Reason
from generators.checking.gate import Gate
from generators.knobs import Knobs, knobs_for, product_lightness, turned, wish
from generators.layout import LAYOUTS, with_product
from generators.products import PixelBox
from generators.studio import Order, finish
from generators.taste.look import LOOK, picture_looks
from generators.typesetting.contrast import make_legible
from generators.typesetting.wording import Copy

SCALE = np.full(len(LOOK), 0.1, np.float32)


def order(**changes: object) -> Order:
    product = np.zeros((80, 60, 4), np.uint8)
    product[5:75, 5:55] = (20, 90, 160, 255)
    copy = Copy(headline="Run further", body="Light on every road.", call_to_action="See more", advertiser="Stride")
    known: dict[str, object] = {"name": "one", "concept_id": "shoe", "user": None, "concept": None, "product": product,
                                "copy": copy, "seed": 1}  # fmt: skip
    return Order(**{**known, **changes})  # type: ignore[arg-type]


def scenes(*colours: tuple[int, int, int]) -> np.ndarray:
    plain = np.array(colours, np.uint8)[:, None, None, :]
    texture = np.random.default_rng(0).integers(0, 12, (len(colours), 32, 32, 1), dtype=np.uint8)
    return np.broadcast_to(plain, (len(colours), 32, 32, 3)) + texture


def liked(knobs: Knobs, candidates: np.ndarray, rejected: tuple[int, int, int], **more: object) -> int:
    return int(wish(knobs, candidates, picture_looks(scenes(rejected))[0], scale=SCALE, **more).argmax())  # type: ignore[arg-type]


def test_every_reason_has_its_knob_and_no_two_but_other_none() -> None:
    plain = asdict(Knobs())
    changed = {reason: {k for k, v in asdict(knobs_for([reason])).items() if v != plain[k]} for reason in Reason}
    assert changed == {
        Reason.TOO_DARK: {"lightness"}, Reason.ILLEGIBLE: {"plate"}, Reason.OFF_BRAND: {"palette"},
        Reason.PRODUCT_HIDDEN: {"product_scale", "standout"}, Reason.UNSAFE: {"guidance", "apart"},
        Reason.LOOKS_FAKE: {"guidance", "steps"}, Reason.DUPLICATE: {"apart"}, Reason.WRONG_MESSAGE: {"headline"},
        Reason.OTHER: set(),
    }  # fmt: skip


def test_reasons_add_up_the_stronger_turn_wins_and_again_means_further() -> None:
    both = knobs_for([Reason.TOO_DARK, Reason.ILLEGIBLE, Reason.LOOKS_FAKE, Reason.UNSAFE])
    assert (both.lightness, both.plate, both.guidance, both.steps) == (1.0, 0.6, 0.0, 2)
    assert knobs_for([Reason.TOO_DARK], times=2).lightness == 2.0


def test_too_dark_is_answered_by_a_lighter_scene_but_not_by_the_lightest() -> None:
    candidates = scenes((20, 20, 20), (60, 60, 60), (240, 240, 240))
    assert liked(knobs_for([Reason.TOO_DARK]), candidates, (30, 30, 30)) == 1


def test_off_brand_is_answered_by_the_brands_hue() -> None:
    candidates = scenes((200, 60, 60), (60, 90, 200), (120, 120, 120))
    assert liked(knobs_for([Reason.OFF_BRAND]), candidates, (200, 60, 60), brand=("#3c5ac8",)) == 1


def test_a_duplicate_is_answered_by_what_is_far_from_it_and_from_its_siblings() -> None:
    candidates = scenes((100, 100, 100), (230, 230, 230), (20, 20, 20))
    siblings = picture_looks(scenes((225, 225, 225)))
    assert liked(knobs_for([Reason.DUPLICATE]), candidates, (105, 105, 105), avoid=siblings) == 2


def test_a_hidden_product_is_set_larger_on_a_scene_it_stands_out_from() -> None:
    knobs = knobs_for([Reason.PRODUCT_HIDDEN])
    light = product_lightness(order().product)
    assert light is not None
    candidates = scenes((80, 80, 80), (200, 200, 200))
    assert liked(knobs, candidates, (80, 80, 80), product_lightness=light) == 1
    scene = np.random.default_rng(1).integers(60, 200, (64, 64, 3), dtype=np.uint8)
    blue = [
        (np.abs(np.asarray(finish(one, scene, side=480, gate=Gate()).image, int) - (20, 90, 160)).sum(axis=2) < 6).sum()
        for one in (order(), turned(order(), knobs, ["Run further"], name="two", number=1))
    ]
    assert blue[1] > 1.15 * blue[0]
    assert (
        finish(turned(order(), knobs, ["Run further"], name="two", number=1), scene, side=480, gate=Gate()).checks == []
    )


@pytest.mark.parametrize("name", sorted(LAYOUTS))
def test_a_larger_product_keeps_off_copy_button_and_margins(name: str) -> None:
    layout = LAYOUTS[name]
    box = with_product(layout, 1.5).product
    assert box.width * box.height > layout.product.width * layout.product.height
    assert box.right <= 1
    assert box.bottom <= 1
    assert box.left == layout.product.left
    assert with_product(layout, 1.0) is layout


def test_an_illegible_headline_gets_a_plate_and_contrast_never_falls() -> None:
    picture = np.full((120, 120, 3), 110, np.float32)
    boxes = {"headline": PixelBox(10, 10, 110, 40)}
    plain, plated = make_legible(picture, boxes), make_legible(picture, boxes, least_shade=0.6)
    assert plated.strength >= 0.6
    assert plated.contrasts["headline"] >= plain.contrasts["headline"]
    again = turned(order(), knobs_for([Reason.ILLEGIBLE]), ["Run further"], name="two", number=1)
    scene = np.full((64, 64, 3), 110, np.uint8) + np.random.default_rng(0).integers(0, 9, (64, 64, 1), dtype=np.uint8)
    before, after = (finish(one, scene, side=480, gate=Gate()).image.crop((0, 0, 480, 180)) for one in (order(), again))
    assert np.asarray(after.convert("L")).std() > np.asarray(before.convert("L")).std()


def test_a_wrong_message_gets_the_next_headline_and_the_last_is_followed_by_the_first() -> None:
    headlines = ["Run further", "Feel light"]
    once = turned(order(), knobs_for([Reason.WRONG_MESSAGE]), headlines, name="two", number=1)
    twice = turned(order(), knobs_for([Reason.WRONG_MESSAGE], times=2), headlines, name="three", number=2)
    assert (once.copy.headline, twice.copy.headline) == ("Feel light", "Run further")


def test_every_attempt_has_a_seed_of_its_own_and_the_same_one_each_time() -> None:
    first, again, second = (turned(order(), Knobs(), ["x"], name="n", number=n) for n in (1, 1, 2))
    assert first.seed == again.seed
    assert len({order().seed, first.seed, second.seed}) == 3
    assert isinstance(finish(first, np.zeros((64, 64, 3), np.uint8) + 90, side=480, gate=Gate()).image, Image.Image)
