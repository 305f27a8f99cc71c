"""Turns slates into creatives: cohorts, the renders that pay most, scenes, type, checks; every finished batch is kept."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
from PIL import Image

from contracts.errors import AdloomError, DataError
from contracts.seeds import seed_of
from contracts.settings import CheckSettings, Settings
from contracts.store import digest_of, write_json
from contracts.tables import GENERAL_COHORT, CreativeChecks, Creatives, Renditions, polars_schema
from flows import measure_diversity
from flows.choose_models import any_generator
from flows.choose_painter import painter_key, painter_of
from flows.gather_audience import Audience, describe_cohorts, gather
from flows.job import Job, Stage
from flows.stamp_pictures import Origin, write_picture
from generators.checking.gate import Gate
from generators.hands import share_out
from generators.knobs import Knobs
from generators.layout import LAYOUTS, SQUARE
from generators.painting.painters import Painter
from generators.products import load_product
from generators.renditions import renditions_of
from generators.scorer import Reviewed, Scorer
from generators.studio import Appeal, Finished, Order, make
from generators.taste.taste import Taste
from generators.typesetting.brand import Brand
from generators.typesetting.brand_kits import load_brands
from generators.typesetting.typesetter import check_copy
from generators.typesetting.wording import Copy

Floats = npt.NDArray[np.float32]
SET_ASIDE = "set_aside.json"
"""Concepts that could not be drawn, and why."""
LEFT_OUT = "sizes_left_out.json"
"""Sizes that a creative could not be set in, or failed a check in, and why."""
WARNINGS = "warnings.json"
"""What the settings ask for and could not be checked, and pictures that are too much alike, in sentences."""
NAMED = 3
"""Dropped creatives named in the line that a run prints; all stand in the table, and the report counts them by check."""


@dataclass(frozen=True)
class Goods:
    """What a concept's creatives are made of: the words, the product's pixels or None, the topics, the brand."""

    copy: Copy
    product: npt.NDArray[np.uint8] | None
    topics: tuple[str, ...]
    brand: Brand


def work(job: Job, folder: Path) -> None:
    """Writes creatives, cohorts, renders, images/ (finished ads), renditions/ and scenes/ (what the network painted)."""
    concepts = pl.read_parquet(job.run / "sources" / "concepts.parquet")
    slates = pl.read_parquet(job.run / "ranking" / "slates.parquet")
    painter, scorer, personal = set_up(job)
    goods, set_aside = ready(job, concepts, slates)
    write_json(folder / SET_ASIDE, [{"concept_id": name, "reason": str(error)} for name, error in set_aside.items()])
    if not goods:
        raise next(iter(set_aside.values()), DataError("no concept in any slate", where="slates", fix="Add concepts."))
    drawable = concepts.filter(pl.col("concept_id").is_in(list(goods)))
    audience = gather(job, drawable, slates, scorer.taste, renders=job.settings.generators.renders if personal else 0)
    audience.users.select("user_id", pl.col("cohort").cast(pl.Int32)).write_parquet(folder / "cohorts.parquet")
    audience.worth.write_parquet(folder / "worth.parquet")
    audience.renders.write_parquet(folder / "renders.parquet")
    orders = list_orders(job, goods, audience, painter, scorer, knows_space=personal)
    gate = Gate.open(checks_of(job))
    origin = Origin.of(job.run, job.settings.generators.way, painter.weights_hash)
    rows = draw_all(job, folder, orders, painter, scorer if scorer.knows_anything else None, gate, origin)
    CreativeChecks.validate(checks_table(rows)).write_parquet(folder / "creative_checks.parquet")
    Renditions.validate(renditions_table(rows)).write_parquet(folder / "renditions.parquet")
    write_json(
        folder / LEFT_OUT, [{"creative_id": row["creative_id"], **one} for row in rows for one in row["left_out"]]
    )
    creatives = Creatives.validate(creatives_table(rows, audience, job.settings.generators.way, painter))
    creatives.write_parquet(folder / "creatives.parquet")
    diversity = measure_diversity.measure(folder, creatives, audience.rows, job.settings.checks)
    write_json(folder / measure_diversity.FILE, diversity)
    write_json(folder / WARNINGS, [*gate.missing(), *measure_diversity.warnings(diversity, job.settings.checks)])
    write_json(folder / "cohorts.json", describe_cohorts(job, audience))


def set_up(job: Job, knobs: Knobs | None = None) -> tuple[Painter, Scorer, bool]:
    """The painter and the scorer of a run, and whether they know its space; knobs: how a picture is drawn again."""
    choice = json.loads((job.run / "training" / "choice.json").read_text())
    if choice["origin"] != "none":
        home, space = job.run / "training" / "generator", choice["space_hash"]
        scorer = Scorer(Taste.load(home, space), Reviewed.load(home))
        return painter_of(job, home, space, knobs), scorer, True
    shipped = any_generator(job.models)
    assert shipped is not None, "the sample's weights come with the code"
    return painter_of(job, shipped, None, knobs), Scorer(None, None), False


def ready(job: Job, concepts: pl.DataFrame, slates: pl.DataFrame) -> tuple[dict[str, Goods], dict[str, AdloomError]]:
    """What each concept of a slate is made of, by concept_id; and those that cannot be drawn, with the fault."""
    goods: dict[str, Goods] = {}
    set_aside: dict[str, AdloomError] = {}
    gate = Gate(job.settings.checks)
    settings = job.settings.generators
    brands = load_brands(job.data, font_path=settings.font_path, advertisers=concepts["advertiser"].unique().to_list())
    for row in concepts.join(slates, on="concept_id", how="semi").sort("concept_id").iter_rows(named=True):
        name, brand = row["concept_id"], brands.of(row["advertiser"])
        copy = Copy(
            headline=row["headline"][0],
            body=row["body"],
            call_to_action=row["call_to_action"],
            advertiser=row["advertiser"],
            colours=brand.palette(row["colours"] or ()),
            notice=settings.ai_label,
        )
        try:
            check_copy(copy, SQUARE, settings.side, brand=brand, where=f"concept {name}")
            refuse_rude(gate, copy, name)
            picture = row["product_image"]
            goods[name] = Goods(
                copy, None if picture is None else load_product(job.data / picture), tuple(row["topics"]), brand
            )
        except DataError as error:
            set_aside[name] = error
    return goods, set_aside


def refuse_rude(gate: Gate, copy: Copy, concept: str) -> None:
    """Raises DataError when the words are rude: no scene could make them fit to be shown."""
    rude = gate.rude(copy)
    if rude:
        told = ", ".join(f'"{one.written}" in the {one.place}' for one in rude)
        fix = "Change it, or name it under allowed_words in the settings of checks."
        raise DataError(f"holds {told}", where=f"concept {concept}", fix=fix)


def list_orders(
    job: Job, goods: dict[str, Goods], audience: Audience, painter: Painter, scorer: Scorer, *, knows_space: bool
) -> list[tuple[int, str, Order]]:
    """(cohort, concept_id, order) of every picture: first the general one of each concept in a slate, then the renders."""
    vectors = dict(pl.read_parquet(job.run / "features" / "concept_vectors.parquet").iter_rows())
    cohort_of = audience.users["cohort"].to_numpy()
    wanted = [(GENERAL_COHORT, concept) for concept in goods]
    wanted += list(audience.renders.select("cohort", "concept_id").iter_rows())
    orders = []
    for cohort, concept in wanted:
        user = audience.vectors[cohort_of == cohort].mean(axis=0) if cohort != GENERAL_COHORT else None
        seed = seed_of(job.settings.seed, "creatives", concept, cohort)
        made_of = [concept, seed, painter.weights_hash, None if user is None else user.tolist()]
        if scorer.reviewed is not None:
            made_of.append(scorer.reviewed.digest)
        order = Order(
            name=f"{concept}-{digest_of(made_of)[:8]}",
            concept_id=concept,
            user=user,
            concept=np.array(vectors[concept], np.float32) if knows_space else None,
            product=goods[concept].product,
            copy=goods[concept].copy,
            seed=seed,
            topics=goods[concept].topics,
            cohort=cohort,
            brand=goods[concept].brand,
        )
        orders.append((cohort, concept, order))
    return orders


def draw_all(
    job: Job,
    folder: Path,
    orders: list[tuple[int, str, Order]],
    painter: Painter,
    appeal: Appeal | None,
    gate: Gate,
    origin: Origin,
) -> list[dict[str, Any]]:
    """Draws batch after batch; a batch that an interrupted attempt finished is read back instead."""
    settings = job.settings.generators
    for name in ("images", "scenes", "done"):
        (folder / name).mkdir(exist_ok=True)
    rows: list[dict[str, Any]] = []
    for start in range(0, len(orders), settings.batch):
        batch = orders[start : start + settings.batch]
        record = folder / "done" / f"{start:06d}.json"
        if not record.exists():
            finished = make(
                painter,
                [order for _, _, order in batch],
                side=settings.side,
                redraws=settings.redraws,
                candidates=settings.candidates,
                appeal=appeal,
                gate=gate,
            )
            pairs = [(cohort, concept, one) for (cohort, concept, _), one in zip(batch, finished, strict=True)]
            write_json(record, list(share_out(lambda pair: keep(folder, *pair, settings.sizes, origin, gate), pairs)))
        else:
            recall(gate, folder, json.loads(record.read_text()))
        rows += json.loads(record.read_text())
    for record in (folder / "done").iterdir():
        record.unlink()
    (folder / "done").rmdir()
    return rows


def recall(gate: Gate, folder: Path, rows: list[dict[str, Any]]) -> None:
    """Tells the gate what an interrupted attempt has passed, in the order in which it passed."""
    for row in sorted(rows, key=lambda row: row["redraws"]):
        if not row["checks"]:
            with Image.open(folder / row["file"]) as image:
                gate.remember(row["creative_id"], row["cohort"], image)


def checks_of(job: Job) -> CheckSettings:
    """The settings of the checks, with the colours that the brand kits forbid."""
    settings = job.settings.checks
    named = [settings.forbidden_colours, load_brands(job.data).forbidden]
    both = {name: tuple(c for one in named for c in one.get(name, ())) for one in named for name in one}
    return settings.model_copy(update={"forbidden_colours": both})


def keep(
    folder: Path, cohort: int, concept: str, finished: Finished, sizes: Sequence[str], origin: Origin, gate: Gate
) -> dict[str, Any]:
    """Writes a finished creative, its scene and, where it passed, its other sizes, all stamped; returns its row."""
    name, facts = finished.order.name, origin.facts(finished.order)
    made: list[dict[str, Any]] = []
    left_out: list[dict[str, str]] = []
    for one in renditions_of(finished, sizes if not finished.checks else (), gate):
        if one.image is None:
            left_out.append({"format": one.layout, "reason": one.reason})
            continue
        file = f"renditions/{name}/{LAYOUTS[one.layout].slug}{one.suffix}"
        written = write_picture(folder / file, one.content, facts)
        wide, high = one.image.size
        made.append({"format": one.layout, "width": wide, "height": high, "file": file, "bytes": written})
    write_picture(folder / "images" / f"{name}.png", finished.image, facts)
    write_picture(folder / "scenes" / f"{name}.png", Image.fromarray(finished.scene), replace(facts, label=""))
    return {
        "creative_id": name,
        "cohort": cohort,
        "concept_id": concept,
        "seed": finished.order.seed,
        "file": f"images/{name}.png",
        "checks": finished.checks,
        "redraws": finished.redraws,
        "findings": [asdict(finding) for finding in finished.findings],
        "renditions": made,
        "left_out": left_out,
    }


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


def creatives_table(rows: list[dict[str, Any]], audience: Audience, way: str, painter: Painter) -> pl.DataFrame:
    """The creatives table; a creative's predicted click chance is its concept's mean over the slate rows it serves."""
    personal = audience.rows.group_by("cohort", "concept_id").agg(personal=pl.col("click_chance").mean())
    general = audience.rows.group_by("concept_id").agg(general=pl.col("click_chance").mean())
    schema = polars_schema(Creatives)
    return (
        creative_rows(rows)
        .with_columns(pl.col("cohort").cast(pl.Int64), generator=pl.lit(way), weights_hash=pl.lit(painter.weights_hash))
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
