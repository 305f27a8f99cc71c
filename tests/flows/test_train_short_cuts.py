"""From a data folder with a generator to its student and its GAN, and from there to the painter of the job."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from contracts.errors import ModelError
from flows import train_models
from flows.choose_models import any_generator, generator_space
from flows.choose_painter import painter_key, painter_of
from flows.job import Job
from flows.list_models import list_versions
from flows.train_models import learn_short_cut
from generators.painting.painters import SceneRequest
from generators.training.few_steps import GAN, STUDENT
from generators.training.shorten import schedule_of
from generators.training.training import Schedule
from sources.world import write_world
from tests.flows.small_run import small_settings


def short() -> Schedule:
    return schedule_of(steps=1, rows=2, device="cpu", precision="fp32")


@dataclass(frozen=True)
class Taught:
    job: Job
    versions: dict[str, str]
    told: list[tuple[str, int, int]]


@pytest.fixture(scope="module")
def taught(tmp_path_factory: pytest.TempPathFactory) -> Taught:
    """A small planted world in the space of the shipped generator, which gets a student and a GAN."""
    root = tmp_path_factory.mktemp("taught")
    write_world(root / "world", users=60, days=15, seed=5, pictures_per_concept=1, side=64)
    job = Job(root / "world", small_settings(), root / "runs", root / "models")
    told: list[tuple[str, int, int]] = []
    versions = {
        game.name: learn_short_cut(job, game, short(), tell=lambda *line: told.append(line), decoder_steps=2)
        for game in (STUDENT, GAN)
    }
    return Taught(job, versions, told)


def shipped(job: Job) -> tuple[Path, str]:
    """The generator in use, and its space."""
    home = any_generator(job.models)
    assert home is not None
    return home, str(generator_space(home))


def with_way(job: Job, way: str, **generators: object) -> Job:
    return Job(job.data, small_settings(generators={"way": way, **generators}), job.runs, job.models)


def test_they_are_trained_put_in_use_and_listed(taught: Taught) -> None:
    assert [(what.split(",")[0], done, total) for what, done, total in taught.told] == [
        ("decoder", 1, 2),
        ("decoder", 2, 2),
        ("student", 1, 1),
        ("gan", 1, 1),
    ]
    for kind, version in taught.versions.items():
        listed = [one for one in list_versions(taught.job.models) if (one.kind, one.version) == (kind, version)]
        assert [(one.in_use, one.made_by) for one in listed] == [(True, f"adloom train {kind}")]
        config = json.loads((taught.job.models / kind / version / "weights" / "config.json").read_text())
        assert config["made_from"]["way"] == kind
        assert config["made_from"]["settings"]["steps"] == 1


def test_the_painter_of_the_job_is_the_way_of_its_settings(taught: Taught) -> None:
    home, space = shipped(taught.job)
    request = [SceneRequest(np.ones(32, np.float32), np.ones(32, np.float32), None, 1)]
    jobs = {
        "diffusion": with_way(taught.job, "diffusion"),
        "student 1": with_way(taught.job, "student", student_steps=1),
        "student 4": with_way(taught.job, "student", student_steps=4),
        "gan": with_way(taught.job, "gan"),
    }
    painters = {name: painter_of(job, home, space) for name, job in jobs.items()}
    scenes = {name: painter.paint(request).tobytes() for name, painter in painters.items()}
    assert len(set(scenes.values())) == 4
    assert painters["student 1"].weights_hash[:12] == taught.versions["student"]
    assert painters["gan"].weights_hash[:12] == taught.versions["gan"]


def test_the_run_names_the_version_that_draws(taught: Taught) -> None:
    job = with_way(taught.job, "diffusion")
    (job.run / "training").mkdir(parents=True, exist_ok=True)
    choice = job.run / "training" / "choice.json"
    assert painter_key(job) == {}
    for kind, version in taught.versions.items():
        for told in ({"origin": "known", "space_hash": shipped(job)[1]}, {"origin": "none", "space_hash": "0" * 64}):
            choice.write_text(json.dumps(told))
            assert painter_key(with_way(taught.job, kind)) == {kind: version}


def test_without_one_the_line_says_how_to_train_it(taught: Taught, monkeypatch: pytest.MonkeyPatch) -> None:
    home, _ = shipped(taught.job)
    with pytest.raises(ModelError, match="there is no gan for space 000000000000") as caught:
        painter_of(with_way(taught.job, "gan"), home, "0" * 64)
    assert "adloom train gan" in str(caught.value)
    monkeypatch.setattr(train_models, "find_generator", lambda *_: None)
    with pytest.raises(ModelError, match="there is no generator for space") as caught:
        learn_short_cut(taught.job, GAN, short(), tell=lambda *_: None)
    assert "adloom train generator" in str(caught.value)
