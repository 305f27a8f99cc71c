"""Turns a run's tables and pictures into report.json and report.html, with the truth beside them in a planted world."""

from __future__ import annotations

import datetime as dt
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import polars as pl

from contracts.settings import Settings, SlateSettings
from contracts.store import digest_of, write_atomically, write_json
from contracts.tables import EVERYONE
from evaluation.report import build_report, render_html
from evaluation.report_data import FunnelStep, IntakeTable, ReportData, StageTime
from features.glossary import features_of
from flows.check_sources import read_counts
from flows.compare_nights import PROFILE, before_of, compare, describe
from flows.draw_creatives import SET_ASIDE, dropped_of
from flows.job import Job, Stage
from flows.judge_pictures import judge_pictures
from flows.measure_truth import logged_value, oracle_of, target_value, true_worth
from flows.model_slates import modelled, rewarded
from flows.part_users import read_parts
from flows.probe_topics import probe_topics
from flows.score_day import Day
from flows.show_pictures import picture_rows
from flows.sum_up_round import rounds_of
from flows.value_pictures import as_columns, picture_values
from ranking.policy import Policy
from ranking.replay import logged_policy
from sources.truth import Truth


def work(job: Job, folder: Path) -> None:
    """Writes report.json, report.html, judged.parquet, profile.json, for the run after this one, and, in a planted world,
    picture_values.parquet.
    """
    data, pictures = collect(job, folder)
    report = build_report(data)
    write_json(folder / PROFILE, describe(job))
    write_json(folder / "report.json", report)
    write_atomically(folder / "report.html", render_html(report, pictures).encode())


def collect(job: Job, folder: Path) -> tuple[ReportData, dict[str, bytes]]:
    """What the report is made of, and its pictures by key."""
    run = job.run
    truth = Truth.load(job.data) if Truth.exists(job.data) else None
    names = [feature.name for feature in features_of(job.settings.features)]
    slates = pl.read_parquet(run / "ranking" / "slates.parquet")
    creatives = pl.read_parquet(run / "generators" / "creatives.parquet")
    cohorts = pl.read_parquet(run / "generators" / "cohorts.parquet")
    with ThreadPoolExecutor(1) as aside:  # training trees, and the judge's pictures, leave each other a core
        log_modelled = aside.submit(
            modelled, pl.read_parquet(run / "ranking" / "tested.parquet"), run, names, seed=job.settings.seed
        )
        judged = judge_pictures(job, slates, cohorts, creatives)
        log = log_modelled.result()
    facts = json.loads((run / "features" / "facts.json").read_text())
    true: dict[str, Any] = {}
    values: pl.DataFrame | None = None
    if truth is not None:
        oracle = oracle_of(truth, log)
        log = log.with_columns(oracle=oracle)
        true = {"simulated": True, "true_logged": logged_value(log, oracle)}
        replayed = run / "ranking" / "replayed.parquet"
        if replayed.exists():
            true["true_target"] = target_value(
                truth,
                read_parts(replayed),
                pl.read_parquet(run / "sources" / "concepts.parquet"),
                policy=Policy.load(run / "ranking" / "policy.json"),
                seed=job.settings.seed,
            )
        at = dt.datetime.fromisoformat(facts["as_of"])
        placed, chances = picture_values(slates, cohorts, creatives, true_worth(truth, job, at))
        values = as_columns(placed, chances[0])
        values.write_parquet(folder / "picture_values.parquet")
        true["creative_truth"] = values if len(values) else None
    if not isinstance(judged, str):
        as_columns(judged.rows, judged.chances[0]).write_parquet(folder / "judged.parquet")
    expected = None if isinstance(judged, str) else as_columns(judged.rows, judged.chances[0])
    rows, pictures = picture_rows(job, creatives, values, expected)
    data = ReportData(
        name=job.data.resolve().name,
        run=job.run_id,
        seed=job.settings.seed,
        settings=job.settings.evaluation,
        logged_policy=str(log["policy"].drop_nulls().first() or "the logged policy") if "policy" in log.columns else "",
        target_policy="the new ranker's slates",
        impressions=log,
        propensities_estimated="propensity_estimated" in log.columns,
        concept_shares=concept_shares(run, slates),
        catalogue=catalogue(run),
        assortments=assortments(log, slates),
        creatives=creatives,
        not_drawn=not_drawn(run),
        dropped=dropped_of(creatives, pl.read_parquet(run / "generators" / "creative_checks.parquet")).to_dicts(),
        judged=judged,
        labels=labels(run),
        budget=budget(job),
        picture_rows=rows,
        review_rounds=rounds_of(run / "training" / "generator"),
        space=json.loads((run / "features" / "drift.json").read_text()),
        nights=compare(job),
        intake=intake(run),
        probes=probe_topics(job),
        funnel=funnel(run, facts, slates, creatives),
        explained=json.loads((run / "ranking" / "explained.json").read_text()),
        ranker_choice=json.loads((run / "ranking" / "facts.json").read_text())["choice"],
        settings_used=job.settings.model_dump(mode="json"),
        versions=versions(job),
        models=models(run),
        timings=timings(job),
        **true,
    )
    return data, pictures


def not_drawn(run: Path) -> dict[str, str]:
    """Why concepts could not be drawn, by concept_id."""
    return {row["concept_id"]: row["reason"] for row in json.loads((run / "generators" / SET_ASIDE).read_text())}


def budget(job: Job) -> tuple[pl.DataFrame, int] | str:
    """What every personal picture is expected to bring and how many were drawn; or why there could be none."""
    run, least = job.run, job.settings.generators.min_cohort_users
    if json.loads((run / "training" / "choice.json").read_text())["origin"] == "none":
        return "There are no weights that know this space, so no personal picture could be drawn."
    people = pl.scan_parquet(run / "generators" / "cohorts.parquet").select(pl.len()).collect().item()
    if people < least:
        return f"No personal picture is drawn for fewer than {least} people, and {people} may be drawn for."
    home = run / "generators"
    return pl.read_parquet(home / "worth.parquet"), len(pl.read_parquet(home / "renders.parquet"))


def labels(run: Path) -> pl.DataFrame:
    """Logged impressions of pictures, and whether the picture was labelled as AI-generated."""
    pictures = pl.read_parquet(run / "sources" / "pictures.parquet").select("creative_id", "labelled")
    shown = pl.read_parquet(run / "sources" / "impressions.parquet")
    return shown.join(pictures, on="creative_id").select("user_id", "concept_id", "slot", "clicked", "labelled")


def catalogue(run: Path) -> pl.DataFrame:
    """Every concept with its topics and how often it was ever logged."""
    logged = pl.read_parquet(run / "sources" / "impressions.parquet").group_by("concept_id").agg(logged=pl.len())
    concepts = pl.read_parquet(run / "sources" / "concepts.parquet").select("concept_id", "topics")
    return concepts.join(logged, on="concept_id", how="left", maintain_order="left").with_columns(
        pl.col("logged").fill_null(0).cast(pl.Int64)
    )


def assortments(log: pl.DataFrame, slates: pl.DataFrame) -> dict[str, pl.DataFrame]:
    """Logged and new slates of people, to be compared for how varied they are."""
    columns = ["user_id", "slate", "position", "concept_id"]
    shown = log.with_columns(slate=pl.col("at").rank("dense").over("user_id").cast(pl.Int64), position=pl.col("slot"))
    new = slates.filter(pl.col("user_id") != EVERYONE).with_columns(slate=pl.lit(0, pl.Int64))
    found = {"Logged": shown.select(columns), "New": new.select(columns)}
    return {label: rows for label, rows in found.items() if len(rows)}


def concept_shares(run: Path, slates: pl.DataFrame) -> pl.DataFrame:
    """Share of the new slates that each concept takes, and how often it was ever logged."""
    personal = slates.filter(pl.col("user_id") != EVERYONE)
    logged = pl.read_parquet(run / "sources" / "impressions.parquet").group_by("concept_id").agg(logged=pl.len())
    return (
        personal.group_by("concept_id")
        .agg(target_share=pl.len() / max(len(personal), 1))
        .join(logged, on="concept_id", how="left")
        .with_columns(pl.col("logged").fill_null(0).cast(pl.Int64))
        .sort("concept_id")
    )


def intake(run: Path) -> tuple[IntakeTable, ...]:
    """What became of every input row."""
    reasons = json.loads((run / "sources" / "reasons.json").read_text())
    return tuple(
        IntakeTable(
            table=row["table"],
            read=row["read"],
            accepted=row["accepted"],
            rejected=row["rejected"],
            withheld=row["withheld"] + row["sensitive"],
            reasons={reason["reason"]: reason["rows"] for reason in reasons if reason["table"] == row["table"]},
        )
        for row in read_counts(run / "sources")
    )


def funnel(run: Path, facts: dict[str, Any], slates: pl.DataFrame, creatives: pl.DataFrame) -> tuple[FunnelStep, ...]:
    """Counts from the log to the pictures."""
    events = next((row for row in read_counts(run / "sources") if row["table"] == "events"), None)
    best = json.loads((run / "ranking" / "facts.json").read_text())["best_kept"]
    passed = int((creatives["checks"].list.len() == 0).sum())
    return (
        FunnelStep(label="Events read", count=events["read"] if events else 0),
        *kept_steps("Held-out clicks", facts["clicks_kept"]),
        FunnelStep(label="User-concept pairs scored", count=facts["pairs"]),
        *kept_steps("Users' best concepts", best),
        FunnelStep(label="Slate positions filled", count=len(slates)),
        FunnelStep(label="Creatives drawn", count=len(creatives)),
        FunnelStep(label="Passed every check", count=passed),
    )


def kept_steps(what: str, kept: dict[str, Any] | None) -> tuple[FunnelStep, ...]:
    """What retrieval was asked for and what it kept; nothing where it cut nothing."""
    if kept is None:
        return ()
    return (
        FunnelStep(label=f"{what} asked of retrieval", count=kept["wanted"]),
        FunnelStep(label=f"{what} that it kept", count=kept["kept"]),
    )


def versions(job: Job) -> dict[str, str]:
    """Library versions of all stages before this one."""
    found: dict[str, str] = {}
    for name in ("features", "ranking", "generators"):
        found |= (job.store.manifest(name) or {}).get("libraries", {})
    return found


def models(run: Path) -> dict[str, str]:
    """Hashes of what was learned."""
    choice = json.loads((run / "training" / "choice.json").read_text())
    ranking = json.loads((run / "ranking" / "facts.json").read_text())
    known = {"space": choice["space_hash"], "ranker": ranking["ranker_hash"], "policy": ranking["policy_hash"]}
    return known | ({"generator": choice["weights_hash"]} if "weights_hash" in choice else {})


def timings(job: Job) -> tuple[StageTime, ...]:
    """Seconds of work of the stages before this one, from their manifests."""
    names = ("sources", "features", "ranking", "training", "generators")
    found = [(name, job.store.manifest(name)) for name in names]
    return tuple(StageTime(stage=name, seconds=float(m["seconds"])) for name, m in found if m is not None)


def evaluate_slates(job: Job, slates: pl.DataFrame) -> dict[str, Any]:
    """The report on someone's own slates table: a policy that shows exactly these concepts, judged on a finished run's log.

    Args:
        job: whose run is finished up to ranking.
        slates: user_id, position, concept_id; a user who is not in it gets no weight.
    """
    log = pl.read_parquet(job.run / "ranking" / "tested.parquet").drop(
        "target_propensity", "candidate", "predicted_chance", "expected_chance", "best_chance", strict=False
    )
    people = log.select("user_id", "at").unique()
    shown = people.join(slates.select("user_id", "concept_id", "position"), on="user_id")
    fixed = shown.with_columns(
        score=-pl.col("position").cast(pl.Float64), click_chance=1 / (2.0 + pl.col("position").cast(pl.Float64))
    )
    in_order = SlateSettings(temperature=0.0, exploration=0.0, topic_penalty=0.0, advertiser_penalty=0.0)
    concepts = pl.read_parquet(job.run / "sources" / "concepts.parquet")
    answers = logged_policy(log, fixed, concepts, policy=Policy(in_order)).select("impression_id", "target_propensity")
    log = log.join(answers, on="impression_id", how="left", maintain_order="left")
    names = [feature.name for feature in features_of(job.settings.features)]
    before = dt.datetime.fromisoformat(json.loads((job.run / "features" / "facts.json").read_text())["test_from"])
    log = rewarded(
        log, slates, job.run, names, seed=job.settings.seed, made=lambda pairs: Day.read(job, before=before).rows(pairs)
    )
    return build_report(
        ReportData(
            name=job.data.resolve().name,
            run=job.run_id,
            settings=job.settings.evaluation,
            seed=job.settings.seed,
            simulated=Truth.exists(job.data),
            target_policy="the given slates",
            impressions=log,
            propensities_estimated="propensity_estimated" in log.columns,
        )
    )


def say(folder: Path) -> str:
    """The verdict in one sentence."""
    report = json.loads((folder / "report.json").read_text())
    return str(report["verdict"]["sentence"])


def stage_settings(settings: Settings) -> dict[str, Any]:
    """The settings that decide the report."""
    return {
        "evaluation": settings.evaluation.model_dump(mode="json"),
        "ranking": settings.ranking.model_dump(mode="json"),
        "features": settings.features.model_dump(mode="json"),
        "sensitive_topics": list(settings.sources.sensitive_topics),
        "drift": settings.drift.model_dump(mode="json"),
    }


STAGE = Stage(
    name="evaluation",
    reads=("sources", "features", "ranking", "training", "generators"),
    settings=stage_settings,
    packages=("evaluation", "features", "generators", "ranking", "sources"),
    libraries=("numpy", "polars", "matplotlib", "jinja2", "lightgbm", "torch"),
    work=work,
    say=say,
    models=lambda job: {"run before": digest_of(before_of(job))},
)
