"""Turns logged impressions into the rows that a ranker learns from: all at once here, or some users' by each worker of a cluster."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl

from features.history_lengths import history_lengths
from features.space import Space
from flows.job import Job
from flows.part_users import by_file, files_of
from flows.score_day import Day
from flows.spread_work import workers_of

_FILLING, _ASKED, _ROWS, _ROW = "filling", "asked.parquet", "rows.parquet", "row"


def fill_log(job: Job, day: Day, log: Path, impressions: pl.DataFrame, folder: Path) -> pl.DataFrame:
    """The impressions with the events of their users known then (`history_events`) and the features, in their order.

    Args:
        job: whose settings and cluster.
        day: what features are made of.
        log: its events, in parts of whole users.
        impressions: all of the log.
        folder: of the stage.
    """
    if job.cluster and len(files_of(log)) > 1:
        asked = impressions.with_row_index(_ROW).sort("user_id", maintain_order=True)
        rows = pl.concat(list(_spread(job, day, log, asked, folder / _FILLING))).sort(_ROW).drop(_ROW)
    else:
        asked = impressions.select("user_id", "at").with_row_index(_ROW).sort("user_id", maintain_order=True)
        known = np.zeros(len(asked), dtype=np.int64)
        for file, theirs in by_file(asked, log):
            known[theirs[_ROW].to_numpy()] = _known(job, pl.read_parquet(file, glob=False), theirs)
        del asked
        rows = day.table(impressions.with_columns(history_events=pl.Series(known)))
    shutil.rmtree(folder / _FILLING, ignore_errors=True)  # also that of an earlier attempt, on a cluster
    return rows


def _known(job: Job, events: pl.DataFrame, rows: pl.DataFrame) -> np.ndarray:
    moments = rows.select("user_id", "at")
    return np.asarray(history_lengths(events, moments, delay_seconds=job.settings.features.delay_seconds))


def _spread(job: Job, day: Day, log: Path, asked: pl.DataFrame, home: Path) -> Iterator[pl.DataFrame]:
    home.mkdir(exist_ok=True)
    parts = {}
    for file, theirs in by_file(asked, log):
        rows = home.resolve() / f"{file.stem}-{_ASKED}"
        theirs.write_parquet(rows)
        parts[file.stem] = (job.elsewhere(), file.resolve(), rows, day.others["space"], day.placed)
    with workers_of(job.cluster) as workers:
        for part in workers.spread(fill_part, parts, home):
            yield pl.read_parquet(part / _ROWS)


def fill_part(job: Job, file: Path, asked: Path, space: Space, placed: pl.DataFrame, folder: Path) -> None:
    """Writes the rows of the users of one file of the log, see `fill_log`.

    Args:
        job: whose sources stage is finished.
        file: events of some users.
        asked: impressions of theirs.
        space: with its guests.
        placed: concept_id, vector.
        folder: where to.
    """
    concepts, impressions = (
        pl.read_parquet(job.run / "sources" / f"{name}.parquet") for name in ("concepts", "impressions")
    )
    events, rows = pl.read_parquet(file, glob=False), pl.read_parquet(asked)
    day = Day.of(events, impressions, concepts, space, placed, job.settings)
    rows = rows.with_columns(history_events=pl.Series(_known(job, events, rows)))
    day.table(rows).write_parquet(folder / _ROWS)
