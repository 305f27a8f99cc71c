"""The whole batch on a small planted world: six stages, skipped when nothing changed, resumed when killed."""

from __future__ import annotations

import functools
import json
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
from PIL import Image

from contracts.errors import DataError
from contracts.store import StageResult, tree_hashes
from contracts.tables import EVERYONE, GENERAL_COHORT, STAGE_TABLES
from flows.choose_ranker import InUse, in_use, keep, use
from flows.command_line import execute
from flows.explain_score import explain
from flows.gather_audience import gather
from flows.job import Job, Stage
from flows.prepare_review import prepare_review
from flows.run_batch import STAGES, finished_stages, run_batch
from flows.score_day import Day
from ranking.explanations import reasons
from ranking.policy import Policy
from ranking.ranker import Ranker, train
from ranking.slates import sample_slates
from ranking.split import split
from tests.flows.small_run import copied
from tests.flows.small_run import small_settings as settings


def quiet(number: int, stage: Stage, result: StageResult | None) -> None:
    pass


@pytest.fixture(scope="module")
def finished(shared_run: Job, tmp_path_factory: pytest.TempPathFactory) -> Job:
    return copied(shared_run, tmp_path_factory.mktemp("batch"))


@pytest.mark.usefixtures("prefect_server")
def test_what_changed_is_done_again_as_one_flow_run_that_leaves_the_figures(job: Job) -> None:
    other = Job(job.data, settings(generators={"batch": 12, "renders": 3}), job.runs, job.models)
    told: list[tuple[int, bool]] = []
    results = run_batch(other, lambda number, _, result: told.append((number, result is None)))
    assert [result.name for result in results] == [stage.name for stage in STAGES]
    assert [result.skipped for result in results] == [True] * 4 + [False] * 2
    assert told[-4:] == [(4, True), (4, False), (5, True), (5, False)]
    assert all(result.skipped for result in run_batch(other, quiet))
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        assert other.run_id in [run.name for run in client.read_flow_runs()]
        left = {artifact.key for artifact in client.read_artifacts()}
    assert {"intake", "figures", "report"} <= left


@pytest.mark.usefixtures("prefect_server")
def test_a_fault_in_the_data_ends_the_flow_run_as_one_line(job: Job, capsys: pytest.CaptureFixture[str]) -> None:
    data = Path(shutil.copytree(job.data, job.runs.parent / "world"))
    (data / "events.parquet").write_bytes(b"")
    assert execute(["run", str(data), "--out", str(job.runs)]) == 2
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1
    assert "events.parquet: is empty" in captured.err
    assert "Traceback" not in captured.err + captured.out


def test_every_table_keeps_its_contract(finished: Job) -> None:
    where = {"rejected_rows": "sources", "interests": "features", "embeddings": "features", "scores": "ranking",
             "slates": "ranking", "creatives": "generators", "creative_checks": "generators", "renditions": "generators"}  # fmt: skip
    assert set(STAGE_TABLES) - set(where) == {"decisions"}, "those stand in the review database, not in the run"
    for name, stage in where.items():
        assert STAGE_TABLES[name].is_valid(pl.read_parquet(finished.run / stage / f"{name}.parquet")), name


def test_a_second_run_skips_every_stage(finished: Job) -> None:
    assert all(result.skipped for result in run_batch(finished, quiet))


def test_a_changed_setting_redoes_only_what_depends_on_it(finished: Job) -> None:
    other = Job(finished.data, settings(evaluation={"bootstraps": 60}), finished.runs, finished.models)
    assert [result.name for result in finished_stages(other, quiet)] == [stage.name for stage in STAGES[:-1]]


def test_people_without_consent_get_nothing_of_their_own(finished: Job) -> None:
    users = pl.read_parquet(finished.data / "users.parquet")
    refused = set(users.filter(~pl.col("personalise"))["user_id"])
    assert refused
    for name in ("interests", "embeddings"):
        assert not refused & set(pl.read_parquet(finished.run / "features" / f"{name}.parquet")["user_id"])
    slates = pl.read_parquet(finished.run / "ranking" / "slates.parquet")
    assert not refused & set(slates["user_id"])
    assert EVERYONE in set(slates["user_id"])
    assert not refused & set(pl.read_parquet(finished.run / "generators" / "cohorts.parquet")["user_id"])


def test_every_concept_in_a_slate_has_a_general_creative_and_every_creative_a_file(finished: Job) -> None:
    creatives = pl.read_parquet(finished.run / "generators" / "creatives.parquet")
    slates = pl.read_parquet(finished.run / "ranking" / "slates.parquet")
    assert set(slates["concept_id"]) == set(creatives.filter(pl.col("cohort") == -1)["concept_id"])
    for row in creatives.iter_rows(named=True):
        assert (finished.run / "generators" / row["file"]).is_file()


def test_every_creative_that_passed_is_there_in_every_size_or_the_size_is_named(finished: Job) -> None:
    home = finished.run / "generators"
    passed = pl.read_parquet(home / "creatives.parquet").filter(pl.col("checks").list.len() == 0)["creative_id"]
    sizes = pl.read_parquet(home / "renditions.parquet")
    left_out = json.loads((home / "sizes_left_out.json").read_text())
    made = set(sizes.select("creative_id", "format").iter_rows())
    lacking = {(one["creative_id"], one["format"]) for one in left_out}
    assert made | lacking == {(name, size) for name in passed for size in ("300x250", "320x50")}
    assert not made & lacking
    assert made
    for row in sizes.iter_rows(named=True):
        path = home / row["file"]
        assert path.parent == home / "renditions" / row["creative_id"], "where the export looks for it"
        assert path.stat().st_size == row["bytes"]
        with Image.open(path) as opened:
            assert opened.size == (row["width"], row["height"])


def test_a_brand_kit_is_obeyed_and_a_wrong_one_stops_the_night_before_it_begins(finished: Job, tmp_path: Path) -> None:
    data = shutil.copytree(finished.data, tmp_path / "world")
    job = Job(data, finished.settings, tmp_path / "runs", finished.models)
    (data / "brands.toml").write_text('["*"]\ncolor = "#112233"\n')
    with pytest.raises(DataError, match=r"color: unknown key.*colours"):
        run_batch(job, quiet)
    import flows.draw_batches as drawing

    concepts = pl.read_parquet(finished.run / "sources" / "concepts.parquet")
    slates = pl.read_parquet(finished.run / "ranking" / "slates.parquet")
    before = job.input_hashes
    (data / "brands.toml").write_text('["*"]\ncolours = ["#112233"]\nforbidden_colours = ["#ff00ff"]\n')
    plain = concepts.with_columns(colours=pl.lit(None, dtype=pl.List(pl.String)))
    again = Job(data, finished.settings, finished.runs, finished.models)
    goods, _ = drawing.ready(again, plain, slates)
    assert {one.copy.colours for one in goods.values()} == {("#112233",)}
    assert drawing.checks_of(again).forbidden_colours["*"] == ("#ff00ff",)
    assert again.input_hashes != before, "a changed kit is another run"


def test_a_concept_that_cannot_be_set_is_named_and_does_not_stop_the_night(finished: Job) -> None:
    import flows.draw_batches as drawing

    concepts = pl.read_parquet(finished.run / "sources" / "concepts.parquet")
    slates = pl.read_parquet(finished.run / "ranking" / "slates.parquet")
    poor, gone = sorted(slates["concept_id"].unique())[:2]
    spoilt = concepts.with_columns(
        headline=pl.when(pl.col("concept_id") == poor).then(pl.lit(["\u4f60\u597d"])).otherwise("headline"),
        product_image=pl.when(pl.col("concept_id") == gone).then(pl.lit("images/gone.png")).otherwise("product_image"),
    )
    goods, set_aside = drawing.ready(finished, spoilt, slates)
    assert set(set_aside) == {poor, gone}
    assert "U+4F60" in str(set_aside[poor])
    assert "gone.png" in str(set_aside[gone])
    assert set(goods) | set(set_aside) == set(slates["concept_id"])
    drawable = concepts.filter(pl.col("concept_id").is_in(list(goods)))
    audience = gather(finished, drawable, slates, None, renders=50)
    assert not {poor, gone} & set(audience.renders["concept_id"])


def test_fewer_people_than_a_cohort_needs_get_no_picture_of_their_own(finished: Job) -> None:
    concepts = pl.read_parquet(finished.run / "sources" / "concepts.parquet")
    slates = pl.read_parquet(finished.run / "ranking" / "slates.parquet")
    people = slates.filter(pl.col("user_id") != EVERYONE)["user_id"].unique().sort()
    least = finished.settings.generators.min_cohort_users
    for count, drawn in ((least - 1, False), (least, True)):
        some = slates.filter(pl.col("user_id").is_in([EVERYONE, *people.head(count)]))
        audience = gather(finished, concepts, some, None, renders=50)
        assert audience.users["cohort"].n_unique() == 1
        assert len(audience.users) == count
        assert (len(audience.renders) > 0) == drawn
        assert (len(audience.worth) > 0) == drawn


def test_the_report_tells_what_the_next_renders_would_buy(finished: Job) -> None:
    told = json.loads((finished.run / "evaluation" / "report.json").read_text())["budget"]
    worth = pl.read_parquet(finished.run / "generators" / "worth.parquet")
    renders = pl.read_parquet(finished.run / "generators" / "renders.parquet")
    assert worth["expected_extra_clicks"].is_sorted(descending=True)
    assert worth.head(len(renders)).equals(renders)
    assert told["extra_clicks"] == pytest.approx(renders["expected_extra_clicks"].sum())
    after = worth.slice(len(renders), 100)
    assert told["next"]["renders"] == len(after) > 0
    assert told["next"]["extra_clicks"] == pytest.approx(after["expected_extra_clicks"].sum())
    assert f"The next {len(after)} would add" in (finished.run / "evaluation" / "report.html").read_text()


def test_the_report_gives_a_verdict_and_stands_alone(finished: Job) -> None:
    report = json.loads((finished.run / "evaluation" / "report.json").read_text())
    assert report["simulated"]
    assert report["verdict"]["outcome"] in {"ship", "hold", "the data cannot say"}
    page = (finished.run / "evaluation" / "report.html").read_text()
    assert report["verdict"]["sentence"].split(": ", 1)[1][1:40] in page
    assert 'src="http' not in page


def test_retrieval_tells_what_it_loses_and_slates_reproduce_from_what_is_stored(finished: Job, tmp_path: Path) -> None:
    few = settings(ranking={"candidates": 8, "advertiser_floors": {"Open Mile": 0.22}, "advertiser_slots": 1})
    job = Job(finished.data, few, tmp_path / "runs", tmp_path / "models")
    for stage in STAGES[:3]:
        job.store.perform(stage.key(job), functools.partial(stage.work, job))
    clicks = json.loads((job.run / "features" / "facts.json").read_text())["clicks_kept"]
    known = json.loads((job.run / "ranking" / "facts.json").read_text())
    assert 8 / 47 < clicks["share"] < 1  # better than chance
    assert 8 / 47 < known["best_kept"]["share"] < 1
    assert f"{clicks['share']:.1%} of {clicks['wanted']:,} later clicks" in STAGES[1].say(job.run / "features")
    assert f"retrieval kept {known['best_kept']['share']:.1%}" in STAGES[2].say(job.run / "ranking")
    assert known["boosts"]["Open Mile"] > 0
    scores, slates = (pl.read_parquet(job.run / "ranking" / f"{name}.parquet") for name in ("scores", "slates"))
    concepts = pl.read_parquet(job.run / "sources" / "concepts.parquet")
    policy = Policy.load(job.run / "ranking" / "policy.json")
    again = sample_slates(scores, concepts, policy=policy, seed=known["draw_seed"])
    assert again.equals(slates.filter(pl.col("user_id") != EVERYONE))
    owners = slates.join(concepts, on="concept_id")
    assert not owners.select("user_id", "advertiser").is_duplicated().any()


def ranked(finished: Job, home: Path, **ranking: object) -> Job:
    job = Job(finished.data, settings(ranking=ranking), home / "runs", home / "models")
    for stage in STAGES[:3]:
        job.store.perform(stage.key(job), functools.partial(stage.work, job))
    return job


def test_a_large_day_is_scored_some_users_at_a_time_with_the_same_scores(
    finished: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flows.list_candidates.LARGE_DAY", 100)
    monkeypatch.setattr("flows.score_day.CHUNK_PAIRS", 500)
    job = ranked(finished, tmp_path, cascade_loss=0.0)
    assert pl.read_parquet(job.run / "features" / "daily.parquet").columns == ["user_id", "at", "concept_id"]
    for name in ("scores", "slates"):
        small, large = (pl.read_parquet(one.run / "ranking" / f"{name}.parquet") for one in (finished, job))
        if name == "scores":
            assert large.equals(small)
        else:
            assert len(large) == len(small)


def test_a_first_model_thins_out_a_large_day_and_the_replay_alike(
    finished: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flows.list_candidates.LARGE_DAY", 100)
    monkeypatch.setattr("flows.list_candidates.PART_PAIRS", 500)
    monkeypatch.setattr("ranking.cascade.MIN_USERS", 20)
    job = ranked(finished, tmp_path, cascade_loss=0.5)
    first = json.loads((job.run / "ranking" / "facts.json").read_text())["cascade"]
    assert f"a first model keeps {first['keep']} of" in STAGES[2].say(job.run / "ranking")
    assert Policy.load(job.run / "ranking" / "policy.json").cascade_hash == first["hash"]
    for name in ("scores", "replayed"):
        small, large = (pl.read_parquet(one.run / "ranking" / f"{name}.parquet") for one in (finished, job))
        keys = [key for key in ("user_id", "at", "concept_id") if key in small.columns]
        assert large.join(small, on=small.columns, how="anti").is_empty()  # scores are the ranker's own
        assert (large.group_by(keys[:-1]).len()["len"] == first["keep"]).all()
    scores = pl.read_parquet(job.run / "ranking" / "scores.parquet")
    daily = pl.read_parquet(job.run / "features" / "daily.parquet")
    assert daily.columns == ["user_id", "at", "concept_id"]
    user, concept, score, chance = scores.sort("user_id", "score", descending=[False, True]).row(0)
    found = explain(job, user, concept)
    assert (found.score, found.click_chance) == (score, chance)
    assert found.base + sum(one.adds for one in found.reasons) == pytest.approx(score)
    assert found.candidates == daily.filter(pl.col("user_id") == user).height > first["keep"]
    cut = daily.join(scores, on=["user_id", "concept_id"], how="anti").filter(pl.col("user_id") == user)["concept_id"][
        0
    ]
    below = explain(job, user, cut)  # what the first model left out has reasons too
    assert below.place > found.place
    assert below.base + sum(one.adds for one in below.reasons) == pytest.approx(below.score)


def test_a_concept_without_history_is_scored_by_what_is_known_and_never_by_a_silent_zero(finished: Job) -> None:
    day, ranker = Day.read(finished), Ranker.load(finished.run / "ranking" / "ranker")
    known = day.others["concepts"]
    new = known.head(1).with_columns(concept_id=pl.lit("never shown"), advertiser=pl.lit("a new one"))
    day = replace(day, others={**day.others, "concepts": pl.concat([known, new])})
    daily = pl.read_parquet(finished.run / "features" / "daily.parquet", columns=["user_id", "at"])
    pairs = daily.unique().sort("user_id").with_columns(concept_id=pl.lit("never shown"))
    rows = day.rows(pairs)
    assert (rows["concept_shown"] == 0).all()
    assert rows["concept_click_rate"].is_between(0.01, 0.5).all()  # the prior's
    assert rows["concept_age"].null_count() == rows["hours_since_user_concept_shown"].null_count() == len(rows)
    assert rows["concept_slot"].null_count() == len(rows)
    chance = ranker.scores(rows)["click_chance"]
    usual = pl.read_parquet(finished.run / "ranking" / "scores.parquet")["click_chance"]
    assert chance.is_between(usual.min(), usual.max()).all()
    assert chance.n_unique() > len(rows) / 4  # people still differ by what they browsed


def test_a_run_killed_inside_the_ranking_ends_in_the_same_bytes(finished: Job, tmp_path: Path) -> None:
    stage = STAGES[2]
    straight, killed = (
        copied(finished, tmp_path / name, settings(ranking={"rounds": 12})) for name in ("straight", "killed")
    )
    straight.store.perform(stage.key(straight), functools.partial(stage.work, straight))
    script = f"""
import os, signal
from pathlib import Path
import flows.rank_concepts as ranking
from contracts.settings import Settings
from flows.job import Job
ranking.sample_slates = lambda *args, **kwargs: os.kill(os.getpid(), signal.SIGKILL)
settings = Settings.model_validate_json({killed.settings.model_dump_json()!r})
job = Job(Path({str(killed.data)!r}), settings, Path({str(killed.runs)!r}), Path({str(killed.models)!r}))
job.store.perform(ranking.STAGE.key(job), lambda folder: ranking.work(job, folder))
"""
    ended = subprocess.run([sys.executable, "-c", script], check=False, cwd=Path(__file__).parents[2])
    assert ended.returncode == -signal.SIGKILL
    assert (killed.run / "ranking.part" / "ranker").is_dir()
    assert (killed.models / "ranker" / "in_use.json").read_bytes() != (
        finished.models / "ranker" / "in_use.json"
    ).read_bytes()  # its ranker came into use before it died
    resumed = killed.store.perform(stage.key(killed), functools.partial(stage.work, killed))
    assert not resumed.skipped
    one, other = (tree_hashes(job.run / "ranking") | tree_hashes(job.models / "ranker") for job in (straight, killed))
    del one["manifest.json"], other["manifest.json"]  # it knows how long the work took
    assert one == other
    assert "slates.parquet" in one


def test_a_batch_that_keeps_the_old_ranker_says_so(finished: Job, tmp_path: Path) -> None:
    # the one in use was told the clicks of the last days, so that no honest one is as good on them
    own = Ranker.load(finished.run / "ranking" / "ranker")
    logged = split(pl.read_parquet(finished.run / "features" / "logged.parquet"), finished.settings.ranking)
    last = logged.filter(pl.col("part") == "test")
    told = [last.with_columns(part=pl.lit(part, logged["part"].dtype)) for part in ("train", "calibration")]
    by_heart = finished.settings.ranking.model_copy(
        update={"learning_rate": 0.3, "leaves": 60, "min_rows_per_leaf": 1, "l2": 0.0, "rounds": 60}
    )
    learned = train(pl.concat([logged.filter(pl.col("part") == "train"), *told]), own.features, by_heart, 7)
    told_all = replace(learned, meta={**learned.meta, **{key: own.meta[key] for key in ("known_until", "space_hash")}})
    job = copied(finished, tmp_path, settings(ranking={"rounds": 20}))
    version = keep(told_all, job.models, made_by="a test")
    use(job.models, version, own.meta["space_hash"])
    for stage in STAGES[:3]:
        job.store.perform(stage.key(job), functools.partial(stage.work, job))
    facts = json.loads((job.run / "ranking" / "facts.json").read_text())
    assert facts["choice"]["kept"]
    assert f"ranker {version} stays in use: " in STAGES[2].say(job.run / "ranking")
    assert "is worse beyond noise" in STAGES[2].say(job.run / "ranking")
    assert facts["ranker_hash"] == told_all.hash
    assert in_use(job.models, own.meta["space_hash"]) == InUse(version)
    assert (
        job.models / "ranker" / facts["choice"]["sentence"].split(": ")[1][:12]
    ).is_dir()  # the new one is there to compare


def test_a_drawing_stopped_halfway_ends_in_the_same_bytes(finished: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    import flows.draw_batches as drawing

    stage = STAGES[4]
    job = Job(finished.data, settings(generators={"batch": 12, "renders": 3}), finished.runs, finished.models)
    straight = tree_hashes(job.store.perform(stage.key(job), lambda folder: stage.work(job, folder)).folder / "images")
    other = Job(
        finished.data,
        settings(generators={"batch": 12, "renders": 3, "max_cohorts": 11}),
        finished.runs,
        finished.models,
    )
    made: list[int] = []
    whole = drawing.make

    def stop_after_two(*args: object, **kwargs: object) -> object:
        if len(made) == 2:
            raise KeyboardInterrupt
        made.append(1)
        return whole(*args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(drawing, "make", stop_after_two)
    with pytest.raises(KeyboardInterrupt):
        other.store.perform(stage.key(other), lambda folder: stage.work(other, folder))
    assert len(list((other.run / "generators.part" / "done").iterdir())) == 2
    monkeypatch.setattr(drawing, "make", whole)
    resumed = other.store.perform(stage.key(other), lambda folder: stage.work(other, folder))
    assert tree_hashes(resumed.folder / "images") == straight


def test_a_score_is_explained_by_parts_that_sum_to_it_and_an_unknown_one_by_a_reason(finished: Job) -> None:
    scores = pl.read_parquet(finished.run / "ranking" / "scores.parquet")
    user, concept, score, chance = scores.row(0)
    found = explain(finished, user, concept)
    assert found.score == score
    assert found.click_chance == chance
    assert found.base + sum(one.adds for one in found.reasons) == pytest.approx(score)
    assert all(one.words for one in found.reasons)
    with pytest.raises(DataError, match="was not among the"):
        explain(finished, user, "no such concept")
    with pytest.raises(DataError, match="has no score"):
        explain(finished, "nobody", concept)


def test_the_report_says_which_ranker_is_used_and_what_it_goes_by(finished: Job) -> None:
    report = json.loads((finished.run / "evaluation" / "report.json").read_text())
    assert "is the first ranker of this space" in report["ranker"]["sentence"]
    assert sum(one["share"] for one in report["explanations"]["importance"]) == pytest.approx(1.0)
    assert report["calibration"]["days"]
    assert "What the ranker goes by" in (finished.run / "evaluation" / "report.html").read_text()


def test_the_review_pages_are_told_why_a_cohort_gets_a_concept_and_what_it_saw_so_far(
    finished: Job, tmp_path: Path
) -> None:
    run = Path(shutil.copytree(finished.run, tmp_path / "runs" / finished.run_id))
    assert prepare_review(run, finished.data)
    told = pl.read_parquet(run / "review" / "reasons.parquet")
    drawn = pl.read_parquet(run / "generators" / "creatives.parquet").select("cohort", "concept_id").unique()
    general = told.filter(pl.col("cohort") == GENERAL_COHORT)
    assert set(told.select("cohort", "concept_id").unique().rows()) <= set(drawn.rows())
    assert len(general) > 0
    assert told["words"].str.len_chars().min() > 0  # type: ignore[operator]

    concept = general["concept_id"][0]
    ranker = Ranker.load(run / "ranking" / "ranker")
    rows = pl.read_parquet(run / "features" / "daily.parquet").filter(pl.col("concept_id") == concept)
    added = [{one.feature: one.adds for one in reasons(ranker, rows[at])[1]} for at in range(len(rows))]
    means = sorted(abs(sum(one[name] for one in added) / len(added)) for name in ranker.features)
    mine = sorted(general.filter(pl.col("concept_id") == concept)["adds"].abs())
    assert mine == pytest.approx(means[-len(mine) :], abs=1e-9), "the largest mean contributions, row by row"

    controls = pl.read_parquet(run / "review" / "controls.parquet")
    assert set(controls["concept_id"]) == set(drawn["concept_id"])
    assert all((run / file).is_file() for file in controls["file"])
    before = (run / "review" / "manifest.json").stat().st_mtime_ns
    assert prepare_review(run, finished.data)
    assert (run / "review" / "manifest.json").stat().st_mtime_ns == before, "up to date: nothing is done"
    (run / "ranking" / "manifest.json").unlink()
    assert not prepare_review(run, finished.data)
