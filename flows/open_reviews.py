"""Turns a run and a database URL into its log of decisions, and the run's creatives with the hashes of their files."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import polars as pl

from contracts.errors import RunError
from contracts.run_creatives import run_creatives
from contracts.store import file_hash
from flows.job import database_of
from review.database import open_database
from review.decisions import DecisionLog


@contextmanager
def open_log(run: Path, database: str | None = None) -> Iterator[DecisionLog]:
    """The log of decisions on a run. Raises RunError when it is no run, or the database cannot be opened."""
    if not run.is_dir():
        raise RunError("there is no such run", where=str(run), fix="Give a folder below data/runs.")
    opened = open_database(database or database_of(run.parent))
    try:
        yield DecisionLog(opened)
    finally:
        opened.close()


def hashed_creatives(run: Path) -> pl.DataFrame:
    """`run_creatives` with file_hash: sha256 of the picture as it is now, null where there is none."""
    creatives = run_creatives(run)
    hashes = [file_hash(run / file) if (run / file).is_file() else None for file in creatives["file"]]
    return creatives.with_columns(file_hash=pl.Series(hashes, dtype=pl.String))
