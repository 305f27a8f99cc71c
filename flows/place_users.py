"""Turns the log, some users at a time, into their interests and embeddings: here, or on the workers of a cluster."""

from __future__ import annotations

import datetime as dt
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl

from contracts.settings import FeatureSettings
from contracts.tables import Embeddings, Interests
from features.embeddings import embeddings
from features.interests import interests
from features.space import Space
from flows.job import Job
from flows.part_users import files_of, read_parts, write_parts
from flows.spread_work import workers_of

INTERESTS, EMBEDDINGS = "interests.parquet", "embeddings.parquet"
"""The tables, in the stage's folder and in those of parts."""

_PLACING = "placing"


def place_users(job: Job, log: Path, space: Space, as_of: dt.datetime, folder: Path) -> pl.DataFrame:
    """Writes the interests and embeddings of all users of a log; the embeddings.

    Args:
        job: whose settings and cluster.
        log: events sorted by user_id, in parts of whole users.
        space: with its guests.
        as_of: the moment at which users are looked at.
        folder: of the stage.
    """
    today: list[pl.DataFrame] = []

    def parts() -> Iterator[pl.DataFrame]:
        for wanted, placed in (_spread if job.cluster else _here)(job, log, space, as_of, folder / _PLACING):
            today.append(placed)
            yield wanted

    write_parts(folder / INTERESTS, parts())
    shutil.rmtree(folder / _PLACING, ignore_errors=True)  # also that of an earlier attempt, on a cluster
    table = pl.concat(today)
    table.write_parquet(folder / EMBEDDINGS)
    return table


def place_part(file: Path, space: Space, as_of: dt.datetime, settings: FeatureSettings, folder: Path) -> None:
    """Writes the interests and embeddings of the users of one file of the log, see `place_users`."""
    for name, table in zip(
        (INTERESTS, EMBEDDINGS), _tables(pl.read_parquet(file), space, as_of, settings), strict=True
    ):
        table.write_parquet(folder / name)


def browsing_settings(settings: FeatureSettings) -> dict[str, Any]:
    """The settings that say how browsing is weighed, as the features package takes them."""
    return {
        "half_life_days": settings.half_life_days,
        "delay_seconds": settings.delay_seconds,
        "action_weights": settings.action_weights,
    }


def _tables(
    events: pl.DataFrame, space: Space, as_of: dt.datetime, settings: FeatureSettings
) -> tuple[pl.DataFrame, pl.DataFrame]:
    asked: dict[str, Any] = {"as_of": as_of, **browsing_settings(settings)}
    return Interests.validate(interests(events, **asked)), Embeddings.validate(embeddings(events, space, **asked))


def _here(
    job: Job, log: Path, space: Space, as_of: dt.datetime, _: Path
) -> Iterator[tuple[pl.DataFrame, pl.DataFrame]]:
    for events in read_parts(log):
        yield _tables(events, space, as_of, job.settings.features)


def _spread(
    job: Job, log: Path, space: Space, as_of: dt.datetime, home: Path
) -> Iterator[tuple[pl.DataFrame, pl.DataFrame]]:
    parts = {file.stem: (file.resolve(), space, as_of, job.settings.features) for file in files_of(log)}
    with workers_of(job.cluster) as workers:
        for part in workers.spread(place_part, parts, home.resolve()):
            yield pl.read_parquet(part / INTERESTS), pl.read_parquet(part / EMBEDDINGS)
