"""Turns a run folder into all of its creatives: those of the batch, and those that were drawn again after a rejection."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl

from contracts.errors import RunError
from contracts.tables import Creatives, polars_schema

REDRAWN = "redrawn"
"""Folder in a run: one folder a redraw, each with creatives.parquet, images/, scenes/ and redraw.json."""

REDRAW_FILE = "redraw.json"
"""Of one redraw: `replaces`, `reasons`, `requested_by`, `at`, `knobs`, `attempt`, `headlines` by creative_id, `scenes`."""


def run_creatives(run: Path) -> pl.DataFrame:
    """Every creative of a run, the batch's first, then redraws in the order they were made.

    Returns:
        The columns of `creatives` with `file` relative to the run, and: scene (path of the scene without type, relative
        to the run), replaces (the rejected creative_id that it was drawn for; null: of the batch), reasons (of that
        rejection), headline (that was set, where it is not the concept's first; else null).

    Raises:
        RunError: the run has no creatives yet, or a table is damaged.
    """
    parts = [_part(run, "generators", None)]
    for folder in sorted((run / REDRAWN).glob("*/")):
        if folder.suffix != ".part" and (folder / REDRAW_FILE).is_file():
            parts.append(_part(run, folder.relative_to(run).as_posix(), folder / REDRAW_FILE))
    return pl.concat(parts)


def _part(run: Path, where: str, redraw: Path | None) -> pl.DataFrame:
    path = run / where / "creatives.parquet"
    try:
        rows = pl.read_parquet(path, glob=False).select(
            pl.col(name).cast(kind) for name, kind in polars_schema(Creatives).items()
        )
        told = {} if redraw is None else json.loads(redraw.read_text(encoding="utf-8"))
    except (OSError, ValueError, pl.exceptions.PolarsError) as error:
        raise RunError(
            "the creatives cannot be read", where=str(path), fix="Finish the run: adloom run DATA."
        ) from error
    headlines = {name: told["headlines"].get(name) for name in rows["creative_id"]} if told else {}
    return rows.with_columns(
        file=pl.format("{}/{}", pl.lit(where), "file"),
        scene=pl.format("{}/scenes/{}.png", pl.lit(where), "creative_id"),
        replaces=pl.lit(told.get("replaces"), dtype=pl.String),
        reasons=pl.lit(told.get("reasons", []), dtype=pl.List(pl.String)),
        headline=pl.col("creative_id").replace_strict(headlines, default=None, return_dtype=pl.String),
    )
