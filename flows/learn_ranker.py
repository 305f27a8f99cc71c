"""Turns a run's logged ranking rows into the ranker it uses: a new one, or the one in use where the new one is worse."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

import polars as pl

from contracts.settings import Settings
from contracts.store import code_version, digest_of
from features.directions import direction_of
from features.glossary import features_of
from flows.choose_ranker import Choice, choose, rival
from flows.job import Job
from flows.train_together import train_together
from ranking.explanations import importance, partial_dependence
from ranking.ranker import Ranker, train

DEPENDENCES = 6
"""Features whose partial dependence the report shows, the most important ones."""


def learn(job: Job, logged: pl.DataFrame, folder: Path) -> Choice:
    """Trains a ranker on the run's logged rows and chooses between it and the one in use, by the test part.

    Args:
        job: whose features stage is finished.
        logged: its logged rows with their `part`.
        folder: of the stage that learns, for what workers of a cluster are given.
    """
    settings = job.settings.ranking
    together = functools.partial(train_together, job, folder)
    return choose(
        train(logged, names(job.settings), settings, job.settings.seed, learn=together, **context(job)),
        job.models,
        logged.filter(pl.col("part") == "test"),
        by=training_digest(job),
        made_by=job.run_id,
        k=settings.slate_size,
        seed=job.settings.seed,
    )


def names(settings: Settings) -> list[str]:
    """The features that the ranker reads, in order."""
    return [feature.name for feature in features_of(settings.features)]


def context(job: Job) -> dict[str, Any]:
    """What else a training is given: the directions of the features, and the space they were made in."""
    return {
        "directions": {name: direction_of(name)[0] for name in names(job.settings)},
        "space_hash": space_hash(job),
    }


def space_hash(job: Job) -> str:
    """Of the space that the run's features were made in."""
    return str(json.loads((job.run / "features" / "facts.json").read_text())["space_hash"])


def training_digest(job: Job) -> str:
    """Of all that decides the run's own ranker, but for its rival."""
    return digest_of(
        {
            "run": job.run_id,
            "features": job.store.digest("features"),
            "settings": {
                "ranking": job.settings.ranking.model_dump(mode="json"),
                "features": job.settings.features.model_dump(mode="json"),
            },
            "seed": job.settings.seed,
            "code": code_version(("contracts", "flows", "ranking", "features")),
        }
    )


def rival_of(job: Job) -> dict[str, str]:
    """The ranker that the run's own one is compared with, for the manifest."""
    return {"ranker in use": rival(job.models, space_hash(job), training_digest(job)) or "none"}


def explained(ranker: Ranker, rows: pl.DataFrame, seed: int) -> dict[str, Any]:
    """What moves the ranker's scores over rows: every feature's importance, and the dependence on the first few."""
    found = importance(ranker, rows, seed=seed)
    leading = [one["feature"] for one in found[:DEPENDENCES] if one["moves"] > 0]
    return {"importance": found, "dependence": partial_dependence(ranker, rows, leading, seed=seed)}
