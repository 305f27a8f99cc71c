"""Orders become finished creatives: alone or in company, the same; repeats are seen; the scorer has its say."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np
import numpy.typing as npt
import pytest

from generators.checking.gate import Gate
from generators.painting.latent_painter import LatentPainter
from generators.painting.sampling import draw
from generators.painting.weights import Generator
from generators.studio import Finished, Order, make
from generators.typesetting.wording import Copy

D = 5


@pytest.fixture(scope="module")
def painter(tiny_generator: Callable[..., Generator]) -> LatentPainter:
    return LatentPainter(tiny_generator(), None, partial(draw, steps=2), guidance=2.0)


def order(name: str = "one", concept_id: str = "shoes", seed: int = 1) -> Order:
    rng = np.random.default_rng(0)
    product = np.zeros((80, 60, 4), np.uint8)
    product[5:75, 5:55] = (20, 90, 160, 255)
    user, concept = rng.normal(size=(2, D)).astype(np.float32)
    copy = Copy(headline="Run further", body="Light on every road.", call_to_action="See more", advertiser="Stride")
    return Order(name, concept_id, user, concept, product, copy, seed)


def drawn(painter: LatentPainter, orders: list[Order], **changes: object) -> list[Finished]:
    arguments = {"side": 480, "redraws": 0, **changes}
    return make(painter, orders, **arguments)  # type: ignore[arg-type]


def test_a_creative_does_not_depend_on_the_company_it_is_made_in(painter: LatentPainter) -> None:
    """But for the last bits of float sums, which some processors add in another order for another number of rows."""
    first, second = order("first", seed=1), order("second", "boots", seed=2)
    together = drawn(painter, [first, second])
    for one, alone in zip(together, (first, second), strict=True):
        apart = np.abs(np.asarray(one.image, int) - np.asarray(drawn(painter, [alone])[0].image, int))
        assert apart.max() <= 2
    assert np.abs(np.asarray(together[0].image, int) - np.asarray(together[1].image, int)).max() > 5


def test_no_picture_of_a_run_repeats_another_and_the_twin_is_named(painter: LatentPainter) -> None:
    first, again, elsewhere = order("first"), order("again"), order("elsewhere", "boots")
    done = drawn(painter, [first, again, elsewhere])
    assert "near_duplicate" not in done[0].checks
    for repeat in done[1:]:
        found = next(finding for finding in repeat.findings if finding.check == "near_duplicate")
        assert found.passed is False
        assert "from first" in found.reason


def test_what_an_earlier_batch_drew_is_known(painter: LatentPainter) -> None:
    gate = Gate()
    assert "near_duplicate" not in drawn(painter, [order()], gate=gate)[0].checks
    assert "near_duplicate" in drawn(painter, [order("later")], gate=gate)[0].checks


def test_what_another_scene_cannot_mend_is_not_drawn_again(painter: LatentPainter) -> None:
    rude = replace(order(), copy=replace(order().copy, headline="Run like sh1t"))
    done = drawn(painter, [rude], redraws=3)[0]
    assert "profanity" in done.checks
    assert done.redraws == 0


def test_the_same_seed_gives_the_same_bytes(painter: LatentPainter) -> None:
    one, two = (drawn(painter, [order()])[0].image.tobytes() for _ in range(2))
    assert one == two
    assert one != drawn(painter, [order(seed=2)])[0].image.tobytes()


def test_one_that_fails_is_drawn_again_with_another_seed_and_keeps_its_name(painter: LatentPainter) -> None:
    done = drawn(painter, [order("first"), order("again")], redraws=2)
    assert done[0].order.seed == 1
    assert done[1].order.name == "again"
    assert done[1].order.seed != 1
    assert done[1].redraws >= 1


def test_the_scorer_keeps_the_scene_it_likes_best(painter: LatentPainter) -> None:
    def light(wanted: Order, scenes: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        assert wanted.user is not None
        return np.asarray(scenes.mean(axis=(1, 2, 3)), np.float32)

    def dark(wanted: Order, scenes: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        return -light(wanted, scenes)

    bright, dim = (drawn(painter, [order()], candidates=4, appeal=appeal)[0].scene for appeal in (light, dark))
    assert bright.mean() > dim.mean()
    one = drawn(painter, [replace(order(), seed=9)], candidates=1, appeal=light)[0]
    assert one.order.seed == 9
