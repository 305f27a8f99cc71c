"""Turns slates and embeddings into whom pictures are drawn for: cohorts, and the renders that pay most."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from contracts.tables import EVERYONE
from flows.job import Job
from flows.part_users import read_parts
from generators.taste.cohorts import group_users, rank_renders
from generators.taste.taste import Taste
from ranking.frames import vectors_of

Floats = npt.NDArray[np.float32]
WORDS = 3
"""Interests named per cohort."""
_PAIR = ["user_id", "concept_id"]


@dataclass(frozen=True)
class Audience:
    """Who is drawn for: users, their vectors and cohorts, and the slate rows that the pictures serve.

    Attributes:
        users: user_id, index, cohort. vectors: (U, D).
        rows: user_id, concept_id, click_chance, index, cohort, concept: one per personal slate row.
        worth: cohort, concept_id, users, expected_extra_clicks: every picture worth drawing, best first; none where there
            are too few people for a cohort.
        renders: the first of them, which are drawn.
    """

    users: pl.DataFrame
    vectors: Floats
    rows: pl.DataFrame
    worth: pl.DataFrame
    renders: pl.DataFrame


def gather(job: Job, concepts: pl.DataFrame, slates: pl.DataFrame, taste: Taste | None, *, renders: int) -> Audience:
    """Cohorts of the users with a slate, and the renders chosen for them.

    Args:
        job: the run.
        concepts: those that can be drawn.
        slates: all slates.
        taste: the scorer; None: not known in this space.
        renders: personal pictures at most.
    """
    embedded = pl.read_parquet(job.run / "features" / "embeddings.parquet").join(
        slates.select("user_id").unique(), on="user_id", how="semi"
    )
    vectors = vectors_of(embedded["vector"])
    settings = job.settings.generators
    leanings = taste.leanings(vectors) if taste is not None else vectors
    cohort = group_users(
        leanings, most=settings.max_cohorts, least_users=settings.min_cohort_users, seed=job.settings.seed
    )
    users = embedded.select("user_id").with_row_index("index").with_columns(cohort=pl.Series(cohort))
    personal = slates.filter(pl.col("user_id") != EVERYONE)
    chances = (part.select(*_PAIR, "click_chance") for part in read_parts(job.run / "ranking" / "scores.parquet"))
    scores = pl.concat([part.join(personal, on=_PAIR, how="semi") for part in chances])
    rows = (
        personal.join(scores, on=_PAIR, maintain_order="left")
        .join(users, on="user_id", maintain_order="left")
        .join(concepts.select("concept_id").with_row_index("concept"), on="concept_id", maintain_order="left")
        .drop_nulls("concept")
        .select("user_id", "concept_id", "click_chance", "index", "cohort", "concept")
    )
    ranked = rank_renders(
        cohort,
        leanings,
        taste,
        slate_user=rows["index"].to_numpy().astype(np.int64),
        slate_concept=rows["concept"].to_numpy().astype(np.int64),
        click_chance=rows["click_chance"].to_numpy(),
    )
    if len(users) < settings.min_cohort_users:
        ranked = []  # they make one cohort of everybody, which is smaller than was promised to each of them
    names = concepts["concept_id"].to_list()
    worth = pl.DataFrame(
        [(render.cohort, names[render.concept], render.users, render.expected_extra_clicks) for render in ranked],
        schema={"cohort": pl.Int64, "concept_id": pl.String, "users": pl.Int64, "expected_extra_clicks": pl.Float64},
        orient="row",
    )
    return Audience(users, vectors, rows, worth, worth.head(renders))


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
