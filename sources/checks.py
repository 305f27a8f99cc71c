"""Turns one raw table into typed rows and faults, and the faults into rejected rows."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from contracts.errors import DataError
from contracts.tables import INPUT_TABLES, nullable_columns, polars_schema
from sources.casts import cast, impossible, no_faults
from sources.faults import POSITION, duplicates, row_faults, schema_faults
from sources.raw import BROKEN_ROWS, RawTable, raw_json


@dataclass(frozen=True, slots=True)
class Checked:
    """A table on its way in.

    Attributes:
        raw: as read.
        typed: (raw.frame.height,) rows with the columns of the contract and `POSITION`; null where a value did not fit.
        faults: what was found so far, with the columns of `sources.casts.FAULTS`.
    """

    raw: RawTable
    typed: pl.DataFrame
    faults: pl.DataFrame

    def good(self) -> pl.DataFrame:
        """The typed rows without a fault so far."""
        return self.typed.filter(~pl.col(POSITION).is_in(self.faults["position"].unique().implode()))

    def bad(self) -> pl.DataFrame:
        """The typed rows with a fault."""
        return self.typed.filter(pl.col(POSITION).is_in(self.faults["position"].unique().implode()))

    def with_faults(self, *found: pl.DataFrame) -> Checked:
        """The same table with more faults."""
        return Checked(self.raw, self.typed, pl.concat([self.faults, *found]))

    def rejected(self) -> pl.DataFrame:
        """The rows set aside, by the `RejectedRows` contract, in order of row.

        A row stands there once: `column` is its first column at fault, `reason` goes on with the others.
        """
        first = self.faults.unique(["position", "column"], keep="first", maintain_order=True)
        rows = (
            first.group_by("position", maintain_order=True)
            .agg(pl.col("column", "reason", "check").first(), others=pl.format("{}: {}", "column", "reason"))
            .sort("position")
        )
        aside = pl.DataFrame(
            {
                "row": self.raw.rows.gather(rows["position"]),
                "column": rows["column"],
                "reason": rows.select(
                    pl.concat_list("reason", pl.col("others").list.slice(1)).list.join("; ")
                ).to_series(),
                "check": rows["check"],
                "raw": raw_json(self.raw.frame[rows["position"]]),
            },
            schema=BROKEN_ROWS,
        )
        both = pl.concat([aside, self.raw.broken]).sort("row")
        return both.select(pl.lit(self.raw.source).alias("source"), "row", "column", "reason", "check", "raw")


def column_faults(table: str, raw: RawTable) -> list[DataError]:
    """Columns that are missing or cannot be read as a whole; nullable columns may be missing."""
    schema = INPUT_TABLES[table]
    nullable, found = nullable_columns(schema), raw.frame.schema
    faults: list[DataError] = []
    for name, due in polars_schema(schema).items():
        if name in found:
            fault = None if raw.is_text else impossible(name, found[name], due)
            if fault is not None:
                faults.append(DataError(fault.what, where=raw.source, fix=fault.fix))
        elif name not in nullable:
            near = difflib.get_close_matches(name, [other for other in found if other not in schema.columns()], n=1)
            hint = f" (is it {near[0]!r}?)" if near else ""
            faults.append(
                DataError(f"the column {name} is missing{hint}", where=raw.source, fix=f"Add {name} to {raw.source}.")
            )
    return faults


def check_rows(table: str, raw: RawTable, folder: Path) -> Checked:
    """As `check_values`, and keys that an earlier row has; references to other tables are not looked at."""
    checked = check_values(table, raw, folder)
    return checked.with_faults(duplicates(INPUT_TABLES[table], checked.good()))


def check_values(table: str, raw: RawTable, folder: Path) -> Checked:
    """Casts every column, then judges values and rows, each row for itself."""
    schema = INPUT_TABLES[table]
    columns: list[pl.Series] = []
    found = [no_faults()]
    for name, due in polars_schema(schema).items():
        if name not in raw.frame.columns:
            columns.append(pl.Series(name, [None], dtype=due).new_from_index(0, raw.frame.height))
            continue
        values, faults = cast(raw.frame[name], due)
        columns.append(_without_gaps(table, values, raw.frame[name]))
        found.append(faults)
    position = pl.int_range(raw.frame.height, dtype=pl.UInt32, eager=True).alias(POSITION)
    typed = pl.DataFrame([*columns, position])
    checked = Checked(raw, typed, pl.concat(found))
    return checked.with_faults(schema_faults(schema, typed), row_faults(table, typed, folder))


def _without_gaps(table: str, values: pl.Series, raw: pl.Series) -> pl.Series:
    """Null and the empty cell stand for an empty text or list where the contract wants a value that may be empty."""
    column = INPUT_TABLES[table].columns()[values.name]
    if column.nullable or getattr(column, "min_length", None):
        return values
    if values.dtype not in (pl.String, pl.List(pl.String)):
        return values
    empty = raw.is_null() | (raw == "") if raw.dtype == pl.String else raw.is_null()
    nothing = pl.lit("") if values.dtype == pl.String else pl.lit([], dtype=values.dtype)
    filled = pl.when(empty).then(nothing).otherwise(values.name)
    return values.to_frame().select(filled.alias(values.name)).to_series()
