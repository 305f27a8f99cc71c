"""Turns what a file holds, before any value was judged, into a record: rows, their numbers, and what is no row."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

BROKEN_ROWS = {"row": pl.Int64, "column": pl.String, "reason": pl.String, "check": pl.String, "raw": pl.String}


@dataclass(frozen=True, slots=True)
class RawTable:
    """What a file holds, before any value was judged.

    Attributes:
        source: name of the file.
        is_text: the file is text: every column of `frame` is a string, an empty cell is "" or null.
        frame: the rows that could be told apart, in file order.
        rows: (frame.height,) int64, their row numbers, from 1, the header and blank lines not counted.
        broken: the rows that could not, with the columns of `BROKEN_ROWS`.
    """

    source: str
    is_text: bool
    frame: pl.DataFrame
    rows: pl.Series
    broken: pl.DataFrame

    @property
    def read(self) -> int:
        """Rows in the file, readable or not."""
        return self.frame.height + self.broken.height


def broken_rows(numbers: npt.NDArray[np.int64], reasons: pl.Series, lines: pl.Series) -> pl.DataFrame:
    """Lines that are no rows, (N,) each, as `BROKEN_ROWS`."""
    return pl.DataFrame(
        {
            "row": pl.Series(numbers, dtype=pl.Int64),
            "column": pl.repeat("", len(lines), dtype=pl.String, eager=True),
            "reason": reasons,
            "check": pl.repeat("unreadable_row", len(lines), dtype=pl.String, eager=True),
            "raw": raw_json(lines.alias("line").to_frame()),
        },
        schema=BROKEN_ROWS,
    )


def raw_json(rows: pl.DataFrame) -> pl.Series:
    """(rows.height,) strings: every row as one JSON object, as it was read; bytes as their length, NaN as text."""
    if not rows.width:
        return pl.Series("raw", ["{}"] * rows.height, dtype=pl.String)
    columns: list[pl.Expr] = []
    for name, dtype in rows.schema.items():
        column = pl.col(name)
        if dtype == pl.Binary:
            column = pl.format("<{} bytes>", column.bin.size())
        elif dtype.is_float():
            finite = rows[name].is_finite().fill_null(True).all()
            column = column if finite else column.cast(pl.String)
        elif not (dtype.is_integer() or dtype in (pl.String, pl.Boolean) or dtype == pl.List(pl.String)):
            column = _printed(rows[name])
        columns.append(column.alias(name))
    return rows.select(raw=pl.struct(columns).struct.json_encode())["raw"]


def _printed(values: pl.Series) -> pl.Expr:
    if values.dtype.is_nested() or values.dtype == pl.Object:
        printed = [None if value is None else str(value) for value in values.to_list()]
        return pl.lit(pl.Series(printed, dtype=pl.String))
    return pl.col(values.name).cast(pl.String, strict=False)
