"""Turns a data folder into a ranker, outside the batch: with the settings given, or with better ones that it looks for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from contracts.settings import RankingSettings
from contracts.store import digest_of, write_atomically
from flows import build_features, check_sources
from flows.choose_ranker import Choice, choose
from flows.job import Job
from flows.learn_ranker import context, names, training_digest
from ranking.ranker import train
from ranking.split import split
from ranking.tuning import TUNED, Trial, as_toml, best, tune


@dataclass(frozen=True)
class Learned:
    """What came out: the choice, and, of a search, all trials and the file with the best settings."""

    choice: Choice
    trials: tuple[Trial, ...] = ()
    settings_file: Path | None = None


def train_ranker(
    job: Job, *, trials: int, stage_told: Callable[[str], None], tell: Callable[[Trial, Trial, int], None]
) -> Learned:
    """Trains on the job's run (whose sources and features are made if need be), after a search of `trials` trials.

    A search is kept in `models/ranker.tuning/<digest of data and settings>`: the same command goes on with it.

    Args:
        job: data, settings, runs and models.
        trials: of the search, those of an earlier call included; 0: no search.
        stage_told: told the name of a stage that is worked on first.
        tell: told each new trial, the best so far and how many there will be.
    """
    with job.store.locked():
        for stage in (check_sources.STAGE, build_features.STAGE):
            key = stage.key(job)
            if job.store.current(key) is None:
                stage_told(stage.name)
                job.store.perform(key, lambda folder, stage=stage: stage.work(job, folder))  # type: ignore[misc]
    logged = split(pl.read_parquet(job.run / "features" / "logged.parquet"), job.settings.ranking)
    settings = job.settings.ranking
    found: tuple[Trial, ...] = ()
    file: Path | None = None
    if trials:
        folder = job.models / "ranker.tuning" / training_digest(job)[:12]
        found = tuple(
            tune(
                logged,
                names(job.settings),
                settings,
                job.settings.seed,
                trials=trials,
                storage=folder / "trials.log",
                directions=context(job)["directions"],
                tell=tell,
            )
        )
        file = folder / "best.toml"
        write_atomically(file, as_toml(best(found)).encode())
        settings = with_trial(settings, best(found))
    ranker = train(logged, names(job.settings), settings, job.settings.seed, **context(job))
    choice = choose(
        ranker,
        job.models,
        logged.filter(pl.col("part") == "test"),
        by=digest_of({"training": training_digest(job), "settings": settings.model_dump(mode="json")}),
        made_by="adloom train ranker",
        k=settings.slate_size,
        seed=job.settings.seed,
    )
    return Learned(choice, found, file)


def with_trial(settings: RankingSettings, trial: Trial) -> RankingSettings:
    """The settings with those of a trial."""
    return settings.model_copy(update={name: trial.settings[name] for name in TUNED})
