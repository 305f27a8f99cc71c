"""Consent and sensitive topics over the whole batch: who said no is nowhere, and what is sensitive is in nobody's vector."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from contracts.tables import EVERYONE
from features.space import Space
from flows.job import Job
from flows.prepare_examples import Prepared
from flows.train_generator import curriculum_of
from flows.train_models import learn_space
from tests.flows.small_run import perform, small_settings

SENSITIVE = "gaming"
SETTINGS = small_settings(sources={"sensitive_topics": [SENSITIVE]}, ranking={"rounds": 20}, generators={"renders": 4})


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, write_shop: Callable[[Path, int], Path]) -> Job:
    root = tmp_path_factory.mktemp("consent")
    write_shop(root / "shop", 150)
    job = Job(root / "shop", SETTINGS, root / "runs", root / "models")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("ADLOOM_KEY", raising=False)
        perform(job)
    return job


def browsers(job: Job) -> set[str]:
    """Who consents and browsed the sensitive topic, under their pseudonyms."""
    assert job.pseudonyms is not None
    users = pl.read_parquet(job.data / "users.parquet")
    consenting = users.filter(pl.col("personalise") & pl.col("adult").fill_null(True))
    events = pl.read_parquet(job.data / "events.parquet").filter(pl.col("topics").list.contains(SENSITIVE))
    return set(job.pseudonyms.replace(events.join(consenting, on="user_id", how="semi")["user_id"].unique()))


def test_nobody_who_refused_and_no_minor_is_in_any_artefact(
    finished: Job, mentions: Callable[[Path, str], list[str]]
) -> None:
    assert finished.pseudonyms is not None
    users = pl.read_parquet(finished.data / "users.parquet")
    refused = users.filter(~pl.col("personalise"))["user_id"]
    minors = users.filter(pl.col("personalise") & ~pl.col("adult"))["user_id"]
    assert len(refused)
    assert len(minors)
    for user in [*refused, *minors]:
        assert mentions(finished.runs.parent, finished.pseudonyms.of(user)) == []
        assert mentions(finished.runs.parent, user) == []
    consenting = users.filter(pl.col("personalise") & pl.col("adult"))["user_id"][0]
    assert mentions(finished.runs.parent, finished.pseudonyms.of(consenting))  # the search finds who is there
    general = pl.read_parquet(finished.run / "ranking" / "slates.parquet").filter(pl.col("user_id") == EVERYONE)
    assert general.height  # what everybody gets, they get too


def test_a_sensitive_topic_is_in_no_interest_and_sensitive_concepts_in_nobody_s_slate(finished: Job) -> None:
    assert browsers(finished)
    interests = pl.read_parquet(finished.run / "features" / "interests.parquet")
    assert SENSITIVE not in set(interests["topic"])
    concepts = pl.read_parquet(finished.run / "sources" / "concepts.parquet")
    about = concepts.filter(pl.col("topics").list.contains(SENSITIVE))
    assert about["sensitive"].all()
    slates = pl.read_parquet(finished.run / "ranking" / "slates.parquet").filter(pl.col("user_id") != EVERYONE)
    assert not set(slates["concept_id"]) & set(about["concept_id"])


def test_the_embeddings_do_not_move_when_only_sensitive_events_do(finished: Job, tmp_path: Path) -> None:
    """Another life on the sensitive topic, the same on all others: the same vectors."""
    from flows import build_features, check_sources

    data = tmp_path / "shop"
    shutil.copytree(finished.data, data)
    events = pl.read_parquet(finished.data / "events.parquet")
    last = events["at"].max()
    kept = ~pl.col("topics").list.contains(SENSITIVE) | (pl.col("at") == last)
    events.filter(kept).write_parquet(data / "events.parquet")
    job = Job(data, finished.settings, finished.runs, finished.models)
    for stage in (check_sources.STAGE, build_features.STAGE):
        job.store.perform(stage.key(job), lambda folder, stage=stage: stage.work(job, folder))  # type: ignore[misc]
    for table in ("embeddings", "interests"):
        before = pl.read_parquet(finished.run / "features" / f"{table}.parquet")
        assert pl.read_parquet(job.run / "features" / f"{table}.parquet").equals(before)


def test_the_report_says_what_the_embeddings_give_away(finished: Job) -> None:
    report = json.loads((finished.run / "evaluation" / "report.json").read_text())
    (probe,) = report["probes"]
    embedded = set(pl.read_parquet(finished.run / "features" / "embeddings.parquet")["user_id"])
    assert probe["topic"] == SENSITIVE
    assert probe["holders"] == len(browsers(finished) & embedded)
    assert probe["users"] == len(embedded)
    assert 0 <= probe["low"] <= probe["auc"] <= probe["high"] <= 1
    assert "What the embeddings give away" in (finished.run / "evaluation" / "report.html").read_text()


def test_a_space_learned_here_knows_no_sensitive_topic_and_nobody_who_refused(finished: Job, tmp_path: Path) -> None:
    job = Job(finished.data, finished.settings, finished.runs, tmp_path / "models")
    version = learn_space(job)["version"]
    space = Space.load(tmp_path / "models" / "space" / version)
    assert SENSITIVE not in space.topics
    events = pl.read_parquet(finished.data / "events.parquet")
    users = pl.read_parquet(finished.data / "users.parquet").filter("personalise", pl.col("adult").fill_null(True))
    learnable = events.filter(~pl.col("topics").list.contains(SENSITIVE)).join(users, on="user_id", how="semi")
    assert set(space.item_ids) <= set(learnable["item_id"])
    assert set(events["item_id"]) - set(learnable["item_id"])


def test_a_generator_learns_from_nobody_who_refused(finished: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    import flows.train_models as training

    seen: list[Prepared] = []

    def note(prepared: Prepared, *args: object, **kwargs: object) -> Path:
        seen.append(prepared)
        return Path("noted")

    monkeypatch.setattr(training, "train_version", note)
    training.learn_generator(
        finished, curriculum_of(steps=1, seed=0, device="cpu"), from_scratch=False, tell=lambda *_: None
    )
    users = pl.read_parquet(finished.data / "users.parquet").filter("personalise", pl.col("adult").fill_null(True))
    impressions = pl.read_parquet(finished.data / "impressions.parquet").drop_nulls("creative_id")
    theirs = impressions.join(users, on="user_id", how="semi")
    assert len(seen[0].examples.clicked) == theirs.height < impressions.height
