"""Turns the columns of a raw table into ours: names, units, constants of the path; and names those at fault."""

from __future__ import annotations

import polars as pl

from contracts.errors import DataError
from contracts.tables import INPUT_TABLES, polars_schema
from sources.checks import column_faults
from sources.mapping import Mapping, apply
from sources.places import Part
from sources.raw import RawTable
from sources.rules import Rules


def is_free_text(table: str, mapping: Mapping, column: str) -> bool:
    """Whether a cell may hold a line break: text and lists may, keys, times and numbers may not."""
    theirs = {name: ours for ours, name in mapping.of(table).columns.items()}
    ours = theirs.get(column, column)
    dtype = polars_schema(INPUT_TABLES[table]).get(ours, pl.String())
    return dtype in (pl.String, pl.List(pl.String)) and not ours.endswith("_id")


def adapted(table: str, raw: RawTable, part: Part, rules: Rules) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The raw frame with our names and units, and the faults of doing so; raises DataError for a column at fault."""
    mapping = rules.mapping.of(table)
    wanted = {*INPUT_TABLES[table].columns(), *mapping.columns.values()}
    given = {name: value for name, value in part.constants.items() if name in wanted and name not in raw.frame.columns}
    frame = raw.frame.with_columns(pl.lit(value, dtype=pl.String).alias(name) for name, value in given.items())
    frame, faults = apply(table, frame, mapping, source=raw.source)
    if rules.has_clicks and table == "impressions":
        if "clicked" in frame.columns:
            raise DataError(
                "has a column clicked, and there is a clicks table", where=raw.source, fix="Remove one of the two."
            )
        frame = frame.with_columns(clicked=pl.lit(False))
    wrong = column_faults(table, RawTable(raw.source, raw.is_text, frame, raw.rows, raw.broken))
    if wrong:
        what = "; ".join(fault.what for fault in wrong)
        raise DataError(what, where=raw.source, fix=" ".join(dict.fromkeys(fault.fix for fault in wrong)))
    return frame, faults


def unknown_columns(table: str, frame: pl.DataFrame) -> list[str]:
    """A remark on columns that are not used."""
    extra = [name for name in frame.columns if name not in INPUT_TABLES[table].columns()]
    return [f"ignores the unknown column(s) {', '.join(map(repr, extra))}"] if extra else []
