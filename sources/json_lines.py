"""Turns blocks of JSON lines into raw frames; a line that is no JSON object is set aside alone."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import polars as pl

from contracts.errors import DataError
from sources.raw import RawTable, broken_rows

_PLAIN = (pl.String, pl.Boolean, pl.Null, pl.List(pl.String), pl.List(pl.Null))
MAX_NAMES = 500


def json_batches(source: str, found: Iterator[tuple[bytes, bool]]) -> Iterator[RawTable]:
    """One raw table a block. Names that no line of a block has are missing from its frame; see `sources.sieve`."""
    row = 0
    for block, _ in found:
        table = _table(source, block, row)
        row += table.read
        yield table


def _table(source: str, block: bytes, row: int) -> RawTable:
    lines = [line for line in block.split(b"\n") if line.strip()]
    frame = _typed(block, len(lines))
    if frame is not None:
        rows = pl.int_range(row + 1, row + len(lines) + 1, dtype=pl.Int64, eager=True)
        return RawTable(source, False, frame, rows, broken_rows(np.array([]), _text([]), _text([])))
    good: list[dict[str, str | None]] = []
    numbers: list[int] = []
    bad: list[tuple[int, str, str]] = []
    for number, line in enumerate(lines, start=row + 1):
        values, reason = _object(line)
        if values is None:
            bad.append((number, reason, line.decode(errors="replace")))
        else:
            good.append(values)
            numbers.append(number)
    names = list(dict.fromkeys(name for values in good for name in values))
    if len(names) > MAX_NAMES:
        raise DataError(
            f"has {len(names)} names, more than {MAX_NAMES}", where=source, fix="Leave out what is not used."
        )
    table = pl.DataFrame({name: _text([values.get(name) for values in good]) for name in names})
    aside = broken_rows(
        np.array([one[0] for one in bad]), _text([one[1] for one in bad]), _text([one[2] for one in bad])
    )
    return RawTable(source, True, table, pl.Series("row", numbers, dtype=pl.Int64), aside)


def _typed(block: bytes, rows: int) -> pl.DataFrame | None:
    """The fast road: every line an object, every name one type that needs no second look; else None."""
    try:
        frame = pl.read_ndjson(block, infer_schema_length=None)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException):
        return None
    plain = all(dtype in _PLAIN or dtype.is_numeric() for dtype in frame.dtypes)
    return frame if plain and frame.height == rows and frame.width <= MAX_NAMES else None


def _object(line: bytes) -> tuple[dict[str, str | None] | None, str]:
    try:
        values = json.loads(line.decode())
    except UnicodeDecodeError:
        return None, "is not UTF-8"
    except (ValueError, RecursionError):
        return None, "is not JSON"
    if not isinstance(values, dict):
        return None, "is no JSON object"
    try:
        texts = {name: _as_text(value) for name, value in values.items()}
        "".join([*texts, *(text or "" for text in texts.values())]).encode()
    except (UnicodeEncodeError, RecursionError):
        return None, "holds half of a surrogate pair"
    return texts, ""


def _as_text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False)


def _text(values: list[Any]) -> pl.Series:
    return pl.Series(values, dtype=pl.String)
