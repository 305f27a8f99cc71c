"""People of whom little or nothing is known, and the space's own commands, through the stages as they are run."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from contracts.settings import parse_settings
from contracts.tables import EVERYONE
from features.history_lengths import history_lengths
from features.space import Space
from flows import build_features, check_sources, rank_concepts
from flows.command_line import execute
from flows.explain_user import explain_user
from flows.job import Job, Stage

STAGES: tuple[Stage, ...] = (check_sources.STAGE, build_features.STAGE, rank_concepts.STAGE)
LENGTHS = (0, 1, 2, 5, 10)
SETTINGS = parse_settings({"ranking": {"threads": 1, "rounds": 5}}, where="test")


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory, write_shop: Callable[[Path, int], Path]) -> Job:
    """A shop with users of 0, 1, 2, 5 and 10 events, one of new items alone, and a new item among the concepts."""
    home = tmp_path_factory.mktemp("cold")
    data = write_shop(home / "shop", 120)
    events, impressions = (pl.read_parquet(data / f"{name}.parquet") for name in ("events", "impressions"))
    people = impressions["user_id"].unique().sort()[: len(LENGTHS) + 1].to_list()
    last = impressions.filter(pl.col("user_id").is_in(people))["at"].min()
    assert isinstance(last, datetime)
    few = [events.filter(~pl.col("user_id").is_in(people))]
    for user, length in zip(people, LENGTHS, strict=False):
        taken = events.head(length).with_columns(user_id=pl.lit(user), at=pl.lit(last - timedelta(hours=1)))
        few.append(taken.with_columns(pl.col("at") + pl.duration(minutes=pl.int_range(pl.len()))))
    new = events.head(3).with_columns(
        user_id=pl.lit(people[-1]), item_id=pl.lit("never seen"), at=pl.lit(last - timedelta(hours=2)) + pl.duration(minutes=pl.int_range(pl.len()))
    )  # fmt: skip
    pl.concat([*few, new]).select(events.columns).cast(dict(events.schema)).write_parquet(data / "events.parquet")
    users = pl.read_parquet(data / "users.parquet")
    users.with_columns(personalise=pl.col("personalise") | pl.col("user_id").is_in(people)).with_columns(
        adult=pl.when(pl.col("user_id").is_in(people)).then(True).otherwise("adult")
    ).write_parquet(data / "users.parquet")
    job = Job(data, SETTINGS, home / "runs", home / "models")
    for stage in STAGES:
        job.store.perform(stage.key(job), lambda folder, stage=stage: stage.work(job, folder))  # type: ignore[misc]
    return job


def people_of(job: Job) -> list[str]:
    """The six users, by the name in the logs, in order of LENGTHS, the one of new items last."""
    shown = pl.read_parquet(job.data / "impressions.parquet")
    return shown["user_id"].unique().sort()[: len(LENGTHS) + 1].to_list()


def names_of(job: Job) -> list[str]:
    pseudonyms = job.pseudonyms
    assert pseudonyms is not None
    return [pseudonyms.of(user) for user in people_of(job)]


def test_a_user_without_events_has_no_row_and_gets_the_slate_of_everyone(job: Job) -> None:
    nobody = names_of(job)[0]
    for table in ("interests", "embeddings", "daily"):
        assert nobody not in pl.read_parquet(job.run / "features" / f"{table}.parquet")["user_id"]
    slates = pl.read_parquet(job.run / "ranking" / "slates.parquet")
    assert nobody not in slates["user_id"]
    assert slates.filter(pl.col("user_id") == EVERYONE).height == SETTINGS.ranking.slate_size
    told = explain_user(job, people_of(job)[0])
    assert (told["events"], told["interests"], told["embedding"]) == (0, [], None)
    assert not told["slate"]["personal"]
    assert len(told["slate"]["concepts"]) == SETTINGS.ranking.slate_size


@pytest.mark.parametrize(("place", "length"), list(enumerate(LENGTHS))[1:])
def test_a_user_of_few_events_has_all_a_user_has(job: Job, place: int, length: int) -> None:
    user = names_of(job)[place]
    mine = {
        name: pl.read_parquet(job.run / stage / f"{name}.parquet").filter(pl.col("user_id") == user)
        for stage, name in (("features", "interests"), ("features", "embeddings"), ("ranking", "slates"))
    }
    assert mine["interests"]["weight"].sum() == pytest.approx(1.0)
    assert mine["embeddings"]["events"].to_list() == [length]
    vector = np.array(mine["embeddings"]["vector"][0])
    assert np.isfinite(vector).all()
    assert vector.any()
    assert mine["slates"].height == SETTINGS.ranking.slate_size
    told = explain_user(job, people_of(job)[place], top=3)
    assert told["events"] == length
    assert told["slate"]["personal"]
    assert math.fsum(interest["weight"] for interest in told["interests"]) == pytest.approx(1.0)
    assert told["embedding"]["events"] == length
    assert len(told["embedding"]["top"]) == min(3, length)


def test_what_was_known_at_each_impression_is_written_beside_it(job: Job) -> None:
    logged = pl.read_parquet(job.run / "ranking" / "tested.parquet")
    events = pl.read_parquet(job.run / "sources" / "events.parquet")
    sample = logged.sample(50, seed=1)
    plain = [
        events.filter((pl.col("user_id") == user) & (pl.col("at") < at)).height
        for user, at in sample.select("user_id", "at").iter_rows()
    ]
    assert sample["history_events"].to_list() == plain
    assert logged["score"].is_finite().all()
    delayed = history_lengths(events, sample, delay_seconds=3 * 86_400)
    assert delayed.tolist() == [
        events.filter((pl.col("user_id") == user) & (pl.col("at") < at - timedelta(days=3))).height
        for user, at in sample.select("user_id", "at").iter_rows()
    ]
    by_user = (
        pl.read_parquet(job.run / "features" / "logged.parquet").group_by("user_id").agg(pl.col("history_events").min())
    )
    found = dict(by_user.iter_rows())
    assert [found[name] for name in names_of(job)] == [*LENGTHS, 3]


def test_no_feature_is_nan_for_anybody(job: Job) -> None:
    for table in ("logged", "daily", "replay"):
        frame = pl.read_parquet(job.run / "features" / f"{table}.parquet")
        numbers = frame.select(pl.selectors.float())
        assert not numbers.select(pl.any_horizontal(pl.all().is_nan().any())).item(), table
        assert not numbers.select(pl.any_horizontal(pl.all().is_infinite().any())).item(), table


def test_an_item_never_seen_stands_by_its_topics_and_is_counted(job: Job) -> None:
    space = Space.load(job.run / "features" / "space")
    assert "never seen" not in space.item_ids
    told = explain_user(job, people_of(job)[-1])
    assert told["embedding"]["events"] == 3
    assert {row["standing"] for row in told["embedding"]["top"]} <= {"topics", "guest"}
    assert told["slate"]["personal"]


def test_explain_and_drift_and_a_refit_on_the_command_line(job: Job, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:  # fmt: skip
    where = ["--runs", str(job.runs), "--models", str(job.models)]
    user, name, data = people_of(job)[3], names_of(job)[3], str(job.data)
    assert execute(["explain", user, data, *where, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["user_id"] == name
    assert execute(["explain", name, data, *where, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["interests"] == told["interests"]
    assert execute(["explain", user, data, *where]) == 0
    said = capsys.readouterr().out
    assert "The embedding" in said
    assert user not in said
    assert execute(["explain", people_of(job)[0], data, *where]) == 0
    assert "the slate of everyone" in capsys.readouterr().out
    assert execute(["explain", user, data, "--runs", str(tmp_path / "none"), "--models", str(job.models)]) == 2
    assert "its batch has not run" in capsys.readouterr().err

    assert execute(["drift", data, *where, "--json"]) in (0, 1)
    found = json.loads(capsys.readouterr().out)
    assert found["advice"] in ("keep", "refit")
    assert found["events_explained"] > 0.9
    assert execute(["train", "space", data, *where, "--json"]) == 0
    refit = json.loads(capsys.readouterr().out)
    assert refit["from"] == found["version"] != refit["version"]
    assert refit["turned"]
    assert 0 < refit["cosine"] < 1
    again = ["train", "space", data, *where]
    assert execute([*again, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["same"]
    assert execute(again) == 0
    assert "Nothing has changed" in capsys.readouterr().out


def test_a_refit_names_the_generators_that_no_longer_fit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert execute(["train", "space", "--runs", str(tmp_path / "runs"), "--models", str(tmp_path / "models")]) == 0
    said = capsys.readouterr().out
    assert "generator 2cb1494414ab" in said
    assert "adloom train generator" in said
    assert "nearest neighbours" in said
