"""A shop with a space of its own gets a generator that sets out from the shipped one."""

from __future__ import annotations

from pathlib import Path

import torch

from flows.choose_models import any_generator, find_generator, generator_space
from flows.job import Job
from flows.train_generator import curriculum_of
from flows.train_models import learn_generator, learn_space
from generators.painting.weights import load_weights
from sources.world import write_world
from tests.flows.small_run import small_settings


def test_a_shop_with_a_space_of_its_own_trains_on_from_the_shipped_weights(tmp_path: Path) -> None:
    shipped = any_generator(tmp_path / "models")
    assert shipped is not None
    write_world(tmp_path / "world", users=60, days=15, seed=5, pictures_per_concept=1, side=64)
    job = Job(tmp_path / "world", small_settings(), tmp_path / "runs", tmp_path / "models")
    learn_space(job)
    learned = learn_generator(
        job,
        curriculum_of(steps=1, seed=0, device="cpu", rows=2, precision="fp32"),
        from_scratch=False,
        tell=lambda *line: None,
    )
    found = find_generator(job.models, generator_space(job.models / "generator" / learned) or "")
    assert found is not None
    assert found.name == learned
    assert generator_space(found) != generator_space(shipped)
    before, after = (load_weights(folder / "weights") for folder in (shipped, found))
    assert after.network.channels == before.network.channels
    for name, tensor in before.codec.state_dict().items():
        assert torch.equal(after.codec.state_dict()[name], tensor), name
