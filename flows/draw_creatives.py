"""Turns slates into creatives: cohorts, the renders that pay most, scenes, type, checks; every finished batch is kept."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
from PIL import Image

from contracts.seeds import seed_of
from contracts.store import digest_of, write_json
from contracts.tables import EVERYONE, GENERAL_COHORT, Creatives, polars_schema
from flows.choose_models import any_generator
from flows.job import Job, Stage
from generators.checks import perceptual_hash
from generators.cohorts import choose_renders, group_users
from generators.products import load_product
from generators.studio import Appeal, Finished, Order, make
from generators.taste import Taste, picture_features
from generators.weights import Generator, load_weights
from generators.wording import Copy

Floats = npt.NDArray[np.float32]
WORDS = 3
"""Interests named per cohort."""


@dataclass(frozen=True)
class Audience:
    """Who is drawn for: users, their vectors and cohorts, and the slate rows that the pictures serve.

    Attributes:
        users: user_id, index, cohort. vectors: (U, D).
        rows: user_id, concept_id, click_chance, index, cohort, concept: one per personal slate row.
        renders: cohort, concept_id, users, expected_extra_clicks: what to draw, best first.
    """

    users: pl.DataFrame
    vectors: Floats
    rows: pl.DataFrame
    renders: pl.DataFrame


def work(job: Job, folder: Path) -> None:
    """Writes creatives, cohorts, renders, images/ (finished ads) and scenes/ (what the network painted)."""
    concepts = pl.read_parquet(job.run / "sources" / "concepts.parquet")
    slates = pl.read_parquet(job.run / "ranking" / "slates.parquet")
    choice = json.loads((job.run / "training" / "choice.json").read_text())
    personal = choice["origin"] != "none"
    if personal:
        home = job.run / "training" / "generator"
        generator = load_weights(home / "weights", space_hash=choice["space_hash"], device=device_of(job))
        taste: Taste | None = Taste.load(home, choice["space_hash"])
    else:
        shipped = any_generator(job.models)
        assert shipped is not None, "the sample's weights come with the code"
        generator, taste = load_weights(shipped / "weights", device=device_of(job)), None
    audience = gather(job, concepts, slates, taste, renders=job.settings.generators.renders if personal else 0)
    audience.users.select("user_id", pl.col("cohort").cast(pl.Int32)).write_parquet(folder / "cohorts.parquet")
    audience.renders.write_parquet(folder / "renders.parquet")
    orders = list_orders(job, concepts, slates, audience, generator, knows_space=personal)
    rows = draw_all(job, folder, orders, generator, appeal_of(taste))
    Creatives.validate(creatives_table(rows, audience, generator)).write_parquet(folder / "creatives.parquet")
    write_json(folder / "cohorts.json", describe_cohorts(job, audience))


def device_of(job: Job) -> str:
    """Where to draw."""
    import torch  # noqa: PLC0415 - only its answer is needed here

    wish = job.settings.generators.device
    return ("cuda" if torch.cuda.is_available() else "cpu") if wish == "auto" else wish


def gather(job: Job, concepts: pl.DataFrame, slates: pl.DataFrame, taste: Taste | None, *, renders: int) -> Audience:
    """Cohorts of the users with a slate, and the renders chosen for them."""
    embedded = pl.read_parquet(job.run / "features" / "embeddings.parquet").join(
        slates.select("user_id").unique(), on="user_id", how="semi"
    )
    vectors = np.array(embedded["vector"].to_list(), dtype=np.float32)
    settings = job.settings.generators
    leanings = taste.leanings(vectors) if taste is not None else vectors
    cohort = group_users(
        leanings, most=settings.max_cohorts, least_users=settings.min_cohort_users, seed=job.settings.seed
    )
    users = embedded.select("user_id").with_row_index("index").with_columns(cohort=pl.Series(cohort))
    scores = pl.read_parquet(job.run / "ranking" / "scores.parquet").select("user_id", "concept_id", "click_chance")
    rows = (
        slates.filter(pl.col("user_id") != EVERYONE)
        .join(scores, on=["user_id", "concept_id"], maintain_order="left")
        .join(users, on="user_id", maintain_order="left")
        .join(concepts.select("concept_id").with_row_index("concept"), on="concept_id", maintain_order="left")
        .select("user_id", "concept_id", "click_chance", "index", "cohort", "concept")
    )
    chosen = choose_renders(
        cohort,
        leanings,
        taste,
        slate_user=rows["index"].to_numpy().astype(np.int64),
        slate_concept=rows["concept"].to_numpy().astype(np.int64),
        click_chance=rows["click_chance"].to_numpy(),
        renders=renders,
    )
    names = concepts["concept_id"].to_list()
    table = pl.DataFrame(
        [(render.cohort, names[render.concept], render.users, render.expected_extra_clicks) for render in chosen],
        schema={"cohort": pl.Int64, "concept_id": pl.String, "users": pl.Int64, "expected_extra_clicks": pl.Float64},
        orient="row",
    )
    return Audience(users, vectors, rows, table)


def list_orders(
    job: Job,
    concepts: pl.DataFrame,
    slates: pl.DataFrame,
    audience: Audience,
    generator: Generator,
    *,
    knows_space: bool,
) -> list[tuple[int, str, Order]]:
    """(cohort, concept_id, order) of every picture: first the general one of each concept in a slate, then the renders."""
    vectors = dict(pl.read_parquet(job.run / "features" / "concept_vectors.parquet").iter_rows())
    cohort_of = audience.users["cohort"].to_numpy()
    wanted = [(GENERAL_COHORT, concept) for concept in slates["concept_id"].unique().sort()]
    wanted += list(audience.renders.select("cohort", "concept_id").iter_rows())
    about = {row["concept_id"]: row for row in concepts.iter_rows(named=True)}
    products = {name: None if about[name]["product_image"] is None else load_product(job.data / about[name]["product_image"])
                for name in {concept for _, concept in wanted}}  # fmt: skip
    orders = []
    for cohort, concept in wanted:
        row = about[concept]
        user = audience.vectors[cohort_of == cohort].mean(axis=0) if cohort != GENERAL_COHORT else None
        seed = seed_of(job.settings.seed, "creatives", concept, cohort)
        made_of = [concept, seed, generator.weights_hash, None if user is None else user.tolist()]
        copy = Copy(
            headline=row["headline"][0],
            body=row["body"],
            call_to_action=row["call_to_action"],
            advertiser=row["advertiser"],
            colours=tuple(row["colours"] or ()),
        )
        order = Order(
            name=f"{concept}-{digest_of(made_of)[:8]}",
            user=user,
            concept=np.array(vectors[concept], np.float32) if knows_space else None,
            product=products[concept],
            copy=copy,
            seed=seed,
        )
        orders.append((cohort, concept, order))
    return orders


def appeal_of(taste: Taste | None) -> Appeal | None:
    """The scorer that keeps the best of several scenes."""
    if taste is None:
        return None

    def appeal(user: Floats | None, scenes: npt.NDArray[np.uint8]) -> Floats:
        return np.asarray(taste.appeal(None if user is None else user[None], picture_features(scenes))[0], np.float32)

    return appeal


def draw_all(
    job: Job, folder: Path, orders: list[tuple[int, str, Order]], generator: Generator, appeal: Appeal | None
) -> list[dict[str, Any]]:
    """Draws batch after batch; a batch that an interrupted attempt finished is read back instead."""
    settings = job.settings.generators
    for name in ("images", "scenes", "done"):
        (folder / name).mkdir(exist_ok=True)
    hashes: set[int] = set()
    rows: list[dict[str, Any]] = []
    for start in range(0, len(orders), settings.batch):
        batch = orders[start : start + settings.batch]
        record = folder / "done" / f"{start:06d}.json"
        if not record.exists():
            finished = make(
                generator.network,
                [order for _, _, order in batch],
                steps=settings.steps,
                guidance=settings.guidance,
                side=settings.side,
                redraws=settings.redraws,
                candidates=settings.candidates,
                appeal=appeal,
                font_path=settings.font_path,
                known_hashes=hashes,
            )
            write_json(
                record,
                [keep(folder, cohort, concept, one) for (cohort, concept, _), one in zip(batch, finished, strict=True)],
            )
        kept = json.loads(record.read_text())
        for row in kept:
            if not row["checks"]:
                with Image.open(folder / row["file"]) as image:
                    hashes.add(perceptual_hash(image))
        rows += kept
    for record in (folder / "done").iterdir():
        record.unlink()
    (folder / "done").rmdir()
    return rows


def keep(folder: Path, cohort: int, concept: str, finished: Finished) -> dict[str, Any]:
    """Writes a finished creative and its scene; returns its row."""
    name = finished.order.name
    finished.image.save(folder / "images" / f"{name}.png")
    Image.fromarray(finished.scene).save(folder / "scenes" / f"{name}.png")
    return {
        "creative_id": name,
        "cohort": cohort,
        "concept_id": concept,
        "seed": finished.order.seed,
        "file": f"images/{name}.png",
        "checks": list(finished.checks),
    }


def creatives_table(rows: list[dict[str, Any]], audience: Audience, generator: Generator) -> pl.DataFrame:
    """The creatives table; a creative's predicted click chance is its concept's mean over the slate rows it serves."""
    personal = audience.rows.group_by("cohort", "concept_id").agg(personal=pl.col("click_chance").mean())
    general = audience.rows.group_by("concept_id").agg(general=pl.col("click_chance").mean())
    schema = polars_schema(Creatives)
    return (
        pl.DataFrame(rows, schema_overrides={"checks": pl.List(pl.String)})
        .with_columns(
            pl.col("cohort").cast(pl.Int64), generator=pl.lit("diffusion"), weights_hash=pl.lit(generator.weights_hash)
        )
        .join(personal, on=["cohort", "concept_id"], how="left", maintain_order="left")
        .join(general, on="concept_id", how="left", maintain_order="left")
        .with_columns(predicted_click_chance=pl.coalesce("personal", "general"))
        .select(pl.col(name).cast(dtype) for name, dtype in schema.items())
    )


def describe_cohorts(job: Job, audience: Audience) -> list[dict[str, Any]]:
    """Size and strongest interests of every cohort."""
    interests = pl.read_parquet(job.run / "features" / "interests.parquet")
    everyone = interests.group_by("topic").agg(base=pl.col("weight").sum() / max(len(audience.users), 1))
    told = []
    for (cohort,), users in audience.users.group_by("cohort", maintain_order=True):
        held = (
            interests.join(users, on="user_id", how="semi")
            .group_by("topic")
            .agg(mean=pl.col("weight").sum() / len(users))
        )
        top = held.join(everyone, on="topic").sort(pl.col("mean") - pl.col("base"), "topic", descending=[True, False])
        told.append({"cohort": cohort, "users": len(users), "interests": top["topic"].head(WORDS).to_list()})
    return sorted(told, key=lambda row: row["cohort"])


def say(folder: Path) -> str:
    """Pictures drawn, and how many passed."""
    creatives = pl.read_parquet(folder / "creatives.parquet")
    passed = int((creatives["checks"].list.len() == 0).sum())
    personal = int((creatives["cohort"] != GENERAL_COHORT).sum())
    return f"{len(creatives)} creatives ({personal} personal), {passed} passed every check"


STAGE = Stage(
    name="generators",
    reads=("sources", "features", "ranking", "training"),
    settings=lambda settings: settings.generators.model_dump(mode="json", exclude={"first_training_steps"}),
    packages=("generators",),
    libraries=("torch", "diffusers", "numpy", "pillow"),
    work=work,
    say=say,
)
