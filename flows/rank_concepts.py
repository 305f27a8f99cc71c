"""Turns ranking rows into a ranker, today's scores and slates, and what the new policy would have done in the log."""

from __future__ import annotations

import datetime as dt
import functools
import json
from pathlib import Path
from typing import Any

import polars as pl

from contracts.seeds import seed_of
from contracts.settings import Settings
from contracts.store import write_json
from contracts.tables import Scores, Slates
from features.glossary import features_of
from flows.job import Job, Stage
from flows.learn_ranker import explained, learn, rival_of
from flows.part_users import files_of, made_of, read_parts, write_parts
from flows.score_day import Day, is_large, learn_cascade, replayed, scores_of
from ranking.candidates import kept_share
from ranking.eligibility import Eligibility, eligible
from ranking.frames import Floats
from ranking.policy import Policy
from ranking.popularity import popularity
from ranking.propensities import estimated_propensities
from ranking.ranker import Ranker
from ranking.replay import logged_policy
from ranking.shares import boosted
from ranking.slates import general_slate, sample_slates
from ranking.split import split


def work(job: Job, folder: Path) -> None:
    """Writes ranker/, explained, scores, slates and tested (the held-out log as ranker and policy see it), and facts.json."""
    settings = job.settings.ranking
    features = job.run / "features"
    concepts = pl.read_parquet(job.run / "sources" / "concepts.parquet")
    logged = split(pl.read_parquet(features / "logged.parquet"), settings)
    choice = learn(job, logged, folder)
    ranker = choice.ranker
    ranker.save(folder / "ranker")
    rows = logged.filter(pl.col("part") == "test")
    logged = logged.select("concept_id", "slot", "clicked", "part")
    write_json(folder / "explained.json", explained(ranker, rows, job.settings.seed))
    held_out = tested(rows, logged.filter(pl.col("part") != "test"), concepts, ranker)
    del rows

    known = json.loads((features / "facts.json").read_text())
    as_of, test_from = (dt.datetime.fromisoformat(known[name]) for name in ("as_of", "test_from"))
    daily, scores = features / "daily.parquet", folder / "scores.parquet"
    cascade = None
    if is_large(daily, ranker):
        day = Day.read(job)
        cascade = learn_cascade(job, day, ranker)
        found = scores_of(job, day, ranker, daily, cascade, folder)
        del day
    else:
        found = iter([ranker.scores(pl.read_parquet(daily))])
    write_parts(scores, (Scores.validate(part.drop("at")) for part in found))
    impressions = pl.read_parquet(job.run / "sources" / "impressions.parquet", columns=["user_id", "concept_id", "at"])
    budgets = Eligibility.of(concepts, impressions, settings, delay_seconds=job.settings.features.delay_seconds)
    policy = boosted(
        Policy(settings, ranker.hash, cascade_hash=cascade.hash if cascade else ""),
        pl.scan_parquet(files_of(scores)),
        concepts,
        seed=job.settings.seed,
        left=budgets.budgets_left(as_of),
    )
    del impressions, budgets
    policy.save(folder / "policy.json")
    draw_seed = seed_of(job.settings.seed, as_of.isoformat())
    allowed = eligible(concepts, as_of, personal=False)
    everyone = general_slate(allowed, popularity(logged, concepts), policy=policy, seed=draw_seed)
    draw = functools.partial(sample_slates, concepts=concepts, policy=policy, seed=draw_seed)
    personal = made_of(read_parts(scores), draw, threads=settings.threads)
    slates = pl.concat([everyone, *personal])
    Slates.validate(slates).write_parquet(folder / "slates.parquet")

    replay = replayed(job, ranker, cascade, test_from, folder)
    if replay is not None:
        write_parts(folder / "replayed.parquet", replay)
        answers = policy_answers(held_out, folder / "replayed.parquet", concepts, policy, ranker.slot_offsets)
        held_out = held_out.join(
            answers.drop("predicted_chance"), on="impression_id", how="left", maintain_order="left"
        )
        held_out = with_propensities(job, held_out)
    held_out.write_parquet(folder / "tested.parquet")
    write_json(
        folder / "facts.json",
        {
            "policy_hash": policy.hash,
            "draw_seed": draw_seed,
            "boosts": dict(policy.boosts),
            "resting": list(policy.resting),
            "ranker_hash": ranker.hash,
            "choice": choice.as_json(),
            "rounds": ranker.meta.get("rounds"),
            "portions": ranker.meta.get("portions", 1),
            "warnings": list(ranker.warnings),
            "best_kept": best_kept(ranker, features / "whole.parquet", settings.slate_size),
            "cascade": cascade.as_json() if cascade else None,
            "slates": slates["user_id"].n_unique() - 1,
        },
    )


def policy_answers(
    log: pl.DataFrame, replayed: Path, concepts: pl.DataFrame, policy: Policy, slot_offsets: Floats
) -> pl.DataFrame:
    """`ranking.replay.logged_policy` on a log, some users at a time, sorted by user.

    Args:
        log: as it takes it, with whole slates.
        replayed: the table of scores, in parts of whole users in order.
        concepts, policy, slot_offsets: as it takes them.
    """
    log = log.select("impression_id", "user_id", "at", "slot", "concept_id").sort("user_id", maintain_order=True)
    files, low, found = files_of(replayed), 0, []
    for number, file in enumerate(files, 1):
        scores = pl.read_parquet(file, glob=False)
        last = number == len(files)
        high = len(log) if last else int(log["user_id"].search_sorted(scores["user_id"][-1], "right"))
        found.append(logged_policy(log[low:high], scores, concepts, policy=policy, slot_offsets=slot_offsets))
        low = high
    return pl.concat(found)


def with_propensities(job: Job, held_out: pl.DataFrame) -> pl.DataFrame:
    """The held-out log, its propensities estimated where it has none, with propensity_estimated to say so."""
    if "propensity" in held_out.columns and held_out["propensity"].null_count() == 0:
        return held_out
    logged = split(pl.read_parquet(job.run / "features" / "logged.parquet"), job.settings.ranking)
    candidates = pl.read_parquet(job.run / "features" / "replay.parquet")
    features = [feature.name for feature in features_of(job.settings.features)]
    rows = logged.filter(pl.col("part") == "test")
    past = logged.filter(pl.col("part") != "test").select("concept_id")
    found = estimated_propensities(rows, candidates, past, features, seed=job.settings.seed)
    guessed = rows.select("impression_id").with_columns(found.alias("propensity"), propensity_estimated=pl.lit(True))
    return held_out.drop("propensity", strict=False).join(
        guessed, on="impression_id", how="left", maintain_order="left"
    )


def tested(log: pl.DataFrame, past: pl.DataFrame, concepts: pl.DataFrame, ranker: Ranker) -> pl.DataFrame:
    """The held-out log with the ranker's score and click chance, and popularity as a baseline.

    Args:
        log: test part of the ranking rows, features included.
        past: the rows before it, for popularity.
        concepts: the concepts table.
        ranker: the trained one.
    """
    score = ranker.score(log)
    columns = ["impression_id", "user_id", "at", "slot", "concept_id", "creative_id", "clicked", "propensity", "policy",
               "history_events"]  # fmt: skip
    kept = log.select(column for column in columns if column in log.columns).with_columns(
        score=score, predicted_chance=ranker.click_chance(score, log["slot"].to_numpy())
    )
    rates = popularity(past, concepts).select("concept_id", popularity="click_rate")
    return kept.join(rates, on="concept_id", how="left", maintain_order="left")


def best_kept(ranker: Ranker, whole: Path, top: int) -> dict[str, Any] | None:
    """How many of the ranker's own `top` concepts a user, of all that might be shown, retrieval has kept; None: it cut
    none."""
    if not whole.exists():
        return None
    rows = pl.read_parquet(whole)
    scored = (
        ranker.scores(rows)
        .with_columns(rows["kept"])
        .sort("user_id", "score", "concept_id", descending=[False, True, False])
    )
    best = scored.group_by("user_id", maintain_order=True).head(top)
    return kept_share(best, best.filter("kept")) | {"top": top, "users": best["user_id"].n_unique()}


def stage_settings(settings: Settings) -> dict[str, object]:
    """The settings that decide slates."""
    return {"ranking": settings.ranking.model_dump(mode="json"), "features": settings.features.model_dump(mode="json")}


def say(folder: Path) -> str:
    """Slates drawn."""
    facts = json.loads((folder / "facts.json").read_text())
    choice, best = facts["choice"], facts["best_kept"]
    stays = f"; ranker {choice['sentence']}" if choice["kept"] else ""
    noted = f"; note: {'; '.join(facts['warnings'])}" if facts["warnings"] else ""
    many = f" learned in {facts['portions']} portions" if facts["portions"] > 1 else ""
    lost = f"; retrieval kept {best['share']:.1%} of {best['users']} users' best {best['top']}" if best else ""
    if first := facts["cascade"]:
        lost += (
            f"; a first model keeps {first['keep']} of a user's candidates at {first['loss']:.2%} of NDCG@{first['of']}"
        )
    rest = f"; {', '.join(facts['resting'])} rests: its budget leaves too little" if facts["resting"] else ""
    return (
        f"{facts['slates']:,} slates drawn by policy {facts['policy_hash'][:8]}, "
        f"{facts['rounds']} trees{many}{stays}{lost}{rest}{noted}"
    )


STAGE = Stage(
    name="ranking",
    reads=("sources", "features"),
    settings=stage_settings,
    packages=("ranking", "features", "evaluation"),
    libraries=("lightgbm", "scikit-learn", "polars", "numpy"),
    work=work,
    say=say,
    models=rival_of,
)
