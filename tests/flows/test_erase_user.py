"""Erasure: a user is gone from every file that was made, the receipt names nobody, and later runs stay forgetful."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from contracts.settings import parse_settings
from contracts.store import MANIFEST
from flows import build_features, check_sources, rank_concepts
from flows.command_line import execute
from flows.erase_user import erase_user
from flows.job import Job, Stage

WriteShop, Mentions = Callable[[Path, int], Path], Callable[[Path, str], list[str]]
STAGES: tuple[Stage, ...] = (check_sources.STAGE, build_features.STAGE, rank_concepts.STAGE)


@pytest.fixture
def job(tmp_path: Path, write_shop: WriteShop, monkeypatch: pytest.MonkeyPatch) -> Job:
    monkeypatch.delenv("ADLOOM_KEY", raising=False)
    write_shop(tmp_path / "shop", 80)
    settings = parse_settings({"ranking": {"threads": 1, "rounds": 5}}, where="test")
    job = Job(tmp_path / "shop", settings, tmp_path / "runs", tmp_path / "models")
    perform(job)
    return job


def perform(job: Job) -> None:
    for stage in STAGES:
        key = stage.key(job)
        if job.store.current(key) is None:
            job.store.perform(key, lambda folder, stage=stage: stage.work(job, folder))  # type: ignore[misc]


def someone(job: Job) -> str:
    """A user with slates, by the name in the logs."""
    pseudonyms = job.pseudonyms
    assert pseudonyms is not None
    drawn = set(pl.read_parquet(job.run / "ranking" / "slates.parquet")["user_id"])
    shown = pl.read_parquet(job.data / "impressions.parquet")["user_id"].unique().sort()
    return next(user for user in shown if pseudonyms.of(user) in drawn)


def test_ids_of_real_logs_are_never_kept(job: Job, mentions: Mentions) -> None:
    for user in pl.read_parquet(job.data / "users.parquet")["user_id"].sample(5, seed=1):
        assert mentions(job.runs.parent, user) == []
    assert (job.runs.parent / "adloom.key").stat().st_mode & 0o077 == 0
    key = (job.runs.parent / "adloom.key").read_text().strip()
    assert mentions(job.runs.parent, key) == []


def test_a_user_is_forgotten_everywhere_and_for_good(job: Job, mentions: Mentions) -> None:
    user = someone(job)
    pseudonyms = job.pseudonyms
    assert pseudonyms is not None
    pseudonym = pseudonyms.of(user)
    before = mentions(job.runs.parent, pseudonym)
    for place in (
        "intake/",
        "sources/events",
        "sources/impressions",
        "features/embeddings",
        "features/interests",
        "ranking/slates",
    ):
        assert any(place in path for path in before), (place, before)
    slates = pl.read_parquet(job.run / "ranking" / "slates.parquet")
    receipt = erase_user(user, job.runs, job.models)
    assert mentions(job.runs.parent, pseudonym) == []
    assert mentions(job.runs.parent, user) == []
    assert receipt.rows["ranking/slates"] == slates.filter(pl.col("user_id") == pseudonym).height
    assert any("ranker" in model for model in receipt.retrain)
    left = pl.read_parquet(job.run / "ranking" / "slates.parquet")
    assert left.equals(slates.filter(pl.col("user_id") != pseudonym))
    written = list((job.runs.parent / "receipts").iterdir())
    assert len(written) == 1
    assert user not in written[0].read_text()
    assert pseudonym not in written[0].read_text()
    assert erase_user(user, job.runs, job.models).files == 0
    assert len(list((job.runs.parent / "receipts").iterdir())) == 1


def test_an_erased_user_stays_out_while_the_data_folder_still_holds_the_rows(job: Job, mentions: Mentions) -> None:
    user = someone(job)
    pseudonyms = job.pseudonyms
    assert pseudonyms is not None
    erase_user(user, job.runs, job.models)
    assert job.store.current(STAGES[0].key(job)) is not None  # what was checked stands, without the user
    assert job.store.current(STAGES[1].key(job)) is None  # what learned from it does not
    perform(job)
    assert mentions(job.runs.parent, pseudonyms.of(user)) == []
    events = pl.read_parquet(job.data / "events.parquet")
    pl.concat([events, events.filter(pl.col("user_id") == user).with_columns(item_id=pl.lit("new"))]).write_parquet(
        job.data / "events.parquet"
    )
    later = Job(job.data, job.settings, job.runs, job.models)
    assert later.run != job.run
    perform(later)
    assert mentions(job.runs.parent, pseudonyms.of(user)) == []


def test_the_command_tells_what_was_removed_and_then_that_nothing_is_left(
    job: Job, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["erase", someone(job), "--runs", str(job.runs), "--models", str(job.models)]
    assert execute(words) == 0
    said = capsys.readouterr().out
    assert "ranking/slates" in said
    assert "Retrain: ranker" in said
    assert execute(words) == 0
    assert "Nothing is left" in capsys.readouterr().out
    assert execute([*words, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["files"] == 0


def test_the_manifests_stand_after_an_erasure(job: Job) -> None:
    erase_user(someone(job), job.runs, job.models)
    for stage in ("sources", "features", "ranking"):
        manifest = json.loads((job.run / stage / MANIFEST).read_text())
        assert manifest["erasures"] == 1
