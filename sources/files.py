"""Turns one file into batches of raw rows with their numbers, and the lines that are no rows into reasons."""

from __future__ import annotations

import csv
import io
import itertools
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from contracts.errors import DataError
from sources.far_storage import far_options, is_far
from sources.json_lines import json_batches
from sources.native_noise import hushed
from sources.places import Part, file_format
from sources.raw import BROKEN_ROWS, RawTable, broken_rows
from sources.text_blocks import blocks

MAX_LINES_PER_RECORD = 1000
"""A quoted field that runs over more lines than this is taken for a quote that was never closed."""
MAX_COLUMNS = 500

ROWS_PER_BATCH = 1_000_000

_START, _CONTINUED, _SET_ASIDE, _BLANK = 0, 1, 2, 3  # what a line of a CSV file is
_FIELD = r'(?:[^",]*|"(?:[^"]|"")*")'
_INSIDE_QUOTES = re.compile(r'[^"]*(?:""[^"]*)*')
_NEVER_CLOSED = "has a broken quote (never closed)"
_NOT_UTF8 = "is not UTF-8"


def read_raw(path: Path, *, may_hold_line_break: Callable[[str], bool]) -> RawTable:
    """A whole local file, as `read_batches` reads it."""
    kind, packing = file_format(path.name)
    part = Part(path.name, str(path), kind, packing, fingerprint="")
    return whole(list(read_batches(part, may_hold_line_break=may_hold_line_break)))


def whole(batches: list[RawTable]) -> RawTable:
    """All batches of a file as one."""
    frame = pl.concat([batch.frame for batch in batches], how="diagonal_relaxed")
    rows, broken = pl.concat([batch.rows for batch in batches]), pl.concat([batch.broken for batch in batches])
    return RawTable(batches[0].source, batches[0].is_text, frame, rows, broken)


def read_batches(
    part: Part, *, may_hold_line_break: Callable[[str], bool], head: int | None = None
) -> Iterator[RawTable]:
    """A file, some hundred thousand rows at a time, in file order; at least one batch.

    CSV is UTF-8 with commas, RFC 4180 quotes, BOM allowed; TSV has tabs and no quotes; NDJSON has an object a line.
    A line that is no row (a broken quote, a wrong number of fields, not UTF-8, not JSON) is set aside alone; reading
    goes on at the next line. A CSV record may run over several lines inside quotes, in columns where that makes sense.

    Args:
        part: the file.
        may_hold_line_break: says of a column name whether its cells may hold a line break. Elsewhere an open quote at
            the end of a line is broken: it must not swallow the rows below it.
        head: for a look at what is in it: no more than about so many rows; None: all.

    Raises:
        DataError: the file cannot be read at all: missing, empty, cut off, no table, no usable header.
    """
    try:
        if part.kind == "parquet":
            yield from _parquet_batches(part, head)
            return
        separator = "\t" if part.kind == "tsv" else ","
        if part.kind == "ndjson":
            found = json_batches(part.name, blocks(part))
        else:
            found = _csv_batches(part.name, blocks(part), separator, may_hold_line_break)
        yield from itertools.islice(found, None if head is None else 1)
    except OSError as error:
        raise DataError(
            f"cannot be read ({error.strerror or error})", where=part.name, fix="Check that it is a readable file."
        ) from error


def _parquet_batches(part: Part, head: int | None) -> Iterator[RawTable]:
    damaged = DataError("is damaged, cut off or no Parquet file", where=part.name, fix="Write the file again.")
    if not is_far(part.path) and Path(part.path).stat().st_size == 0:
        raise DataError("is empty (0 bytes)", where=part.name, fix="Write the file again.")
    nothing = pl.DataFrame(schema=BROKEN_ROWS)
    row = 0
    try:
        with hushed():
            scan = pl.scan_parquet(
                part.path, glob=False, hive_partitioning=False, storage_options=far_options() or None
            )
            schema = scan.collect_schema()
            scan = scan if head is None else scan.head(head)
            promised = int(scan.select(pl.len()).collect().item())
            for frame in scan.collect_batches(chunk_size=ROWS_PER_BATCH, maintain_order=True):
                rows = pl.int_range(row + 1, row + frame.height + 1, dtype=pl.Int64, eager=True)
                yield RawTable(part.name, False, frame, rows, nothing)
                row += frame.height
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        raise damaged from error
    if row != promised:  # a row group that cannot be decoded may end the batches without an error
        raise damaged
    if not row:
        yield RawTable(part.name, False, pl.DataFrame(schema=schema), pl.Series("row", [], dtype=pl.Int64), nothing)


def _csv_batches(
    source: str, found: Iterator[tuple[bytes, bool]], separator: str, may_hold_line_break: Callable[[str], bool]
) -> Iterator[RawTable]:
    names: list[str] | None = None
    held, row = b"", 0
    for block, is_last in found:
        data = held + block
        lines, damaged = _lines(data)
        blank = (lines.str.strip_chars() == "").to_numpy()
        head = 0
        if names is None:
            if blank.all():
                if is_last:
                    raise DataError("is empty", where=source, fix="Write the file again, with a header.")
                held = data
                continue
            head = int(np.argmin(blank)) + 1
            if head - 1 in damaged:
                raise DataError(f"has a header that {_NOT_UTF8}", where=source, fix="Save the file as UTF-8.")
            names = _header(lines[head - 1], source, separator)
        body, below = lines[head:], {line - head for line in damaged}
        if separator == ",":
            kinds, reasons, cut = _classify(body, blank[head:], names, below, may_hold_line_break, is_last=is_last)
        else:
            kinds, reasons, cut = _classify_plain(body, blank[head:], len(names), below, separator)
        held = _from_line(data, head + cut) if cut < len(body) else b""
        if cut < len(body):
            body, kinds, reasons = body[:cut], kinds[:cut], reasons[:cut]
        numbers = row + np.cumsum((kinds == _START) | (kinds == _SET_ASIDE))
        records = int((kinds == _START).sum())
        frame = _parse(body.filter(pl.Series(kinds <= _CONTINUED)), names, records, source, separator)
        aside = kinds == _SET_ASIDE
        broken = broken_rows(numbers[aside], reasons.filter(pl.Series(aside)), body.filter(pl.Series(aside)))
        yield RawTable(source, True, frame, pl.Series("row", numbers[kinds == _START], dtype=pl.Int64), broken)
        row = int(numbers[-1]) if len(numbers) else row


def _from_line(data: bytes, line: int) -> bytes:
    """The bytes from line `line`, counted from 0, on."""
    ends = np.flatnonzero(np.frombuffer(data, dtype=np.uint8) == ord("\n"))
    return data[int(ends[line - 1]) + 1 :] if line else data


def _classify_plain(
    lines: pl.Series, blank: npt.NDArray[np.bool_], width: int, damaged: set[int], separator: str
) -> tuple[npt.NDArray[np.uint8], pl.Series, int]:
    """As `_classify`, for lines without quotes: a line is a row when it has as many fields as the header."""
    fields = lines.str.count_matches(separator, literal=True) + 1
    kinds = np.where(blank, _BLANK, np.where((fields == width).to_numpy(), _START, _SET_ASIDE)).astype(np.uint8)
    frame = pl.DataFrame({"fields": fields})
    reasons = frame.select(reason=pl.format("has {} field(s) instead of {}", "fields", width)).to_series()
    places = [line for line in sorted(damaged) if 0 <= line < len(lines)]
    if places:
        kinds[places] = _SET_ASIDE
        reasons = reasons.scatter(places, pl.Series([_NOT_UTF8] * len(places), dtype=pl.String))
    return kinds, reasons, len(lines)


def _lines(data: bytes) -> tuple[pl.Series, frozenset[int]]:
    """The lines of a text without their ends, and the numbers of those that are not UTF-8."""
    if not data:
        return pl.Series(dtype=pl.String), frozenset()
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


def _header(line: str, source: str, separator: str) -> list[str]:
    try:
        fields = next(csv.reader([line], strict=True)) if separator == "," else line.split(separator)
        names = [name.strip() for name in fields]
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
    if len(names) == 1 and any(other in line for other in ",;\t"):
        word = "commas" if separator == "," else "tabs"
        raise DataError(f"is not separated by {word}", where=source, fix=f"Write it with {word} between the fields.")
    return names


def _classify(
    lines: pl.Series,
    blank: npt.NDArray[np.bool_],
    names: list[str],
    damaged: set[int],
    may_hold_line_break: Callable[[str], bool],
    *,
    is_last: bool,
) -> tuple[npt.NDArray[np.uint8], pl.Series, int]:
    """What each line is, (L,), why it was set aside, (L,) strings or null, and how many lines could be judged.

    Unless `is_last`, a record that is still open at the end has to wait for the lines below.
    """
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
    done, cut = 0, len(lines)
    for start in np.flatnonzero((kinds == _SET_ASIDE) & quoted).tolist():
        if start < done or start in damaged:
            continue
        length, reason = _record(lines, start, breakable, damaged, is_last=is_last)
        if length < 0:
            cut = start
            break
        if length:
            kinds[start], kinds[start + 1 : start + length] = _START, _CONTINUED
            done = start + length
        else:
            found[start] = reason
    found |= dict.fromkeys(in_file, _NOT_UTF8)
    if found:
        places = pl.Series(list(found), dtype=pl.UInt32)
        reasons = reasons.scatter(places, pl.Series(list(found.values()), dtype=pl.String))
    return kinds, reasons, cut


def _record(  # noqa: PLR0911 - each way a record can end
    lines: pl.Series, start: int, breakable: list[bool], damaged: set[int], *, is_last: bool
) -> tuple[int, str]:
    """How many lines the record that begins at line `start` covers, and ""; or 0 and why it is none; -1: not all here."""
    width, field, used, place = len(breakable), 0, 1, 0
    line: str = lines[start]
    while field < width:
        if line.startswith('"', place):
            end = _end_of_quoted(line, place + 1)
            while end == len(line):
                following = start + used
                at_limit = used == MAX_LINES_PER_RECORD or (is_last and following >= len(lines))
                if at_limit or not breakable[field] or following in damaged:
                    return 0, _NEVER_CLOSED
                if following >= len(lines):
                    return -1, ""
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


def _parse(lines: pl.Series, names: list[str], records: int, source: str, separator: str) -> pl.DataFrame:
    """The well-formed `lines` as a frame of strings, (records, len(names))."""
    schema = dict.fromkeys(names, pl.String())
    if not records:
        return pl.DataFrame(schema=schema)
    if separator != ",":
        split = lines.str.split_exact(separator, len(names) - 1).struct.rename_fields(names).struct.unnest()
        return split.select(pl.col(names))
    text = io.BytesIO()
    lines.to_frame().write_csv(text, include_header=False, quote_style="never")
    frame = pl.read_csv(text.getvalue(), has_header=False, schema=schema, infer_schema=False)
    if frame.height != records:  # the parallel reader split inside quotes: take the slow road
        rows = csv.reader(io.StringIO(text.getvalue().decode(), newline=""), strict=True)
        frame = pl.DataFrame(list(rows), schema=schema, orient="row")
    if frame.height != records:
        raise DataError("cannot be told apart into rows", where=source, fix="Write the file again, as Parquet.")
    return frame
