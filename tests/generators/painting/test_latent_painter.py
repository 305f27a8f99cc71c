"""Looks of the click-guided flow lean to what the user clicks; what every way keeps is tested in test_painters.py."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from generators.painting.latent_painter import LatentPainter
from generators.painting.painters import SceneRequest, frame_product
from generators.painting.sampling import draw
from generators.painting.weights import Generator
from generators.taste.taste import Taste

D, S = 5, 32
Make = Callable[..., Generator]


def request(seed: int = 1, **changes: object) -> SceneRequest:
    product = np.zeros((80, 60, 4), np.uint8)
    product[5:75, 5:55] = (20, 90, 160, 255)
    user, concept = np.random.default_rng(0).normal(size=(2, D)).astype(np.float32)
    return replace(SceneRequest(user, concept, product, seed), **changes)


@pytest.fixture(scope="module")
def painter(tiny_generator: Make, tiny_taste: Taste) -> LatentPainter:
    return LatentPainter(tiny_generator(), tiny_taste, partial(draw, steps=2), guidance=2.0)


def test_looks_lean_to_what_the_user_clicks(painter: LatentPainter) -> None:
    framed, mask = frame_product(request().product, S)

    def lightness(first: float | None) -> float:
        user = None if first is None else np.array([first, 0, 0, 0, 0], np.float32)
        requests = [request(seed, user=user) for seed in range(300)]
        looks = painter.looks(requests, np.stack([framed] * 300), np.stack([mask] * 300))
        return float(looks[:, 0].mean())

    assert lightness(-2) < lightness(None) - 0.02 < lightness(2) - 0.04


def test_without_a_taste_nobody_has_a_look_of_their_own(tiny_generator: Make) -> None:
    painter = LatentPainter(tiny_generator(), None, partial(draw, steps=2), guidance=8.0)
    assert np.array_equal(painter.paint([request()]), painter.paint([request(user=np.full(D, 3, np.float32))]))


def test_a_product_is_encoded_once_for_all_its_pictures(
    tiny_generator: Make, tiny_taste: Taste, monkeypatch: pytest.MonkeyPatch
) -> None:
    painter = LatentPainter(tiny_generator(), tiny_taste, partial(draw, steps=1), guidance=2.0)
    codec, seen = painter.generator.codec, []
    encode = codec.encode
    monkeypatch.setattr(codec, "encode", lambda scenes: seen.append(len(scenes)) or encode(scenes))
    first = painter.paint([request(1), request(2), request(3, product=None)])
    assert np.array_equal(painter.paint([request(1)])[0], first[0])
    assert seen == [1, 1]
