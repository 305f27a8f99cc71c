"""Turns one CSV or Parquet file into a raw frame with row numbers, and the lines that are no rows into reasons."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from contracts.errors import DataError

MAX_LINES_PER_RECORD = 1000
"""A quoted field that runs over more lines than this is taken for a quote that was never closed."""
MAX_COLUMNS = 500

BROKEN_ROWS = {"row": pl.Int64, "column": pl.String, "reason": pl.String, "raw": pl.String}

_START, _CONTINUED, _SET_ASIDE, _BLANK = 0, 1, 2, 3  # what a line of a CSV file is
_FIELD = r'(?:[^",]*|"(?:[^"]|"")*")'
_INSIDE_QUOTES = re.compile(r'[^"]*(?:""[^"]*)*')
_NEVER_CLOSED = "has a broken quote (never closed)"
_NOT_UTF8 = "is not UTF-8"


@dataclass(frozen=True, slots=True)
class RawTable:
    """What a file holds, before any value was judged.

    Attributes:
        source: name of the file.
        is_text: the file is a CSV: every column of `frame` is a string, an empty cell is "" or null.
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


def read_raw(path: Path, *, may_hold_line_break: Callable[[str], bool]) -> RawTable:
    """Reads `<name>.parquet` or `<name>.csv` (UTF-8, commas, RFC 4180 quotes, BOM allowed).

    A CSV line that is no row (a broken quote, a wrong number of fields, not UTF-8) is set aside alone; reading goes on
    at the next line. A record may run over several lines inside quotes, in columns where that makes sense.

    Args:
        path: the file.
        may_hold_line_break: says of a column name whether its cells may hold a line break. Elsewhere an open quote at
            the end of a line is broken: it must not swallow the rows below it.

    Raises:
        DataError: the file cannot be read at all: missing, empty, cut off, no table, no usable header.
    """
    try:
        if path.suffix == ".parquet":
            return _read_parquet(path)
        return _read_csv(path, may_hold_line_break)
    except OSError as error:
        raise DataError(
            f"cannot be read ({error.strerror or error})", where=path.name, fix="Check that it is a readable file."
        ) from error


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


def _read_parquet(path: Path) -> RawTable:
    if path.stat().st_size == 0:
        raise DataError("is empty (0 bytes)", where=path.name, fix="Write the file again.")
    try:
        frame = pl.read_parquet(path, glob=False, hive_partitioning=False)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        raise DataError(
            "is damaged, cut off or no Parquet file", where=path.name, fix="Write the file again."
        ) from error
    rows = pl.int_range(1, frame.height + 1, dtype=pl.Int64, eager=True)
    return RawTable(path.name, False, frame, rows, pl.DataFrame(schema=BROKEN_ROWS))


def _read_csv(path: Path, may_hold_line_break: Callable[[str], bool]) -> RawTable:
    lines, damaged = _lines(path)
    blank = (lines.str.strip_chars() == "").to_numpy()
    if blank.all():
        raise DataError("is empty", where=path.name, fix="Write the file again, with a header.")
    first = int(np.argmin(blank))
    if first in damaged:
        raise DataError(f"has a header that {_NOT_UTF8}", where=path.name, fix="Save the file as UTF-8.")
    names = _header(lines[first], path.name)
    body, below = lines[first + 1 :], {line - first - 1 for line in damaged}
    kinds, reasons = _classify(body, blank[first + 1 :], names, below, may_hold_line_break)
    numbers = np.cumsum((kinds == _START) | (kinds == _SET_ASIDE))
    frame = _parse(body.filter(pl.Series(kinds <= _CONTINUED)), names, int((kinds == _START).sum()), path.name)
    aside = kinds == _SET_ASIDE
    broken = pl.DataFrame(
        {
            "row": pl.Series(numbers[aside], dtype=pl.Int64),
            "column": pl.repeat("", int(aside.sum()), dtype=pl.String, eager=True),
            "reason": reasons.filter(pl.Series(aside)),
            "raw": raw_json(body.filter(pl.Series(aside)).alias("line").to_frame()),
        },
        schema=BROKEN_ROWS,
    )
    return RawTable(path.name, True, frame, pl.Series("row", numbers[kinds == _START], dtype=pl.Int64), broken)


def _lines(path: Path) -> tuple[pl.Series, frozenset[int]]:
    """The lines of a text file without their ends, and the numbers of those that are not UTF-8."""
    data = path.read_bytes()
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise DataError("is UTF-16", where=path.name, fix="Save the file as UTF-8.")
    data = data.removeprefix(b"\xef\xbb\xbf")
    if not data:
        raise DataError("is empty (0 bytes)", where=path.name, fix="Write the file again, with a header.")
    damaged: frozenset[int] = frozenset()
    try:
        data.decode()
    except UnicodeDecodeError:
        damaged = frozenset(number for number, line in enumerate(data.split(b"\n")) if not _is_utf8(line))
        data = data.decode(errors="replace").encode()
    return pl.read_lines(data).to_series(), damaged


def _is_utf8(line: bytes) -> bool:
    try:
        line.decode()
    except UnicodeDecodeError:
        return False
    return True


def _header(line: str, source: str) -> list[str]:
    try:
        names = [name.strip() for name in next(csv.reader([line], strict=True))]
    except (csv.Error, StopIteration) as error:
        raise DataError("has a broken quote in its header", where=source, fix="Mend the first line.") from error
    names = [name or f"unnamed_{place}" for place, name in enumerate(names, start=1)]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        listed = ", ".join(map(repr, twice))
        raise DataError(f"has columns of the same name: {listed}", where=source, fix="Give each column its own name.")
    if len(names) > MAX_COLUMNS:
        raise DataError(
            f"has {len(names)} columns, more than {MAX_COLUMNS}", where=source, fix="Leave out those it does not need."
        )
    if len(names) == 1 and (";" in line or "\t" in line):
        raise DataError("is not separated by commas", where=source, fix="Write it with commas between the fields.")
    return names


def _classify(
    lines: pl.Series,
    blank: npt.NDArray[np.bool_],
    names: list[str],
    damaged: set[int],
    may_hold_line_break: Callable[[str], bool],
) -> tuple[npt.NDArray[np.uint8], pl.Series]:
    """What each line is, (L,), and why it was set aside, (L,) strings or null."""
    width = len(names)
    sound = lines.str.contains(f"^{_FIELD}(?:,{_FIELD}){{{width - 1}}}$").to_numpy().copy()
    in_file = [line for line in damaged if 0 <= line < len(lines)]
    sound[in_file] = False
    kinds = np.where(blank, _BLANK, np.where(sound, _START, _SET_ASIDE)).astype(np.uint8)
    kinds[in_file] = _SET_ASIDE
    quoted = lines.str.contains('"', literal=True).to_numpy()
    fields = pl.format("has {} field(s) instead of {}", pl.col("line").str.count_matches(",", literal=True) + 1, width)
    frame = pl.DataFrame({"line": lines, "aside": kinds == _SET_ASIDE})
    reasons = frame.select(reason=pl.when("aside").then(fields)).to_series()
    found: dict[int, str] = {}
    breakable = [may_hold_line_break(name) for name in names]
    done = 0
    for start in np.flatnonzero((kinds == _SET_ASIDE) & quoted).tolist():
        if start < done or start in damaged:
            continue
        length, reason = _record(lines, start, breakable, damaged)
        if length:
            kinds[start], kinds[start + 1 : start + length] = _START, _CONTINUED
            done = start + length
        else:
            found[start] = reason
    found |= dict.fromkeys(in_file, _NOT_UTF8)
    if found:
        places = pl.Series(list(found), dtype=pl.UInt32)
        reasons = reasons.scatter(places, pl.Series(list(found.values()), dtype=pl.String))
    return kinds, reasons


def _record(lines: pl.Series, start: int, breakable: list[bool], damaged: set[int]) -> tuple[int, str]:
    """How many lines the record that begins at line `start` covers, and ""; or 0 and why it is none."""
    width, field, used, place = len(breakable), 0, 1, 0
    line: str = lines[start]
    while field < width:
        if line.startswith('"', place):
            end = _end_of_quoted(line, place + 1)
            while end == len(line):
                following = start + used
                at_limit = used == MAX_LINES_PER_RECORD or following >= len(lines)
                if at_limit or not breakable[field] or following in damaged:
                    return 0, _NEVER_CLOSED
                line, used = lines[following], used + 1
                end = _end_of_quoted(line, 0)
            place = end + 1
            if place < len(line) and line[place] != ",":
                return 0, "has a broken quote (text after the closing quote)" if used == 1 else _NEVER_CLOSED
        else:
            comma = line.find(",", place)
            end = len(line) if comma < 0 else comma
            if '"' in line[place:end]:
                return 0, "has a broken quote (inside an unquoted field)" if used == 1 else _NEVER_CLOSED
            place = end
        field += 1
        if place >= len(line):
            if field == width:
                return used, ""
            return 0, f"has {field} field(s) instead of {width}" if used == 1 else _NEVER_CLOSED
        place += 1
    return 0, f"has more than {width} field(s)" if used == 1 else _NEVER_CLOSED


def _end_of_quoted(line: str, place: int) -> int:
    """Where the closing quote stands, looking from `place` on; the line's length when it does not close here."""
    match = _INSIDE_QUOTES.match(line, place)
    assert match is not None  # the pattern matches the empty string
    return match.end()


def _parse(lines: pl.Series, names: list[str], records: int, source: str) -> pl.DataFrame:
    """The well-formed `lines` as a frame of strings, (records, len(names))."""
    schema = dict.fromkeys(names, pl.String())
    if not records:
        return pl.DataFrame(schema=schema)
    text = io.BytesIO()
    lines.to_frame().write_csv(text, include_header=False, quote_style="never")
    frame = pl.read_csv(text.getvalue(), has_header=False, schema=schema, infer_schema=False)
    if frame.height != records:  # the parallel reader split inside quotes: take the slow road
        rows = csv.reader(io.StringIO(text.getvalue().decode(), newline=""), strict=True)
        frame = pl.DataFrame(list(rows), schema=schema, orient="row")
    if frame.height != records:
        raise DataError("cannot be told apart into rows", where=source, fix="Write the file again, as Parquet.")
    return frame
