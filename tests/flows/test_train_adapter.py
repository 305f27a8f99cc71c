"""From a data folder to an adapter, and from there to creatives drawn by a Stable Diffusion checkpoint (tiny, random)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from contracts.errors import DataError, ModelError, SettingsError
from contracts.settings import parse_settings
from contracts.tables import GENERAL_COHORT
from flows.choose_models import find_adapter, versions
from flows.choose_painter import painter_of
from flows.job import Job
from flows.list_models import list_versions
from flows.run_batch import STAGES, run_batch
from flows.train_adapter import learn_adapter
from generators.painting.adapter import load_adapter
from generators.painting.painters import SceneRequest
from generators.training.adapter_training import Course
from sources.world import write_world
from tests.generators.tiny_checkpoints import tiny_checkpoint

COURSE = Course(steps=2, rows=4, warmup_steps=1)
GENERATORS = {
    "way": "stable-diffusion", "renders": 2, "side": 480, "candidates": 1, "redraws": 0, "min_cohort_users": 10,
    "first_training_steps": 1, "batch": 32,
}  # fmt: skip


@dataclass(frozen=True)
class Shop:
    job: Job
    advertiser: str
    told: list[tuple[str, int, int]]
    version: str


def job_with(root: Path, **stable_diffusion: object) -> Job:
    settings = parse_settings(
        {
            "ranking": {"threads": 1, "rounds": 10},
            "generators": GENERATORS,
            "stable_diffusion": {"steps": 2, **stable_diffusion},
        },
        where="test",
    )
    return Job(root / "world", settings, root / "runs", root / "models")


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    root = tmp_path_factory.mktemp("shop")
    write_world(root / "world", users=60, days=15, seed=5, pictures_per_concept=2, side=64)
    job = job_with(root, checkpoint=str(tiny_checkpoint(root / "checkpoint", "sd15")))
    pictures = pl.read_parquet(root / "world" / "pictures.parquet")
    concepts = pl.read_parquet(root / "world" / "concepts.parquet")
    advertiser = concepts.join(pictures, on="concept_id")["advertiser"].sort()[0]
    told: list[tuple[str, int, int]] = []
    version = learn_adapter(job, COURSE, COURSE, [advertiser], lambda *line: told.append(line))
    return Shop(job, advertiser, told, version)


def test_an_adapter_is_trained_from_the_log_and_put_in_use(shop: Shop) -> None:
    folder = next(versions(shop.job.models, "adapter"))
    assert folder.name == shop.version
    adapter = load_adapter(folder)
    assert find_adapter(shop.job.models, adapter.space_hash) == folder
    assert find_adapter(shop.job.models, "another space") is None
    assert list(adapter.styles) == [shop.advertiser]
    assert adapter.dimensions == shop.job.settings.features.dimensions
    names = ["users", "users", f"style of {shop.advertiser}", f"style of {shop.advertiser}"]
    assert [name for name, _, _ in shop.told] == names
    listed = [one for one in list_versions(shop.job.models) if one.kind == "adapter"]
    assert [(one.version, one.in_use, one.made_by) for one in listed] == [(shop.version, True, "adloom train adapter")]


def test_the_painter_of_the_job_paints_with_it_for_users_of_its_space(shop: Shop) -> None:
    space = load_adapter(next(versions(shop.job.models, "adapter"))).space_hash
    painter = painter_of(shop.job, Path("not needed"), space)
    users = np.eye(2, shop.job.settings.features.dimensions, dtype=np.float32)
    requests = [SceneRequest(user, None, None, 1, "Run further", shop.advertiser, ("shoes",)) for user in users]
    scenes = painter.paint(requests)
    assert scenes.shape == (2, 32, 32, 3)
    assert (scenes == painter.paint(requests)).all()
    with pytest.raises(ModelError, match="no adapter for space"):
        painter_of(shop.job, Path("not needed"), "another space")


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_batch_draws_with_it(shop: Shop) -> None:
    job = shop.job
    for stage in STAGES[:-1]:
        job.store.perform(stage.key(job), lambda folder, stage=stage: stage.work(job, folder))  # type: ignore[misc]
    creatives = pl.read_parquet(job.run / "generators" / "creatives.parquet")
    assert creatives["generator"].unique().to_list() == ["stable-diffusion"]
    assert (creatives["cohort"] != GENERAL_COHORT).any()
    assert all((job.run / "generators" / file).is_file() for file in creatives["file"])
    drawn_with = STAGES[-2].key(job).inputs
    assert drawn_with["adapter"] == shop.version
    assert STAGES[-2].key(job).settings["stable_diffusion"]["steps"] == 2


def test_an_unknown_advertiser_is_a_clear_line(shop: Shop) -> None:
    with pytest.raises(DataError, match="no such advertiser"):
        learn_adapter(shop.job, COURSE, COURSE, ["Nobody"], lambda *_: None)


def test_a_missing_checkpoint_is_said_before_anything_is_computed(shop: Shop, tmp_path: Path) -> None:
    root = shop.job.data.parent
    for job, error in (
        (job_with(root, checkpoint=str(tmp_path / "nothing")), ModelError),
        (job_with(root), SettingsError),
    ):
        with pytest.raises(error, match=r"no such folder|is not set"):
            run_batch(Job(job.data, job.settings, tmp_path / "runs", job.models), lambda *_: None)
        assert not list((tmp_path / "runs").rglob("manifest.json"))
