"""A reviewed run: what may be exported, what a redraw changes, what is learned from decisions, what passes unseen."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image

from contracts.decisions import Kind, Reason, Role
from contracts.errors import DataError, RunError, SettingsError
from contracts.redraw_jobs import list_jobs, read_job
from contracts.run_creatives import run_creatives
from contracts.settings import ApprovalSettings, LearningSettings
from contracts.store import file_hash
from flows.approve_unseen import approve_unseen
from flows.ask_redraw import request
from flows.choose_models import find_generator, use_version
from flows.command_line import execute
from flows.export_creatives import export
from flows.job import Job, database_of, job_of
from flows.learn_reviews import learn
from flows.open_reviews import hashed_creatives, open_log
from flows.redraw_creatives import draw_again, redraw
from generators.scorer import Reviewed
from generators.taste.look import picture_looks
from review.ad_sheets import from_csv
from review.archive import read_archive
from review.decisions import DecisionLog, Said
from tests.flows.small_run import perform


@pytest.fixture
def log(job: Job) -> Iterator[DecisionLog]:
    with open_log(job.run) as opened:
        yield opened


def say(log: DecisionLog, job: Job, kinds: dict[str, Kind], *, who: str = "ann", role: Role = Role.APPROVER) -> None:
    hashes = dict(hashed_creatives(job.run).select("creative_id", "file_hash").iter_rows())
    for name, kind in kinds.items():
        log.record(
            Said(
                reviewer=who, role=role, run_id=job.run_id, creative_id=name, file_hash=hashes[name], kind=kind,
                reason=Reason.TOO_DARK if kind is Kind.REJECT else None,
            )
        )  # fmt: skip


def passed(job: Job, count: int, *, sensitive: bool = False) -> list[str]:
    """Some creatives that passed every check, of ordinary or of sensitive concepts."""
    concepts = pl.read_parquet(job.run / "sources" / "concepts.parquet").filter(pl.col("sensitive") == sensitive)
    rows = run_creatives(job.run).filter(pl.col("checks").list.len() == 0)
    found = rows.join(concepts, on="concept_id", how="semi")["creative_id"].to_list()
    assert len(found) >= count
    return list(found[:count])


def scene_features(job: Job) -> pl.DataFrame:
    rows = run_creatives(job.run)
    scenes = np.stack([np.asarray(Image.open(job.run / name).convert("RGB"), np.uint8) for name in rows["scene"]])
    return rows.with_columns(lightness=pl.Series(picture_looks(scenes)[:, 0]))


def test_a_run_says_what_it_was_made_from(job: Job, tmp_path: Path) -> None:
    again = job_of(job.run)
    assert (again.data, again.run_id, again.settings) == (job.data.resolve(), job.run_id, job.settings)
    with pytest.raises(RunError, match="adloom run"):
        job_of(tmp_path)


def test_only_what_is_approved_is_exported_and_it_comes_back_whole(job: Job, log: DecisionLog, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no creative is approved"):
        export(job, log, tmp_path / "none.zip")
    first, second, refused = passed(job, 3)
    say(log, job, {first: Kind.APPROVE, second: Kind.APPROVE, refused: Kind.REJECT})
    told = export(job, log, tmp_path / "one.zip")
    export(job, log, tmp_path / "two.zip")
    assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "two.zip").read_bytes()
    held = read_archive(tmp_path / "one.zip")
    manifest = json.loads(held["manifest.json"])
    pictures = list(manifest["files"])
    assert told.creatives == 2
    files = dict(run_creatives(job.run).select("creative_id", "file").iter_rows())
    assert set(manifest["files"]) == {name for name in held if name.endswith((".png", ".jpg"))}
    for name, about in manifest["files"].items():
        path = job.run / files[about["creative_id"]]
        if not about["main"]:
            path = (
                path.parents[1]
                / "renditions"
                / about["creative_id"]
                / f"{about['width']}x{about['height']}{path.suffix}"
            )
        assert held[name] == path.read_bytes()
        assert name == name.lower()
    assert sum(about["main"] for about in manifest["files"].values()) == 2
    assert {one["creative_id"] for one in manifest["files"].values()} == {first, second}
    assert [(one["by"], one["role"]) for one in manifest["approvals"]] == [("ann", "approver")] * 2
    assert manifest["simulated"]
    assert manifest["policy_hash"]
    rows = from_csv(held["creatives.csv"])
    assert [row["file"] for row in rows] == sorted(pictures)
    for row in rows:
        assert row["synthetic"] == "true"
        assert f"utm_content={row['creative_id']}" in row["landing_url"]
        assert row["alt_text"]
    google = list(csv.DictReader(io.StringIO(held["google_ads.csv"].decode())))
    assert {row["Image"] for row in google} == set(pictures)


def test_a_changed_picture_refuses_the_whole_export_and_says_which(job: Job, log: DecisionLog, tmp_path: Path) -> None:
    good, spoilt = passed(job, 2)
    say(log, job, {good: Kind.APPROVE, spoilt: Kind.APPROVE})
    file = dict(run_creatives(job.run).select("creative_id", "file").iter_rows())[spoilt]
    Image.new("RGB", (320, 320), "red").save(job.run / file)
    with pytest.raises(DataError, match=f"{spoilt}: the picture has changed") as caught:
        export(job, log, tmp_path / "x.zip")
    assert good not in str(caught.value)
    assert not (tmp_path / "x.zip").exists()
    told = export(job, log, tmp_path / "x.zip", leave_out_stale=True)
    assert (told.creatives, [one.creative_id for one in told.left_out]) == (1, [spoilt])


def test_an_approval_that_was_taken_back_or_lacks_a_second_is_refused(
    job: Job, log: DecisionLog, tmp_path: Path
) -> None:
    (name,) = passed(job, 1)
    say(log, job, {name: Kind.APPROVE})
    log.undo("ann", Role.APPROVER)
    with pytest.raises(DataError, match="taken back"):
        export(job, log, tmp_path / "x.zip")
    say(log, job, {name: Kind.APPROVE})
    path = job.run / "sources" / "concepts.parquet"
    pl.read_parquet(path).with_columns(sensitive=pl.lit(value=True)).write_parquet(path)
    with pytest.raises(DataError, match="1 of 2 approvals"):
        export(job, log, tmp_path / "x.zip")
    say(log, job, {name: Kind.APPROVE}, who="bob", role=Role.REVIEWER)
    assert export(job, log, tmp_path / "x.zip").creatives == 1


def test_a_check_that_fails_by_now_is_refused(job: Job, log: DecisionLog, tmp_path: Path) -> None:
    (name,) = passed(job, 1)
    say(log, job, {name: Kind.APPROVE})
    path = job.run / "generators" / "creatives.parquet"
    table = pl.read_parquet(path)
    table.with_columns(checks=pl.lit(["low_contrast"], dtype=pl.List(pl.String))).write_parquet(path)
    with pytest.raises(DataError, match="fails low_contrast"):
        export(job, log, tmp_path / "x.zip")


def test_what_is_drawn_again_answers_the_reason_and_the_old_one_stays(job: Job) -> None:
    before = scene_features(job)
    dark = before.filter(pl.col("checks").list.len() == 0).sort("lightness").row(0, named=True)
    wanted = request(job.run, dark["creative_id"], [Reason.TOO_DARK, Reason.WRONG_MESSAGE], "ann")
    assert read_job(job.run, wanted.job_id).state == "waiting"
    done = draw_again(job, wanted)
    assert (done.state, done.done, len(done.made)) == ("done", 3, 3)
    after = scene_features(job)
    assert after.head(len(before)).equals(before)
    new = after.filter(pl.col("replaces") == dark["creative_id"])
    assert new["creative_id"].to_list() == list(done.made)
    assert new["lightness"].min() > dark["lightness"]
    concept = pl.read_parquet(job.run / "sources" / "concepts.parquet").filter(
        pl.col("concept_id") == dark["concept_id"]
    )
    headlines = concept["headline"][0].to_list()
    assert set(new["headline"]) == {headlines[1 % len(headlines)]}
    assert len({file_hash(job.run / file) for file in new["file"]}) == 3
    again = request(job.run, done.made[0], [Reason.OTHER], "ann")
    assert draw_again(job, again).made == tuple(f"{dark['creative_id']}~2{letter}" for letter in "abc")
    assert [one.state for one in list_jobs(job.run)] == ["done", "done"]


def test_a_redraw_that_cannot_be_done_says_why(job: Job) -> None:
    with pytest.raises(DataError, match="too_dark"):
        request(job.run, passed(job, 1)[0], [], "ann")
    with pytest.raises(DataError, match="no such creative"):
        request(job.run, "nothing", [Reason.OTHER], "ann")
    wanted = request(job.run, passed(job, 1)[0], [Reason.OTHER], "ann")
    (job.run / "job.json").unlink()
    with pytest.raises(RunError):
        redraw(job.run, wanted.job_id)
    failed = read_job(job.run, wanted.job_id)
    assert failed.state == "failed"
    assert "job.json" in failed.message


def review_by_lightness(log: DecisionLog, job: Job) -> pl.DataFrame:
    """Ann approves the lighter half of the pictures."""
    rows = scene_features(job)
    middle = rows["lightness"].median()
    say(log, job, {row["creative_id"]: Kind.APPROVE if row["lightness"] > middle else Kind.REJECT
                   for row in rows.iter_rows(named=True)})  # fmt: skip
    return rows


def test_learning_makes_a_version_that_draws_more_of_what_was_approved_and_one_can_go_back(
    job: Job, log: DecisionLog
) -> None:
    job = job.with_learning(LearningSettings(pool=48, least_decisions=10, step_kl=1.0))  # to be seen in few pictures
    rows = review_by_lightness(log, job)
    told = learn(job, log.table(), lambda *_: None)
    assert (told.decisions, told.stale) == (len(rows), 0)
    assert told.approval > told.approval_before
    assert told.diversity >= 0.97 - 1e-6
    assert told.likes[0][0].startswith("lightness")
    assert told.likes[0][1] > 0
    space = json.loads((job.run / "training" / "choice.json").read_text())["space_hash"]
    found = find_generator(job.models, space)
    assert found is not None
    assert found.name == told.version
    assert Reviewed.load(found) is not None
    perform(job)
    after = scene_features(job)
    assert after["lightness"].mean() > rows["lightness"].mean()
    assert not set(after["creative_id"]) & set(rows["creative_id"])
    # The pictures of the first round are gone; what they looked like is remembered by the hash of each file.
    say(log, job, {after["creative_id"][0]: Kind.APPROVE})
    again = learn(job, log.table(), lambda *_: None)
    assert again.decisions == len(rows) + 1
    assert [(one.generator, one.decisions, one.approved) for one in again.rounds] == [
        (told.went_from, len(rows), len(rows) // 2), (told.version, 1, 1)
    ]  # fmt: skip
    (row,) = json.loads((job.run / "evaluation" / "report.json").read_text())["reviews"]["rounds"]
    assert (row["generator"], row["approval"], row["diversity"]) == (told.went_from, (len(rows) // 2) / len(rows), 1.0)
    assert "Rounds of review" in (job.run / "evaluation" / "report.html").read_text()
    use_version(job.models, "generator", told.went_from)
    perform(job, stages=5)
    assert scene_features(job)["creative_id"].to_list() == rows["creative_id"].to_list()
    assert hashed_creatives(job.run)["file_hash"].to_list() == log.table()["file_hash"].to_list()[: len(rows)]


def test_a_decision_on_other_bytes_teaches_nothing(job: Job, log: DecisionLog) -> None:
    rows = review_by_lightness(log, job)
    for file in rows["file"][: len(rows) // 2]:
        Image.new("RGB", (320, 320), "red").save(job.run / file)
    told = learn(job, log.table(), lambda *_: None)
    assert (told.decisions, told.stale) == (len(rows) - len(rows) // 2, len(rows) // 2)


def test_too_few_decisions_or_all_of_one_kind_teach_nothing(job: Job, log: DecisionLog) -> None:
    names = passed(job, 12)
    say(log, job, dict.fromkeys(names[:3], Kind.APPROVE))
    with pytest.raises(DataError, match="3 decisions, 10 are needed"):
        learn(job, log.table(), lambda *_: None)
    say(log, job, dict.fromkeys(names, Kind.APPROVE))
    with pytest.raises(DataError, match="all 12 decisions are approvals"):
        learn(job, log.table(), lambda *_: None)
    many = job.with_learning(LearningSettings(least_decisions=13))
    with pytest.raises(DataError, match="13 are needed"):
        learn(many, log.table(), lambda *_: None)


def test_pictures_pass_unseen_only_where_past_decisions_bound_the_error(job: Job, log: DecisionLog) -> None:
    with pytest.raises(SettingsError, match="off"):
        approve_unseen(job, log, ApprovalSettings(), record=True)
    names = passed(job, 20)
    say(log, job, dict.fromkeys(names[:12], Kind.APPROVE))
    strict, loose = (ApprovalSettings(most_error=error, people_share=0.5) for error in (0.01, 0.97))
    assert approve_unseen(job, log, strict, record=True).recorded == 0
    tried = approve_unseen(job, log, loose, record=False)
    assert tried.approvals
    assert len(log.table()) == 12
    done = approve_unseen(job, log, loose, record=True)
    rows = log.table().filter(pl.col("reviewer") == "auto")
    assert {one.to_people for one in tried.approvals} == {True, False}
    assert len(rows) == done.recorded
    assert set(rows["creative_id"]) == {one.creative_id for one in tried.approvals if not one.to_people}
    assert not set(rows["creative_id"]) & set(names[:12])
    assert rows["comment"].str.contains("at most").all()
    assert approve_unseen(job, log, loose, record=True).recorded == 0


def test_the_commands_say_one_line_each_and_machines_get_json(
    job: Job, log: DecisionLog, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = passed(job, 2)
    say(log, job, {first: Kind.APPROVE, second: Kind.REJECT})
    say(log, job, {first: Kind.APPROVE, second: Kind.APPROVE}, who="bob")
    run = str(job.run)
    assert execute(["export", run, str(tmp_path / "x.zip"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["creatives"] >= 1
    assert execute(["trust", run, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["decisions"], told["disputed"]) == (4, [second])
    assert execute(["learn", run]) == 2
    assert "are needed" in capsys.readouterr().err
    assert execute(["auto-approve", run]) == 2
    assert "approval.most_error" in capsys.readouterr().err
    assert execute(["redraw", run]) == 2
    assert execute(["export", str(tmp_path / "nothing"), "x.zip"]) == 2
    assert "no such run" in capsys.readouterr().err
    assert database_of(job.runs).endswith("review.db")
