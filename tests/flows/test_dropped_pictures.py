"""A picture that fails is drawn again with new seeds; when the budget is spent it is dropped and named, and the run goes on without it."""

from __future__ import annotations

import json

import polars as pl
import pytest
from PIL import Image

from contracts.stamps import read_stamp
from contracts.tables import GENERAL_COHORT
from flows.draw_creatives import STAGE, dropped_of
from flows.job import Job
from flows.measure_diversity import FILE
from generators.checking.findings import Finding
from generators.checking.gate import Gate
from tests.flows.small_run import copied, perform, small_settings

REDRAWS = 2


@pytest.fixture(scope="module")
def spoilt(shared_run: Job, tmp_path_factory: pytest.TempPathFactory) -> tuple[Job, list[str]]:
    """A run in which no personal picture is ever found decent, and the pixels of each that was examined."""
    settings = small_settings(
        generators={"redraws": REDRAWS, "renders": 2, "sizes": ["320x50"], "ai_label": "AI-generated"}
    )
    job = copied(shared_run, tmp_path_factory.mktemp("dropped"), settings)
    whole, seen = Gate.examine, []

    def strict(self: Gate, image: Image.Image, *others: object, cohort: int, **more: object) -> tuple[Finding, ...]:
        found = whole(self, image, *others, cohort=cohort, **more)  # type: ignore[arg-type]
        if cohort == GENERAL_COHORT:
            return found
        seen.append(image.tobytes().hex()[:20000])
        return tuple(
            Finding("unsafe", False, 0.9, 0.5, "taken for indecent") if f.check == "unsafe" else f for f in found
        )

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Gate, "examine", strict)
        perform(job)
    return job, seen


def test_it_is_drawn_again_with_another_seed_until_the_budget_is_spent(spoilt: tuple[Job, list[str]]) -> None:
    job, seen = spoilt
    personal = pl.read_parquet(job.run / "generators" / "creatives.parquet").filter(pl.col("cohort") != GENERAL_COHORT)
    assert len(personal) == 2
    assert len(seen) == len(set(seen)) == len(personal) * (REDRAWS + 1)


def test_then_it_is_dropped_and_named_with_its_reason(spoilt: tuple[Job, list[str]]) -> None:
    job, _ = spoilt
    folder = job.run / "generators"
    creatives, checks = (
        pl.read_parquet(folder / "creatives.parquet"),
        pl.read_parquet(folder / "creative_checks.parquet"),
    )
    dropped = dropped_of(creatives, checks)
    assert set(dropped["cohort"]) & {GENERAL_COHORT} == set()
    assert dropped["check"].to_list() == ["unsafe"] * 2
    assert dropped["redraws"].to_list() == [REDRAWS] * 2
    assert set(dropped["reason"]) == {"taken for indecent"}
    named = dropped["creative_id"].to_list()
    said = STAGE.say(folder)
    assert all(f"{name} (unsafe: taken for indecent)" in said for name in named)
    assert not set(pl.read_parquet(folder / "renditions.parquet")["creative_id"]) & set(named)


def test_the_run_goes_on_the_general_picture_is_shown_instead_and_the_report_says_why(
    spoilt: tuple[Job, list[str]],
) -> None:
    job, _ = spoilt
    creatives = pl.read_parquet(job.run / "generators" / "creatives.parquet")
    dropped = creatives.filter(pl.col("cohort") != GENERAL_COHORT)
    general = creatives.filter((pl.col("cohort") == GENERAL_COHORT) & (pl.col("checks").list.len() == 0))
    assert set(dropped["concept_id"]) <= set(general["concept_id"])
    report = json.loads((job.run / "evaluation" / "report.json").read_text())
    assert report["creatives"]["coverage"]["failed_checks"] == {"unsafe": 2}
    named = report["creatives"]["coverage"]["dropped"]
    assert [one["creative_id"] for one in named] == dropped["creative_id"].to_list()
    assert {(one["check"], one["reason"], one["redraws"]) for one in named} == {
        ("unsafe", "taken for indecent", REDRAWS)
    }
    shown = json.loads((job.run / "generators" / FILE).read_text())
    assert shown["audiences"] == []
    assert shown["users"]["counted"] > 0


def test_the_label_that_a_model_drew_it_is_told_of_every_picture_that_bears_it(spoilt: tuple[Job, list[str]]) -> None:
    folder = spoilt[0].run / "generators"
    for kind, words in (("images", "AI-generated"), ("renditions", "AI-generated"), ("scenes", "")):
        files = [path for path in (folder / kind).rglob("*") if path.is_file()]
        assert files
        stamps = [read_stamp(path.read_bytes(), where=str(path)) for path in files]
        assert {None if stamp is None else stamp.label for stamp in stamps} == {words}
