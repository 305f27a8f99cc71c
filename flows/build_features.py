"""Turns checked tables into the space, interests, embeddings, and the ranker's rows for log, replay and today."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from contracts.settings import FeatureSettings
from contracts.store import write_json
from contracts.tables import Embeddings, Interests
from features.embeddings import embeddings, embeddings_at
from features.interests import interests
from features.space import Space
from features.table import ranking_table
from flows.choose_models import choose_space
from flows.job import Job, Stage
from ranking.candidates import best_pairs
from ranking.popularity import popularity
from ranking.split import boundaries


def work(job: Job, folder: Path) -> None:
    """Writes space/, interests, embeddings, concept_vectors, logged, replay, daily and facts.json."""
    events, concepts, impressions = (
        pl.read_parquet(job.run / "sources" / f"{name}.parquet") for name in ("events", "concepts", "impressions")
    )
    settings = job.settings.features
    test_from = boundaries(impressions, job.settings.ranking).test_from
    space, origin = choose_space(
        job.models, events, events.filter(pl.col("at") < test_from), settings, made_by=job.run_id
    )
    space.save(folder / "space")
    as_of = last_moment(events, impressions) + dt.timedelta(microseconds=1)
    Interests.validate(interests(events, as_of=as_of, **browsing_settings(settings))).write_parquet(
        folder / "interests.parquet"
    )
    today = embeddings(events, space, as_of=as_of, **browsing_settings(settings))
    Embeddings.validate(today).write_parquet(folder / "embeddings.parquet")
    concept_vectors = space.place_concepts(concepts)
    concepts.select("concept_id").with_columns(
        vector=pl.Series(concept_vectors.tolist(), dtype=pl.List(pl.Float32))
    ).write_parquet(folder / "concept_vectors.parquet")

    known: dict[str, Any] = {
        "events": events,
        "impressions": impressions,
        "concepts": concepts,
        "space": space,
        "settings": settings,
    }
    ranking_table(impressions, **known).write_parquet(folder / "logged.parquet")
    moments = today.select("user_id", at=pl.lit(as_of, dtype=pl.Datetime("us", "UTC")))
    vectors = np.array(today["vector"].to_list(), dtype=np.float32)
    candidates: dict[str, Any] = {
        "limit": job.settings.ranking.candidates,
        "concept_vectors": concept_vectors,
        "popularity": popularity(impressions.filter(pl.col("at") < test_from), concepts),
    }
    daily = best_pairs(moments, concepts, vectors=vectors, **candidates)
    ranking_table(daily, **known).write_parquet(folder / "daily.parquet")
    tested = impressions.filter(pl.col("at") >= test_from)
    if can_be_replayed(tested):
        slates = tested.select("user_id", "at").unique(maintain_order=True)
        before = embeddings_at(events, space, slates, **browsing_settings(settings))
        replay = best_pairs(slates, concepts, vectors=before, **candidates)
        ranking_table(replay, **known).write_parquet(folder / "replay.parquet")
    write_json(folder / "facts.json", facts(space, origin, as_of, test_from, today, daily))


def last_moment(*tables: pl.DataFrame) -> dt.datetime:
    """The latest `at` of the tables, of which at least one has a row."""
    return max(at for at in (table["at"].max() for table in tables) if isinstance(at, dt.datetime))


def browsing_settings(settings: FeatureSettings) -> dict[str, Any]:
    """The settings that say how browsing is weighed, as the features package takes them."""
    return {
        "half_life_days": settings.half_life_days,
        "delay_seconds": settings.delay_seconds,
        "action_weights": settings.action_weights,
    }


def can_be_replayed(impressions: pl.DataFrame) -> bool:
    """Whether the log carries the propensity of every choice."""
    return "propensity" in impressions.columns and impressions["propensity"].null_count() == 0 and len(impressions) > 0


def facts(
    space: Space, origin: str, as_of: dt.datetime, test_from: dt.datetime, today: pl.DataFrame, daily: pl.DataFrame
) -> dict[str, Any]:
    """What later stages and the report need to know of this stage."""
    return {
        "space_hash": space.hash,
        "space_origin": origin,
        "dimensions": space.dimensions,
        "as_of": as_of.isoformat(),
        "test_from": test_from.isoformat(),
        "users": len(today),
        "pairs": len(daily),
    }


def say(folder: Path) -> str:
    """Users placed and pairs prepared."""
    known = json.loads((folder / "facts.json").read_text())
    return f"{known['users']:,} users in {known['dimensions']} dimensions (space {known['space_origin']}), {known['pairs']:,} pairs"


STAGE = Stage(
    name="features",
    reads=("sources",),
    settings=lambda settings: {
        "features": settings.features.model_dump(mode="json"),
        "ranking": settings.ranking.model_dump(
            mode="json", include={"candidates", "validation_share", "calibration_share", "test_share"}
        ),
    },
    packages=("features", "ranking"),
    libraries=("polars", "numpy", "scipy"),
    work=work,
    say=say,
)
