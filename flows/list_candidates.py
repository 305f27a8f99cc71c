"""Turns moments into the table of their candidates, some users at a time: here, or on the workers of a cluster."""

from __future__ import annotations

import datetime as dt
import shutil
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import numpy as np
import polars as pl

from features.embeddings import embeddings_at
from features.space import Space
from flows.find_candidates import Finder
from flows.job import Job
from flows.part_users import by_file, read_parts, whole_users, write_parts
from flows.place_users import browsing_settings
from flows.score_day import LARGE_DAY, PART_PAIRS, Day
from flows.spread_work import workers_of

_FINDING, _ASKED, _FOUND = "finding", "asked.parquet", "found.parquet"


def write_candidates(job: Job, path: Path, finder: Finder, day: Day, log: Path, moments: pl.DataFrame) -> int:
    """Writes the candidates of moments, with their features where they are few; their number.

    Args:
        job: whose cluster, if there may be many.
        path: of the table: user_id, at, concept_id (sorted) and the features; of more than LARGE_DAY pairs without
            these, in parts of whole users.
        finder: of candidates.
        day: what features and embeddings are made of.
        log: its events, in parts of whole users.
        moments: user_id, at; sorted, distinct.
    """
    home = path.parent / _FINDING
    spread = job.cluster and len(moments) * finder.width > LARGE_DAY
    coming = _spread(job, home, path.stem, finder, day, log, moments) if spread else _here(finder, day, log, moments)
    held = [finder.shortlist(moments.clear(), np.zeros((0, 1), dtype=np.float32))]
    rows = 0
    for part in coming:
        held.append(part)
        rows += len(part)
        if rows > LARGE_DAY:
            rows = write_parts(path, chain(held[1:], coming))
            break
    else:
        day.table(pl.concat(held)).write_parquet(path)
    shutil.rmtree(home, ignore_errors=True)
    return rows


def _size(finder: Finder) -> int:
    """Moments of a part of the table."""
    return PART_PAIRS // min(finder.width, PART_PAIRS)


def _here(finder: Finder, day: Day, log: Path, moments: pl.DataFrame) -> Iterator[pl.DataFrame]:
    for _, theirs in by_file(moments, log):
        for some in whole_users(theirs, _size(finder)):
            yield finder.shortlist(some, day.vectors(some))


def _spread(
    job: Job, home: Path, table: str, finder: Finder, day: Day, log: Path, moments: pl.DataFrame
) -> Iterator[pl.DataFrame]:
    """The same parts, those of each file of the log found by a worker."""
    home.mkdir(exist_ok=True)
    finder.teach(home)
    parts = {}
    for file, theirs in by_file(moments, log):
        name = f"{table}-{file.stem}"
        asked = home.resolve() / f"{name}-{_ASKED}"
        theirs.write_parquet(asked)
        parts[name] = (job.elsewhere(), file.resolve(), asked, day.others["space"], finder.placed, finder.test_from)
    with workers_of(job.cluster) as workers:
        for part in workers.spread(list_part, parts, home):
            yield from read_parts(part / _FOUND)


def list_part(
    job: Job, file: Path, asked: Path, space: Space, placed: pl.DataFrame, test_from: dt.datetime, folder: Path
) -> None:
    """Writes the candidates of the users of one file of the log.

    Args:
        job: whose sources stage is finished.
        file: events of some users.
        asked: moments of theirs, beside what a finder has taught.
        space: in which users stand.
        placed, test_from: of the finder.
        folder: where to.
    """
    concepts, impressions = (
        pl.read_parquet(job.run / "sources" / f"{name}.parquet") for name in ("concepts", "impressions")
    )
    events = pl.read_parquet(file, glob=False)
    finder = Finder.of(events, impressions, concepts, placed, test_from, job.settings, taught=asked.parent)
    known = browsing_settings(job.settings.features)
    slices = whole_users(pl.read_parquet(asked), _size(finder))
    write_parts(
        folder / _FOUND, (finder.shortlist(some, embeddings_at(events, space, some, **known)) for some in slices)
    )
