"""Turns slates into creatives: cohorts, the renders that pay most, scenes, type, checks; every finished batch is kept."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from contracts.errors import DataError
from contracts.seeds import seed_of
from contracts.settings import Settings
from contracts.store import digest_of, write_json
from contracts.tables import GENERAL_COHORT, CreativeChecks, Creatives, Renditions, polars_schema
from flows import measure_diversity
from flows.choose_painter import painter_key
from flows.draw_batches import DONE, Goods, Studio, checks_of, draw_all, ready
from flows.draw_side_by_side import DRAWN, draw_side_by_side
from flows.gather_audience import Audience, describe_cohorts, gather
from flows.job import Job, Stage
from generators.checking.gate import Gate
from generators.studio import Order

SET_ASIDE = "set_aside.json"
"""Concepts that could not be drawn, and why."""
LEFT_OUT = "sizes_left_out.json"
"""Sizes that a creative could not be set in, or failed a check in, and why."""
WARNINGS = "warnings.json"
"""What the settings ask for and could not be checked, and pictures that are too much alike, in sentences."""
NAMED = 3
"""Dropped creatives named in the line that a run prints; all stand in the table, and the report counts them by check."""


def work(job: Job, folder: Path) -> None:
    """Writes creatives, cohorts, renders, images/ (finished ads), renditions/ and scenes/ (what the network painted)."""
    concepts = pl.read_parquet(job.run / "sources" / "concepts.parquet")
    slates = pl.read_parquet(job.run / "ranking" / "slates.parquet")
    studio = Studio.of(job)
    goods, set_aside = ready(job, concepts, slates)
    write_json(folder / SET_ASIDE, [{"concept_id": name, "reason": str(error)} for name, error in set_aside.items()])
    if not goods:
        raise next(iter(set_aside.values()), DataError("no concept in any slate", where="slates", fix="Add concepts."))
    drawable = concepts.filter(pl.col("concept_id").is_in(list(goods)))
    audience = gather(
        job, drawable, slates, studio.scorer.taste, renders=job.settings.generators.renders if studio.knows_space else 0
    )
    audience.users.select("user_id", pl.col("cohort").cast(pl.Int32)).write_parquet(folder / "cohorts.parquet")
    audience.worth.write_parquet(folder / "worth.parquet")
    audience.renders.write_parquet(folder / "renders.parquet")
    orders, gate = list_orders(job, goods, audience, studio), Gate.open(checks_of(job))
    rows = draw_side_by_side(job, folder, orders, gate) if job.cluster else draw_all(folder, orders, studio, gate)
    for name in (DONE, DRAWN):
        shutil.rmtree(folder / name, ignore_errors=True)
    CreativeChecks.validate(checks_table(rows)).write_parquet(folder / "creative_checks.parquet")
    Renditions.validate(renditions_table(rows)).write_parquet(folder / "renditions.parquet")
    write_json(
        folder / LEFT_OUT, [{"creative_id": row["creative_id"], **one} for row in rows for one in row["left_out"]]
    )
    creatives = Creatives.validate(creatives_table(rows, audience, studio))
    creatives.write_parquet(folder / "creatives.parquet")
    diversity = measure_diversity.measure(folder, creatives, audience.rows, job.settings.checks)
    write_json(folder / measure_diversity.FILE, diversity)
    write_json(folder / WARNINGS, [*gate.missing(), *measure_diversity.warnings(diversity, job.settings.checks)])
    write_json(folder / "cohorts.json", describe_cohorts(job, audience))


def list_orders(job: Job, goods: dict[str, Goods], audience: Audience, studio: Studio) -> list[Order]:
    """The order of every picture: first the general one of each concept in a slate, then the renders."""
    vectors = dict(pl.read_parquet(job.run / "features" / "concept_vectors.parquet").iter_rows())
    cohort_of = audience.users["cohort"].to_numpy()
    wanted = [(GENERAL_COHORT, concept) for concept in goods]
    wanted += list(audience.renders.select("cohort", "concept_id").iter_rows())
    painter, reviewed = studio.painter, studio.scorer.reviewed
    orders = []
    for cohort, concept in wanted:
        user = audience.vectors[cohort_of == cohort].mean(axis=0) if cohort != GENERAL_COHORT else None
        seed = seed_of(job.settings.seed, "creatives", concept, cohort)
        made_of = [concept, seed, painter.weights_hash, None if user is None else user.tolist()]
        if reviewed is not None:
            made_of.append(reviewed.digest)
        order = Order(
            name=f"{concept}-{digest_of(made_of)[:8]}",
            concept_id=concept,
            user=user,
            concept=np.array(vectors[concept], np.float32) if studio.knows_space else None,
            product=goods[concept].product,
            copy=goods[concept].copy,
            seed=seed,
            topics=goods[concept].topics,
            cohort=cohort,
            brand=goods[concept].brand,
        )
        orders.append(order)
    return orders


def renditions_table(rows: list[dict[str, Any]]) -> pl.DataFrame:
    """The renditions table: every creative in every further size that it was set in."""
    schema = polars_schema(Renditions)
    told = [{"creative_id": row["creative_id"], **one} for row in rows for one in row["renditions"]]
    return pl.DataFrame(told, schema=schema)


def checks_table(rows: list[dict[str, Any]]) -> pl.DataFrame:
    """The creative_checks table: every finding on every creative, in their order."""
    return pl.DataFrame(
        [
            {"creative_id": row["creative_id"], "redraws": row["redraws"], **finding}
            for row in rows
            for finding in row["findings"]
        ],
        schema_overrides=polars_schema(CreativeChecks),
    ).select(list(polars_schema(CreativeChecks)))


def creative_rows(rows: list[dict[str, Any]]) -> pl.DataFrame:
    """What `keep` returned, without the findings."""
    told = [{name: value for name, value in row.items() if name in Creatives.column_names()} for row in rows]
    return pl.DataFrame(told, schema_overrides={"checks": pl.List(pl.String)})


def creatives_table(rows: list[dict[str, Any]], audience: Audience, studio: Studio) -> pl.DataFrame:
    """The creatives table; a creative's predicted click chance is its concept's mean over the slate rows it serves."""
    personal = audience.rows.group_by("cohort", "concept_id").agg(personal=pl.col("click_chance").mean())
    general = audience.rows.group_by("concept_id").agg(general=pl.col("click_chance").mean())
    schema = polars_schema(Creatives)
    return (
        creative_rows(rows)
        .with_columns(
            pl.col("cohort").cast(pl.Int64),
            generator=pl.lit(studio.origin.generator),
            weights_hash=pl.lit(studio.origin.model_hash),
        )
        .join(personal, on=["cohort", "concept_id"], how="left", maintain_order="left")
        .join(general, on="concept_id", how="left", maintain_order="left")
        .with_columns(predicted_click_chance=pl.coalesce("personal", "general"))
        .select(pl.col(name).cast(dtype) for name, dtype in schema.items())
    )


def say(folder: Path) -> str:
    """Pictures drawn, how many passed, and which were dropped for what."""
    creatives = pl.read_parquet(folder / "creatives.parquet")
    passed = int((creatives["checks"].list.len() == 0).sum())
    personal = int((creatives["cohort"] != GENERAL_COHORT).sum())
    said = [f"{len(creatives)} creatives ({personal} personal), {passed} passed every check"]
    dropped = dropped_of(creatives, pl.read_parquet(folder / "creative_checks.parquet"))
    if len(dropped):
        named = [f"{row['creative_id']} ({row['check']}: {row['reason']})" for row in dropped[:NAMED].to_dicts()]
        more = f" and {len(dropped) - NAMED} more in creative_checks.parquet" if len(dropped) > NAMED else ""
        said.append(f"dropped {', '.join(named)}{more}")
    sizes = len(pl.read_parquet(folder / "renditions.parquet"))
    lacking = len(json.loads((folder / LEFT_OUT).read_text()))
    if sizes or lacking:
        said.append(f"{sizes} further sizes" + (f", {lacking} left out, see {LEFT_OUT}" if lacking else ""))
    missing = len(json.loads((folder / SET_ASIDE).read_text()))
    if missing:
        said.append(f"{missing} concepts could not be drawn, see {SET_ASIDE}")
    return "; ".join([*said, *json.loads((folder / WARNINGS).read_text())])


def dropped_of(creatives: pl.DataFrame, checks: pl.DataFrame) -> pl.DataFrame:
    """Every failed check of every creative that nobody is to see: creative_id, concept_id, cohort, check, reason, redraws."""
    about = creatives.select("creative_id", "concept_id", "cohort")
    return (
        checks.filter(~pl.col("passed"))
        .join(about, on="creative_id", maintain_order="left")
        .select("creative_id", "concept_id", "cohort", "check", "reason", "redraws")
    )


def drawing_settings(settings: Settings) -> dict[str, Any]:
    """The settings that decide what is drawn."""
    own = settings.generators.model_dump(mode="json", exclude={"first_training_steps"})
    if settings.generators.way == "stable-diffusion":
        own["stable_diffusion"] = settings.stable_diffusion.model_dump(mode="json")
    return own | {"checks": settings.checks.model_dump(mode="json")}


STAGE = Stage(
    name="generators",
    reads=("sources", "features", "ranking", "training"),
    settings=drawing_settings,
    packages=("generators",),
    libraries=("torch", "diffusers", "numpy", "pillow"),
    work=work,
    say=say,
    models=painter_key,
)
