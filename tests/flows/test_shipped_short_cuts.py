"""The sample's student and its GAN paint the looks that the flow paints, in one step."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from flows.choose_models import any_generator, generator_space
from flows.choose_painter import find_short_cut, painter_of
from flows.job import SHIPPED, Job
from generators.painting.painters import SceneRequest, scene_looks
from generators.products import load_product
from tests.flows.small_run import small_settings


@pytest.mark.parametrize("short", ["student", "gan"])
def test_it_is_found_and_paints_what_the_flow_paints(short: str, tmp_path: Path) -> None:
    home = any_generator(tmp_path)
    assert home is not None
    space = generator_space(home)
    jobs = {
        way: Job(SHIPPED, small_settings(generators={"way": way}), tmp_path, tmp_path) for way in ("diffusion", short)
    }
    config = json.loads((find_short_cut(jobs[short], space) / "weights" / "config.json").read_text())
    assert config["made_from"]["flow"].startswith(home.name)
    assert bool(config["codec"].get("slim")) == (short == "student")
    assert config["made_from"]["way"] == short
    product = load_product(next((SHIPPED / "images" / "products").iterdir()))
    random = np.random.default_rng(0)
    vectors = random.normal(size=(6, 2, 32)).astype(np.float32) * 0.2
    requests = [SceneRequest(user, concept, product, seed) for seed, (user, concept) in enumerate(vectors)]
    looks = {way: scene_looks(painter_of(job, home, space).paint(requests), product) for way, job in jobs.items()}
    apart = np.abs(looks[short] - looks["diffusion"]).mean(0)
    assert apart.max() > 0
    assert (apart < np.array([0.02, 0.02, 0.02, 0.05, 0.3, 0.15])).all(), apart
