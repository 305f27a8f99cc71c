"""Turns somebody's slates file into a checked table of user_id, position, concept_id."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from contracts.errors import DataError


def read_slates(path: Path) -> pl.DataFrame:
    """Slates from Parquet or CSV.

    Raises:
        DataError: the file cannot be read, lacks a column, holds a null or fills a position twice.
    """
    fix = "Give user_id, position (from 0) and concept_id, one row per position."
    try:
        table = pl.read_parquet(path) if path.suffix == ".parquet" else pl.read_csv(path, infer_schema=False)
        slates = table.select(
            pl.col("user_id").cast(pl.String), pl.col("position").cast(pl.Int32), pl.col("concept_id").cast(pl.String)
        )
    except (OSError, pl.exceptions.PolarsError) as error:
        raise DataError(f"cannot be read as slates ({str(error).splitlines()[0]})", where=str(path), fix=fix) from error
    if slates.is_empty() or sum(slates.null_count().row(0)):
        raise DataError("holds no rows, or empty cells", where=str(path), fix=fix)
    if (
        slates.select("user_id", "position").is_duplicated().any()
        or slates.select("user_id", "concept_id").is_duplicated().any()
    ):
        raise DataError("gives a user one position, or one concept, twice", where=str(path), fix=fix)
    return slates
