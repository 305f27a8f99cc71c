"""Turns checked tables into the space, interests, embeddings, and the ranker's rows for log, replay and today."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path
from typing import Any

import polars as pl

from contracts.store import write_json
from features.space import Space
from flows.fill_log import fill_log
from flows.find_candidates import Finder, spaced
from flows.job import Job, Stage
from flows.list_candidates import write_candidates
from flows.measure_drift import drift_of
from flows.part_users import PART_EVENTS, by_user, files_of, write_parts
from flows.place_users import place_users
from flows.refit_space import choose_space, welcomed
from flows.score_day import Day
from ranking.propensities import estimable
from ranking.split import boundaries

ESTIMATED_PAIRS = 2_000_000
"""Candidates of held-out slates beyond which missing propensities are not estimated."""
EVENTS = "events.parquet"
"""Of the sources stage, and the same by user."""
RECALL_USERS = 200
"""Of so many users the ranker scores all concepts, to see what retrieval has left out."""


def work(job: Job, folder: Path) -> None:
    """Writes space/, events (by user), interests, embeddings, concept_vectors, logged, replay, daily, drift.json and
    facts.json.

    The log and its replay are seen by the places that new items had before the test period; today by those of now. Users
    are gone through part by part, so that memory holds the log and some users' share of all else.
    """
    concepts, impressions = (
        pl.read_parquet(job.run / "sources" / f"{name}.parquet") for name in ("concepts", "impressions")
    )
    settings = job.settings.features
    test_from = boundaries(impressions, job.settings.ranking).test_from
    write_parts(folder / EVENTS, by_user(pl.scan_parquet(job.run / "sources" / EVENTS), PART_EVENTS))
    events = pl.scan_parquet(files_of(folder / EVENTS))
    past = events.filter(pl.col("at") < test_from)
    space, origin = choose_space(job.models, events, past, concepts, settings, made_by=job.run_id)
    space.save(folder / "space")
    before, now = (welcomed(space, log, concepts, settings) for log in (past, events))
    as_of = last_moment(events, impressions) + dt.timedelta(microseconds=1)
    today = place_users(job, folder / EVENTS, now, as_of, folder)
    before_vectors, concept_vectors = (vector_table(one, concepts) for one in (before, now))
    concept_vectors.write_parquet(folder / "concept_vectors.parquet")

    then = Day.of(events, impressions, concepts, before, before_vectors, job.settings)
    last = then.seen_from(now, concept_vectors)
    fill_log(job, then, folder / EVENTS, impressions, folder).write_parquet(folder / "logged.parquet")
    finder = Finder.of(events, impressions, concepts, before_vectors, test_from, job.settings)
    moments = today.select("user_id", at=pl.lit(as_of, dtype=pl.Datetime("us", "UTC")))
    pairs = write_candidates(job, folder / "daily.parquet", finder, last, folder / EVENTS, moments)
    tested = impressions.filter(pl.col("at") >= test_from)
    slates = tested.select("user_id", "at").unique().sort("user_id", "at")
    if can_be_replayed(tested, len(slates) * min(job.settings.ranking.candidates, len(concepts))):
        write_candidates(job, folder / "replay.parquet", finder, then, folder / EVENTS, slates)
    clicks = None
    if finder.cuts:
        some = spaced(moments, RECALL_USERS)
        whole = finder.retrieval.everything(some)
        files = files_of(folder / "daily.parquet")
        kept = pl.scan_parquet(files).join(some.lazy(), on="user_id", how="semi").collect()
        kept = kept.select("user_id", "concept_id", kept=pl.lit(True))
        whole = whole.join(kept, on=["user_id", "concept_id"], how="left").with_columns(pl.col("kept").fill_null(False))
        last.table(whole).write_parquet(folder / "whole.parquet")
        clicks = finder.clicks_kept(tested, before)
    del then, last
    told = facts(space, origin, as_of, test_from, len(today), pairs, finder, clicks)
    del finder
    write_json(folder / "drift.json", drift_of(now, events, settings))
    write_json(folder / "facts.json", told)


def vector_table(space: Space, concepts: pl.DataFrame) -> pl.DataFrame:
    """Where the concepts stand: concept_id, vector."""
    vectors = pl.Series(space.place_concepts(concepts).tolist(), dtype=pl.List(pl.Float32))
    return concepts.select("concept_id").with_columns(vector=vectors)


def last_moment(*tables: pl.DataFrame | pl.LazyFrame) -> dt.datetime:
    """The latest `at` of the tables, of which at least one has a row."""
    found = (table.lazy().select(pl.col("at").max()).collect().item() for table in tables)
    return max(at for at in found if isinstance(at, dt.datetime))


def can_be_replayed(impressions: pl.DataFrame, pairs: int) -> bool:
    """Whether the log carries the propensity of every choice; or of none, so that they may be estimated, which is done where
    slates are whole and `pairs`, the most candidates they may have together, fit into memory."""
    missing = impressions["propensity"].null_count() if "propensity" in impressions.columns else len(impressions)
    if missing == 0:
        return len(impressions) > 0
    return missing == len(impressions) and pairs <= ESTIMATED_PAIRS and estimable(impressions)


def facts(
    space: Space,
    origin: str,
    as_of: dt.datetime,
    test_from: dt.datetime,
    users: int,
    pairs: int,
    finder: Finder,
    clicks: dict[str, Any] | None,
) -> dict[str, Any]:
    """What later stages and the report need to know of this stage."""
    return {
        "space_hash": space.hash,
        "space_origin": origin,
        "dimensions": space.dimensions,
        "as_of": as_of.isoformat(),
        "test_from": test_from.isoformat(),
        "users": users,
        "pairs": pairs,
        "concepts": len(finder.retrieval.vectors),
        "clicks_kept": clicks,
    }


def say(folder: Path) -> str:
    """Users placed and pairs prepared."""
    known = json.loads((folder / "facts.json").read_text())
    found = json.loads((folder / "drift.json").read_text())
    advice = "" if found["advice"] == "keep" else f"; refit the space: {'; '.join(found['reasons'])}"
    kept = known["clicks_kept"]
    share = "none" if not kept or kept["share"] is None else f"{kept['share']:.1%}"
    cut = f", {share} of {kept['wanted']:,} later clicks among them" if kept else ""
    return (
        f"{known['users']:,} users in {known['dimensions']} dimensions (space {known['space_origin']}), "
        f"{known['pairs']:,} pairs with {known['concepts']:,} concepts{cut}{advice}"
    )


_DECISIVE = {
    *("candidates", "covisit_share", "popularity_share", "frequency_cap", "frequency_days", "advertiser_budgets"),
    *("budget_days", "advertiser_floors", "validation_share", "calibration_share", "test_share"),
}

STAGE = Stage(
    name="features",
    reads=("sources",),
    settings=lambda settings: {
        "features": settings.features.model_dump(mode="json"),
        "ranking": settings.ranking.model_dump(mode="json", include=_DECISIVE),
    },
    packages=("features", "ranking"),
    libraries=("polars", "numpy", "scipy", "numba"),
    work=work,
    say=say,
)
