"""Turns one raw column into the dtype that is due, and the values that do not fit into reasons in words."""

from __future__ import annotations

import json
from dataclasses import dataclass

import polars as pl

FAULTS = {"position": pl.UInt32, "column": pl.String, "reason": pl.String, "check": pl.String}
"""Columns of a frame of faults: place of the row in its frame, from 0; column at fault; what is wrong with it; the name
of the check in `sources.catalogue`."""

_OFFSET = r"(?:[Zz]|[+-]\d{2}(?::?\d{2})?)"
_CLOCK = r"[T ]\d{2}:\d{2}(?::\d{2}(?:\.\d+)?)?"
_INTEGER_LIMIT = 2**53  # a float beyond it need not be the whole number that was meant


@dataclass(frozen=True, slots=True)
class Impossible:
    """Why a column as a whole cannot be read, and the way out."""

    what: str
    fix: str


def no_faults() -> pl.DataFrame:
    """An empty frame of faults."""
    return pl.DataFrame(schema=FAULTS)


def faults_at(mask: pl.Series, column: str, reason: str, *, check: str = "wrong_type") -> pl.DataFrame:
    """A fault for every row where `mask`, (N,) bool, is true; null counts as false."""
    positions = mask.fill_null(False).arg_true()
    return faults_of(positions, column, reason, check=check) if len(positions) else no_faults()


def faults_of(positions: pl.Series, column: str, reason: str, *, check: str = "wrong_type") -> pl.DataFrame:
    """The same fault for the rows at `positions`."""
    frame = positions.cast(pl.UInt32).alias("position").to_frame()
    return frame.with_columns(column=pl.lit(column), reason=pl.lit(reason), check=pl.lit(check))


def impossible(name: str, found: pl.DataType, due: pl.DataType) -> Impossible | None:
    """Why no value of a column of dtype `found` can become `due`; None when each value can be tried."""
    if isinstance(due, pl.Datetime) and isinstance(found, pl.Datetime) and found.time_zone is None:
        fix = f'Write {name} in UTC; in Polars: .dt.replace_time_zone("<its zone>").dt.convert_time_zone("UTC").'
        return Impossible(f"{name} is a local time without an offset", fix)
    if found == pl.Null or _is_text(found) or _fits(found, due):
        return None
    return Impossible(
        f"{name} holds {str(found.base_type()).lower()} where {_words(due)} is due", f"Write {name} as {_words(due)}."
    )


def cast(values: pl.Series, due: pl.DataType) -> tuple[pl.Series, pl.DataFrame]:
    """The column as `due`, null where a value does not fit, and a fault for each such value.

    Empty strings are null, except in lists. Text is read as: numbers; true, false, 0, 1; timestamps with an offset;
    lists as JSON or with | between the entries. `impossible` must have said None for the dtypes.
    """
    name = values.name
    if values.dtype == pl.Null:
        return values.cast(due), no_faults()
    if values.dtype == pl.Binary or isinstance(values.dtype, (pl.Categorical, pl.Enum)):
        values, unreadable = _decode(values)
    else:
        unreadable = no_faults()
    if values.dtype == pl.String:
        values = _only(values, values != "")
    if due == pl.String:
        result, faults = _to_string(values)
    elif isinstance(due, pl.Datetime):
        result, faults = _to_instant(values, due)
    elif due == pl.Boolean:
        result, faults = _to_bool(values)
    elif isinstance(due, pl.List):
        result, faults = _to_list(values)
    else:
        result, faults = _to_number(values, due)
    return result.alias(name), pl.concat([unreadable, faults])


def _is_text(dtype: object) -> bool:
    return dtype in (pl.String, pl.Binary, pl.Categorical, pl.Enum)


def _fits(found: pl.DataType, due: pl.DataType) -> bool:
    if due == pl.String:
        return found.is_integer() or found.is_float()
    if isinstance(due, pl.Datetime):
        return isinstance(found, pl.Datetime)
    if isinstance(due, pl.List):
        return isinstance(found, (pl.List, pl.Array)) and (found.inner == pl.Null or _is_text(found.inner))
    return found.is_numeric() or (due == pl.Boolean and found == pl.Boolean)


def _words(due: pl.DataType) -> str:
    if isinstance(due, pl.Datetime):
        return "a UTC timestamp"
    if isinstance(due, pl.List):
        return "a list of strings"
    if due == pl.Boolean:
        return "true or false"
    return "text" if due == pl.String else "a whole number" if due.is_integer() else "a number"


def _decode(values: pl.Series) -> tuple[pl.Series, pl.DataFrame]:
    try:
        return values.cast(pl.String), no_faults()
    except pl.exceptions.ComputeError:  # bytes that are not UTF-8 somewhere
        texts = [None if value is None else _utf8_or_none(value) for value in values.to_list()]
        decoded = pl.Series(values.name, texts, dtype=pl.String)
        return decoded, faults_at(values.is_not_null() & decoded.is_null(), values.name, "is not UTF-8")


def _utf8_or_none(value: bytes) -> str | None:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return None


def _only(values: pl.Series, kept: pl.Series) -> pl.Series:
    """`values` where `kept` is true, else null."""
    return values.to_frame().select(pl.when(kept).then(values.name).alias(values.name)).to_series()


def _faults(before: pl.Series, after: pl.Series, reason: str) -> pl.DataFrame:
    return faults_at(before.is_not_null() & after.is_null(), before.name, reason)


def _to_string(values: pl.Series) -> tuple[pl.Series, pl.DataFrame]:
    if not values.dtype.is_float():
        return values.cast(pl.String), no_faults()
    whole = _only(values, _is_whole(values)).cast(pl.Int64)  # ids that became floats beside missing values
    return whole.cast(pl.String), _faults(values, whole, "is a number with decimals where text is due")


def _is_whole(values: pl.Series) -> pl.Series:
    return (values.is_finite() & (values.abs() < _INTEGER_LIMIT) & (values == values.floor())).fill_null(False)


def _to_number(values: pl.Series, due: pl.DataType) -> tuple[pl.Series, pl.DataFrame]:
    numbers = values.str.strip_chars().cast(pl.Float64, strict=False) if values.dtype == pl.String else values
    if due.is_float():
        result = numbers.cast(due, strict=False)
        return result, _faults(values, result, "is not a number")
    if not numbers.dtype.is_integer():
        numbers = numbers.cast(pl.Float64, strict=False)
        numbers = _only(numbers, _is_whole(numbers))
    result = numbers.cast(due, strict=False)
    return result, _faults(values, result, "is not a whole number")


def _to_bool(values: pl.Series) -> tuple[pl.Series, pl.DataFrame]:
    if values.dtype == pl.Boolean:
        return values, no_faults()
    if values.dtype == pl.String:
        words = values.str.strip_chars().str.to_lowercase()
        true, false = words.is_in(["true", "1"]), words.is_in(["false", "0"])
    else:
        true, false = values == 1, values == 0
    known = (true | false).fill_null(False)
    result = _only(true, known)
    return result, _faults(values, result, "is not true, false, 0 or 1")


def _to_instant(values: pl.Series, due: pl.Datetime) -> tuple[pl.Series, pl.DataFrame]:
    if isinstance(values.dtype, pl.Datetime):
        result = values.dt.convert_time_zone("UTC").cast(due, strict=False)
        return result, _faults(values, result, "is not a timestamp")
    stamps = values.str.strip_chars()
    result = stamps.str.to_datetime("%Y-%m-%dT%H:%M:%S%.f%#z", strict=False, time_unit="us", time_zone="UTC")
    left = values.is_not_null() & result.is_null()
    if left.any():  # a blank for the T, no seconds, "UTC" in letters
        tidy = stamps.filter(left).str.replace(r"\s*(?:UTC|z)$", "Z").str.replace(r"^(\d{4}-\d{2}-\d{2}) ", "${1}T")
        tidy = tidy.str.replace(rf"(T\d{{2}}:\d{{2}})\s*({_OFFSET})$", "${1}:00${2}")
        tidy = tidy.str.to_datetime("%Y-%m-%dT%H:%M:%S%.f%#z", strict=False, time_unit="us", time_zone="UTC")
        result = result.scatter(left.arg_true(), tidy)
    local = stamps.str.contains(rf"^\d{{4}}-\d{{2}}-\d{{2}}(?:{_CLOCK})?$") & result.is_null()
    faults = pl.concat(
        [
            faults_at(local, values.name, "has no UTC offset", check="local_time"),
            faults_at(values.is_not_null() & result.is_null() & ~local, values.name, "is not a timestamp"),
        ]
    )
    return result.cast(due), faults


def _to_list(values: pl.Series) -> tuple[pl.Series, pl.DataFrame]:
    due = pl.List(pl.String)
    if values.dtype != pl.String:
        return values.cast(due), no_faults()
    distinct = values.unique().drop_nulls()
    entries = [_entries(text) for text in distinct.to_list()]
    known = pl.DataFrame({"text": distinct, "entries": pl.Series(entries, dtype=due)})
    joined = values.alias("text").to_frame().join(known, on="text", how="left", maintain_order="left")
    result = joined["entries"]
    return result, _faults(values, result, 'is not a list of strings, ["a","b"] or a|b')


def _entries(text: str) -> list[str | None] | None:
    text = text.strip()
    if text.startswith("{"):
        return None
    if not text.startswith("["):
        return [entry.strip() for entry in text.split("|")]
    try:
        entries = json.loads(text)
        "".join(entry or "" for entry in entries).encode()  # strings only, and no half of a surrogate pair
    except (ValueError, TypeError, RecursionError):
        return None
    return list(entries)
