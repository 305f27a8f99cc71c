"""A shift planted between two runs marks the later one to be looked at; two runs on equal people do not."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import polars as pl
import pytest

from flows.compare_nights import PROFILE, before_of, compare
from flows.job import Job


@pytest.fixture
def second(job: Job) -> Job:
    """A run with one before it, of equal people."""
    earlier = job.runs / f"{job.run_id.rpartition('-')[0]}-00000000"
    shutil.copytree(job.run, earlier)
    (job.run / "before.json").unlink()
    return job


def profile_of(run: Path) -> Path:
    return run / "evaluation" / PROFILE


def shifted(path: Path, column: str, by: float) -> None:
    table = pl.read_parquet(path)
    table.with_columns(pl.col(column) + by).write_parquet(path)


def test_the_first_run_of_a_folder_is_compared_with_nothing(job: Job) -> None:
    assert "no finished run" in compare(job)["absent"]
    report = json.loads((job.run / "evaluation" / "report.json").read_text())
    assert "no finished run" in report["nights"]["absent"]


def test_equal_people_are_no_shift(second: Job) -> None:
    found = compare(second)
    assert found["before"].endswith("-00000000")
    assert found["look"] == []
    assert len(found["values"]) > 40
    assert all(row["psi"] == pytest.approx(0, abs=1e-9) for row in found["values"])
    assert found["calibration"]["before"] == found["calibration"]["now"]


def test_a_planted_shift_of_a_feature_and_of_the_score_is_named(second: Job) -> None:
    spread = pl.read_parquet(second.run / "ranking" / "scores.parquet")["score"].std()
    assert isinstance(spread, float)
    shifted(second.run / "features" / "daily.parquet", "session_minutes", 1e6)
    shifted(second.run / "ranking" / "scores.parquet", "score", 2 * spread)
    found = compare(second)
    assert {row["name"] for row in found["values"] if row["moved"]} == {"session_minutes", "score"}
    assert any(line.startswith("feature session_minutes has moved (PSI ") for line in found["look"])
    assert any(line.startswith("score score has moved (PSI ") for line in found["look"])


def test_the_run_before_is_found_once_by_the_data_and_not_by_a_clock(second: Job) -> None:
    earlier = second.runs / f"{second.run_id.rpartition('-')[0]}-00000000"
    later = earlier.with_name(earlier.name.replace("00000000", "11111111"))
    shutil.copytree(earlier, later)
    told = json.loads(profile_of(later).read_text())
    profile_of(later).write_text(json.dumps({**told, "as_of": "2999-01-01T00:00:00+00:00"}))
    stranger = second.runs / "world-two-22222222"
    shutil.copytree(earlier, stranger)
    found = before_of(second)
    assert found["run"] == earlier.name, "neither a later day nor another folder's"
    shutil.rmtree(earlier)
    assert before_of(second) == found, "the report can be made again when that run is gone"


def test_a_change_of_approval_is_seen(second: Job) -> None:
    path = second.run / "before.json"
    before_of(second)
    told = json.loads(path.read_text())
    for approved, moved in ((55, True), (88, False)):
        runs = [{"run": "one", "approved": 90, "decided": 100}, {"run": "two", "approved": approved, "decided": 100}]
        path.write_text(json.dumps({**told, "approvals": runs}))
        found = compare(second)
        assert found["approval"]["moved"] == moved
        assert any("reviewers approve 55%, not 90%" in line for line in found["look"]) == moved
