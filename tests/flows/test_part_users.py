"""Users may be gone through in parts of any size: every table is the same, and none holds half a user."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import polars as pl
import pytest

from flows.compare_nights import _scores
from flows.evaluate_run import evaluate_slates
from flows.job import Job
from flows.part_users import by_file, by_user, files_of, read_parts, whole_users, write_parts
from tests.flows.small_run import copied, perform, small_settings

LOG = pl.DataFrame({"user_id": list("cabacbbd"), "n": range(8)})


@pytest.mark.parametrize("size", [1, 2, 3, 5, 100])
def test_parts_of_any_size_hold_whole_users_in_order(tmp_path: Path, size: int) -> None:
    rows = write_parts(tmp_path / "log.parquet", by_user(LOG.lazy(), size))
    parts = list(read_parts(tmp_path / "log.parquet"))
    assert rows == len(LOG)
    assert len(files_of(tmp_path / "log.parquet")) == len(parts)
    whole = LOG.sort("user_id", maintain_order=True)
    assert pl.concat(parts).equals(whole)
    assert pl.read_parquet(tmp_path / "log.parquet").equals(whole)
    assert sum(part["user_id"].n_unique() for part in parts) == 4
    assert pl.concat(list(whole_users(whole, size))).equals(whole)
    assert sum(part["user_id"].n_unique() for part in whole_users(whole, size)) == 4


def test_a_table_is_cut_where_the_files_of_a_log_end(tmp_path: Path) -> None:
    """Users that the log does not know go with those before them, or with the first; a file without rows gets none."""
    log = tmp_path / "log.parquet"
    write_parts(
        log, [pl.DataFrame({"user_id": users}, schema={"user_id": pl.String}) for users in (["b", "b", "d"], [], ["f"])]
    )
    table = pl.DataFrame({"user_id": list("aabdeffg")})
    assert [(file.stem, "".join(part["user_id"])) for file, part in by_file(table, log)] == [
        ("00000", "aabde"),
        ("00002", "ffg"),
    ]
    assert [file.stem for file, _ in by_file(pl.DataFrame({"user_id": ["g"]}), log)] == ["00002"]


def test_one_part_is_a_file_and_what_was_left_by_an_earlier_attempt_goes(tmp_path: Path) -> None:
    path = tmp_path / "log.parquet"
    write_parts(path, by_user(LOG.lazy(), 1))
    assert path.is_dir()
    write_parts(path, [LOG])
    assert pl.read_parquet(path, glob=False).equals(LOG)
    write_parts(path, by_user(LOG.clear().lazy(), 1))
    assert list(read_parts(path)) == []


def made(shared: Job, home: Path) -> Job:
    job = copied(shared, home, small_settings(ranking={"candidates": 20, "cascade_loss": 0.5}))
    shutil.rmtree(job.run / "features")
    perform(job, stages=3)
    return job


def tables(job: Job) -> dict[str, pl.DataFrame]:
    return {
        f"{stage}/{path.name}": pl.read_parquet(path)
        for stage in ("features", "ranking")
        for path in sorted((job.run / stage).glob("*.parquet"))
    }


@pytest.mark.parametrize(("parts", "looked_at"), [(1, 1), (8, 8), (20, 8)])
def test_nights_are_compared_by_the_scores_of_some_parts(tmp_path: Path, parts: int, looked_at: int) -> None:
    job = Job(tmp_path, small_settings(), tmp_path / "runs")
    job.__dict__["run_id"] = "run"
    (job.run / "ranking").mkdir(parents=True)
    scores = pl.DataFrame({"user_id": [f"{n:02d}" for n in range(parts)], "concept_id": "c"})
    scores = scores.with_columns(score=0.0, click_chance=0.1)
    write_parts(job.run / "ranking" / "scores.parquet", by_user(scores.lazy(), 1))
    assert _scores(job)["user_id"].n_unique() == looked_at


@pytest.mark.parametrize("large", [False, True])
def test_no_table_depends_on_the_size_of_the_parts(
    shared_run: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, large: bool
) -> None:
    monkeypatch.setattr("ranking.cascade.MIN_USERS", 20)
    monkeypatch.setattr("flows.list_candidates.LARGE_DAY", 100 if large else 10**9)
    wanted = made(shared_run, tmp_path / "whole")
    for number, (events, pairs, chunk) in enumerate([(300, 250, 60), (1, 1, 1000)]):
        monkeypatch.setattr("flows.build_features.PART_EVENTS", events)
        monkeypatch.setattr("flows.list_candidates.PART_PAIRS", pairs)
        monkeypatch.setattr("flows.score_day.CHUNK_PAIRS", chunk)
        monkeypatch.setattr("features.table.PART_EVENTS", events)
        found = made(shared_run, tmp_path / str(number))
        one, other = tables(wanted), tables(found)
        assert {name: table.equals(other[name]) for name, table in one.items()} == dict.fromkeys(one, True)
        for name in ("features/drift.json", "features/facts.json", "ranking/policy.json", "ranking/facts.json"):
            assert (found.run / name).read_bytes() == (wanted.run / name).read_bytes(), name
        assert len(files_of(found.run / "features" / "events.parquet")) > 5
        assert (len(files_of(found.run / "features" / "replay.parquet")) > 5) == large
    keeps = json.loads((found.run / "ranking" / "facts.json").read_text())["cascade"]
    assert (keeps is not None) == large, "the first model was there where the day is large"


def test_given_slates_are_judged_alike_whether_the_replay_kept_its_features(
    shared_run: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []
    for name, limit in (("small", 10**9), ("large", 100)):
        monkeypatch.setattr("flows.list_candidates.LARGE_DAY", limit)
        job = copied(shared_run, tmp_path / name, small_settings(ranking={"cascade_loss": 0.0}))
        shutil.rmtree(job.run / "features")
        perform(job, stages=3)
        slates = pl.read_parquet(job.run / "ranking" / "slates.parquet").select("user_id", "position", "concept_id")
        found.append(evaluate_slates(job, slates))
        kept = set(pl.read_parquet_schema(files_of(job.run / "features" / "replay.parquet")[0]))
        assert (len(kept) == 3) == (name == "large")
    assert json.dumps(found[0], default=str) == json.dumps(found[1], default=str)
