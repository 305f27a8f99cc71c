"""Turns a mapping file into our names: columns, units, time zones, actions and topics of somebody else's logs."""

from __future__ import annotations

import difflib
import tomllib
import zoneinfo
from pathlib import Path
from typing import Any, Literal

import polars as pl
from pydantic import BaseModel, ConfigDict, ValidationError

from contracts.errors import DataError, SettingsError
from contracts.tables import ACTIONS, INPUT_TABLES, polars_schema
from sources.casts import cast, faults_at, no_faults

FILE = "mapping.toml"
_PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
_UTC_US = pl.Datetime("us", "UTC")


class TableMapping(BaseModel):
    """How one of their tables becomes one of ours; everything may be left out.

    Attributes:
        path: where its files are: relative to the data folder, absolute, or a URL; a file, folder, pattern, Delta table.
        columns: our name -> theirs.
        constants: our name -> a value for every row, for a column that the files do not have.
        time_unit: numbers are such units since 1970-01-01 UTC.
        time_zone: of timestamps without an offset (IANA name).
        time_format: of text timestamps that are not ISO 8601 (chrono's strftime).
        actions: their action -> ours.
        topic_separator: between the topics of a text cell.
        topics: their topic -> ours; a topic that is not listed stays as it is.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: str | None = None
    columns: dict[str, str] = {}
    constants: dict[str, str | bool | int | float] = {}
    time_unit: Literal["s", "ms", "us", "ns"] | None = None
    time_zone: str | None = None
    time_format: str | None = None
    actions: dict[str, str] = {}
    topic_separator: str | None = None
    topics: dict[str, str] = {}


class Mapping(BaseModel):
    """The mapping of every table that has one."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    tables: dict[str, TableMapping] = {}

    def of(self, table: str) -> TableMapping:
        """The mapping of a table; empty when it has none."""
        return self.tables.get(table, TableMapping())


def load_mapping(folder: Path) -> Mapping:
    """The mapping file of a data folder; empty when there is none.

    Raises:
        SettingsError: it is not TOML, or lists every key and value at fault at once.
    """
    path = folder / FILE
    if not path.is_file():
        return Mapping()
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"cannot be read ({error.strerror})", where=str(path), fix="Check the file.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"is not TOML ({error})", where=str(path), fix="Mend the line it names.") from error
    return parse_mapping(values, where=str(path))


def parse_mapping(values: dict[str, Any], *, where: str) -> Mapping:
    """The mapping from nested values; raises SettingsError with every fault."""
    faults: list[str] = []
    tables: dict[str, TableMapping] = {}
    for table, given in values.items():
        if table not in INPUT_TABLES:
            faults.append(f"{table}: is no table, the nearest one is {_nearest(table, INPUT_TABLES)}")
            continue
        try:
            tables[table] = TableMapping.model_validate(given)
        except ValidationError as error:
            faults += [_words(table, fault["loc"], fault["type"], fault["msg"]) for fault in error.errors()]
            continue
        faults += [f"{table}.{fault}" for fault in _faults(table, tables[table])]
    if faults:
        raise SettingsError("; ".join(faults), where=where, fix="docs/mapping.md lists every key with an example.")
    return Mapping(tables=tables)


def _nearest(name: str, known: Any) -> str:
    return str(difflib.get_close_matches(name, list(known), n=1, cutoff=0.0)[0])


def _words(table: str, location: tuple[int | str, ...], kind: str, message: str) -> str:
    name = ".".join(str(part) for part in (table, *location))
    if kind == "extra_forbidden":
        return f"{name}: unknown key, the nearest known one is {_nearest(str(location[-1]), TableMapping.model_fields)}"
    return f"{name}: {message[:1].lower()}{message[1:]}"


def _faults(table: str, mapping: TableMapping) -> list[str]:
    ours = INPUT_TABLES[table].columns()
    faults = [
        f"{key}.{name}: is no column of {table}, the nearest one is {_nearest(name, ours)}"
        for key in ("columns", "constants")
        for name in getattr(mapping, key)
        if name not in ours
    ]
    faults += [
        f"constants.{name}: is mapped under columns too" for name in mapping.constants if name in mapping.columns
    ]
    twice = {name for name in mapping.columns.values() if list(mapping.columns.values()).count(name) > 1}
    faults += [f"columns: {name!r} stands for two columns" for name in sorted(twice)]
    faults += [
        f"actions.{theirs}: {mine!r} is no action, the nearest one is {_nearest(mine, ACTIONS)}"
        for theirs, mine in mapping.actions.items()
        if mine not in ACTIONS
    ]
    if mapping.time_zone is not None and mapping.time_zone not in zoneinfo.available_timezones():
        near = _nearest(mapping.time_zone, zoneinfo.available_timezones())
        faults.append(f"time_zone: {mapping.time_zone!r} is no time zone, the nearest one is {near}")
    if mapping.topic_separator == "":
        faults.append("topic_separator: is empty")
    fitting = {
        "actions": "action" in ours,
        "topics": "topics" in ours,
        "topic_separator": "topics" in ours,
        **dict.fromkeys(("time_unit", "time_zone", "time_format"), bool(_times(table))),
    }
    faults += [
        f"{key}: {table} has no such column" for key, fits in fitting.items() if getattr(mapping, key) and not fits
    ]
    return faults


def _times(table: str) -> list[str]:
    return [name for name, dtype in polars_schema(INPUT_TABLES[table]).items() if isinstance(dtype, pl.Datetime)]


def apply(table: str, frame: pl.DataFrame, mapping: TableMapping, *, source: str) -> tuple[pl.DataFrame, pl.DataFrame]:
    """A raw frame with our names and units, and the faults of doing so; the same rows in the same order.

    Args:
        table: name of our table.
        frame: as read: all text, or typed columns.
        mapping: of that table. An empty one gives the frame back at no cost.
        source: the file, for errors.

    Raises:
        DataError: a mapped column is not in the file, or is there under both names.
    """
    if mapping == TableMapping():
        return frame, no_faults()
    frame = _renamed(frame, mapping, source)
    found = [no_faults()]
    for name in _times(table):
        if name in frame.columns:
            values, faults = _instants(frame[name], mapping)
            frame = frame.with_columns(values.alias(name))
            found.append(faults)
    if mapping.actions and "action" in frame.columns:
        text = frame["action"].cast(pl.String)
        frame = frame.with_columns(text.replace(mapping.actions).alias("action"))
    if "topics" in frame.columns and (mapping.topic_separator or mapping.topics):
        topics, faults = _topics(frame["topics"], mapping)
        frame = frame.with_columns(topics.alias("topics"))
        found.append(faults)
    return frame, pl.concat(found)


def _renamed(frame: pl.DataFrame, mapping: TableMapping, source: str) -> pl.DataFrame:
    missing = [name for name in mapping.columns.values() if name not in frame.columns]
    if missing:
        near = difflib.get_close_matches(missing[0], frame.columns, n=1, cutoff=0.0)
        hint = f", the nearest one is {near[0]!r}" if near else ""
        listed = ", ".join(map(repr, missing))
        raise DataError(f"has no column {listed}{hint}", where=source, fix=f"Mend columns in {FILE}.")
    taken = [ours for ours, theirs in mapping.columns.items() if ours != theirs and ours in frame.columns]
    moved = set(mapping.columns.values())
    both = [name for name in [*taken, *mapping.constants] if name in frame.columns and name not in moved]
    if both:
        what = f"has a column {both[0]!r} beside the one that the mapping names"
        raise DataError(what, where=source, fix=f"Leave {both[0]} out of {FILE}, or rename that column.")
    frame = frame.rename({theirs: ours for ours, theirs in mapping.columns.items()})
    return frame.with_columns(pl.lit(value).alias(name) for name, value in mapping.constants.items())


def _instants(values: pl.Series, mapping: TableMapping) -> tuple[pl.Series, pl.DataFrame]:
    dtype = values.dtype
    if dtype == pl.Date or (isinstance(dtype, pl.Datetime) and dtype.time_zone is None):
        return _zoned(values.cast(pl.Datetime("us")), mapping) if mapping.time_zone else (values, no_faults())
    if mapping.time_unit is not None and (dtype.is_numeric() or dtype == pl.String):
        return _counted(values, mapping.time_unit)
    if dtype != pl.String or not (mapping.time_zone or mapping.time_format):
        return values, no_faults()
    if mapping.time_format and any(mark in mapping.time_format for mark in ("%z", "%:z", "%#z")):
        read = values.str.to_datetime(mapping.time_format, strict=False, time_unit="us", time_zone="UTC")
        return read, faults_at(
            values.is_not_null() & (values != "") & read.is_null(), values.name, "is not a timestamp"
        )
    stamps = values.str.strip_chars()
    if mapping.time_format:
        local = stamps.str.to_datetime(mapping.time_format, strict=False, time_unit="us")
        wrong = faults_at(stamps.is_not_null() & (stamps != "") & local.is_null(), values.name, "is not a timestamp")
        read, faults = _zoned(local, mapping) if mapping.time_zone else (local.dt.replace_time_zone("UTC"), no_faults())
        return read, pl.concat([wrong, faults])
    tidy = stamps.str.replace(r"^(\d{4}-\d{2}-\d{2})[T ](\d{2}:\d{2})(?::(\d{2}(?:\.\d+)?))?$", "${1}T${2}:${3}")
    tidy = tidy.str.replace(r"^(\d{4}-\d{2}-\d{2})$", "${1}T00:00:00").str.replace(r"T(\d{2}:\d{2}):$", "T${1}:00")
    local = tidy.str.to_datetime("%Y-%m-%dT%H:%M:%S%.f", strict=False, time_unit="us")
    read, faults = _zoned(local, mapping)
    rest = values.to_frame().select(pl.when(local.is_null()).then(values.name))[values.name]
    text = read.dt.strftime("%Y-%m-%dT%H:%M:%S%.6fZ")
    return pl.select(pl.coalesce(text, rest)).to_series().alias(values.name), faults


def _counted(values: pl.Series, unit: str) -> tuple[pl.Series, pl.DataFrame]:
    """Units since 1970 as instants; whole numbers exactly, others to the microsecond."""
    given = values.is_not_null() if values.dtype != pl.String else values.is_not_null() & (values != "")
    whole = values.str.strip_chars().cast(pl.Int64, strict=False) if values.dtype == pl.String else values
    per_second = _PER_SECOND[unit]
    if whole.dtype.is_integer():
        number = whole.cast(pl.Int64, strict=False)
        if per_second <= 10**6:
            micros_each = 10**6 // per_second
            fits = pl.col("n").is_between(-(2**63 // micros_each) + 1, 2**63 // micros_each - 1)
            micros = number.to_frame("n").select(pl.when(fits).then(pl.col("n") * micros_each)).to_series()
        else:
            micros = number // (per_second // 10**6)
    else:
        micros = pl.Series([None], dtype=pl.Int64).new_from_index(0, len(values))
    decimal = values.str.strip_chars() if values.dtype == pl.String else values
    fraction = (decimal.cast(pl.Float64, strict=False) * (10**6 / per_second)).round()
    fraction = fraction.to_frame("f").select(pl.when(pl.col("f").abs() < 2**62).then("f")).to_series()
    micros = pl.select(pl.coalesce(micros, fraction.cast(pl.Int64, strict=False))).to_series()
    read = micros.cast(_UTC_US).alias(values.name)
    return read, faults_at(given & read.is_null(), values.name, f"is not a number of {unit} since 1970")


def _zoned(local: pl.Series, mapping: TableMapping) -> tuple[pl.Series, pl.DataFrame]:
    """Local times as instants; one that the zone skips or repeats is a fault, not guessed."""
    zone = str(mapping.time_zone)
    early = local.dt.replace_time_zone(zone, ambiguous="earliest", non_existent="null")
    late = local.dt.replace_time_zone(zone, ambiguous="latest", non_existent="null")
    twice = (early != late).fill_null(False)
    skipped = local.is_not_null() & early.is_null()
    read = early.to_frame("t").select(pl.when(~twice).then("t")).to_series().dt.convert_time_zone("UTC")
    faults = [
        faults_at(twice, local.name, f"exists twice in {zone} (the clocks went back)", check="local_time"),
        faults_at(skipped, local.name, f"does not exist in {zone} (the clocks went forward)", check="local_time"),
    ]
    return read.cast(_UTC_US).alias(local.name), pl.concat(faults)


def _topics(values: pl.Series, mapping: TableMapping) -> tuple[pl.Series, pl.DataFrame]:
    """Lists of topics under our names; a text cell is split at the separator, or read as JSON or a|b."""
    faults = no_faults()
    if values.dtype.is_numeric():
        values = values.cast(pl.String)
    if values.dtype == pl.String and mapping.topic_separator:
        parts = values.str.split(mapping.topic_separator).list.eval(pl.element().str.strip_chars())
        values = parts.list.eval(pl.element().filter(pl.element() != ""))
    elif values.dtype == pl.String:
        values, faults = cast(values, pl.List(pl.String))
    if mapping.topics and isinstance(values.dtype, pl.List):
        values = values.list.eval(pl.element().cast(pl.String).replace(mapping.topics))
    return values, faults
