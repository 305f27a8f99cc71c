"""Product drawings: original, transparent, and rendered from the SVG that stands beside them."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from sources.drawings import FOLDER, SIDE, catalogue, product_image_path, product_names, render
from sources.law import TOPICS

NAMES = product_names()
AT_EVERY_TEST = 4
"""Of so many drawings one is rendered at every test, which takes seconds; the others with the slow tests."""


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * bool(n % AT_EVERY_TEST)) for n, name in enumerate(NAMES)]
)
def test_the_committed_picture_is_what_its_drawing_renders_to(name: str) -> None:
    pytest.importorskip("resvg_py", reason="rendering needs resvg-py")
    fresh = np.asarray(Image.open(io.BytesIO(render(FOLDER / f"{name}.svg"))).convert("RGBA"), int)
    kept = np.asarray(Image.open(product_image_path(name)).convert("RGBA"), int)
    assert np.abs(fresh - kept).max() <= 2


@pytest.mark.parametrize("name", NAMES)
def test_a_product_stands_on_a_transparent_ground(name: str) -> None:
    alpha = np.asarray(Image.open(product_image_path(name)).convert("RGBA"))[..., 3]
    assert alpha.shape == (SIDE, SIDE)
    assert alpha[[0, 0, -1, -1], [0, -1, 0, -1]].max() == 0
    assert 0.08 < (alpha > 128).mean() < 0.9


@pytest.mark.parametrize("name", NAMES)
def test_a_drawing_holds_no_text_and_asks_nobody_for_anything(name: str) -> None:
    source = (FOLDER / f"{name}.svg").read_text(encoding="utf-8")
    assert "<text" not in source
    assert 'href="http' not in source
    assert "<image" not in source


def test_every_topic_has_two_products_with_two_advertisers_each() -> None:
    assert sorted(product.topic for product in catalogue()) == sorted(TOPICS * 2)
    for product in catalogue():
        assert len({ad.advertiser for ad in product.ads}) == 2


def test_copy_fits_an_ad() -> None:
    for product in catalogue():
        for ad in product.ads:
            assert 0 < len(ad.headline) <= 34
            assert 0 < len(ad.body) <= 80
            assert 0 < len(ad.call_to_action) <= 16
