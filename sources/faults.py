"""Turns typed tables into their faults: rules of the contract, columns that disagree, keys, pictures, references."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import dataframely as dy
import polars as pl

from contracts.tables import EVERYONE
from sources.casts import faults_at, faults_of, no_faults

POSITION = "#position"
"""Column of the row's place in its frame, from 0, beside the columns of the contract."""

EARLIEST, LATEST = datetime(1970, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC)
_PICTURE_COLUMNS = {"concepts": "product_image", "pictures": "file"}
_BOX = ("box_left", "box_top", "box_width", "box_height")


def schema_faults(schema: type[dy.Schema], frame: pl.DataFrame) -> pl.DataFrame:
    """Faults of single values by the rules of the contract, in words; for keys see `duplicates`.

    `frame` has a `POSITION` column beside those of the contract.
    """
    with_position: type[dy.Schema] = type(f"{schema.__name__}At", (schema,), {"position_": dy.UInt32(alias=POSITION)})
    _, failed = with_position.filter(frame)
    rules = [rule for rule in failed.counts() if rule != "primary_key"]
    if not rules:
        return no_faults()
    details = failed.details()
    found = []
    for rule in sorted(rules, key=lambda rule: not rule.endswith(("|nan", "|inf"))):
        rows = details.filter(pl.col(rule) == "invalid")[POSITION]
        column, reason = _words(schema, rule)
        found.append(faults_of(rows, column, reason, check=_check(column, rule)))
    return pl.concat(found)


def _check(column: str, rule: str) -> str:
    kind = rule.partition("|")[2]
    if kind == "check":
        return "unknown_action"
    if kind in ("nullability", "min_length", "inner_nullability", "inner_min_length"):
        return "missing_value"
    if column == "propensity":
        return "propensity_range"
    return "wrong_type" if kind in ("nan", "inf", "inner_regex") else "out_of_range"


def _words(schema: type[dy.Schema], rule: str) -> tuple[str, str]:
    name, _, kind = rule.partition("|")
    column = schema.columns().get(name)
    if column is None:
        return "", f"breaks the rule {rule}"
    words = {
        "nullability": "is missing",
        "min_length": "needs at least one entry" if column.dtype == pl.List else "is empty",
        "inner_nullability": "holds an empty entry",
        "inner_min_length": "holds an empty entry",
        "inner_regex": "holds something else than #rrggbb",
        "min": f"is below {getattr(column, 'min', None)}",
        "max": f"is above {getattr(column, 'max', None)}",
        "min_exclusive": f"is not above {getattr(column, 'min_exclusive', None)}",
        "max_exclusive": f"is not below {getattr(column, 'max_exclusive', None)}",
        "nan": "is not a finite number",
        "inf": "is not a finite number",
        "check": f"is not {column.description}",
    }
    return name, words.get(kind, f"breaks the rule {kind}")


def row_faults(table: str, frame: pl.DataFrame, folder: Path) -> pl.DataFrame:
    """Faults of one row each: implausible times, a window that ends before it begins, boxes, reserved names, pictures.

    Args:
        table: name of the table.
        frame: its columns by contract, one row per position.
        folder: the data folder, for the pictures it names.
    """
    found = [no_faults()]
    if "at" in frame.columns:
        outside = ~frame["at"].is_between(EARLIEST, LATEST, closed="left")
        found.append(
            faults_at(outside, "at", "is no plausible time (before 1970 or after 2199)", check="implausible_time")
        )
    if "user_id" in frame.columns:
        found.append(
            faults_at(
                frame["user_id"] == EVERYONE,
                "user_id",
                f"is {EVERYONE}, which stands for everyone",
                check="reserved_name",
            )
        )
    if table == "concepts":
        ends = frame["active_until"] <= frame["active_from"]
        found.append(faults_at(ends, "active_until", "is not after active_from", check="bad_window"))
    if table == "pictures":
        found.append(_box_faults(frame))
    if table in _PICTURE_COLUMNS:
        found.append(_picture_faults(frame[_PICTURE_COLUMNS[table]], folder))
    return pl.concat(found)


def _box_faults(frame: pl.DataFrame) -> pl.DataFrame:
    left, top, width, height = (frame[name] for name in _BOX)
    given = frame.select(pl.sum_horizontal(pl.col(name).is_not_null() for name in _BOX)).to_series()
    slack = 1 + 1e-6
    return pl.concat(
        [
            faults_at(
                (given > 0) & (given < 4), "box_left", "is part of a box that is given only in part", check="bad_box"
            ),
            faults_at(pl.Series(width <= 0) | (height <= 0), "box_width", "is a box without area", check="bad_box"),
            faults_at(
                (left + width) > slack, "box_width", "reaches beyond the right edge of the picture", check="bad_box"
            ),
            faults_at(
                (top + height) > slack, "box_height", "reaches beyond the lower edge of the picture", check="bad_box"
            ),
        ]
    )


def _picture_faults(paths: pl.Series, folder: Path) -> pl.DataFrame:
    root = folder.resolve()
    distinct = paths.unique().drop_nulls().to_list()
    reasons = {path: reason for path in distinct if (reason := _path_fault(path, root))}
    found = [no_faults()]
    for reason in sorted(set(reasons.values())):
        bad = [path for path, why in reasons.items() if why == reason]
        found.append(faults_at(paths.is_in(bad), paths.name, reason, check="missing_picture"))
    return pl.concat(found)


def _path_fault(path: str, root: Path) -> str:
    """Why `path` is no picture inside the folder `root`, an absolute path without links; "" when it is one."""
    parts = path.split("/")
    if path.startswith("/") or "\\" in path or "\0" in path or parts[0].endswith(":"):
        return "is not a path relative to the data folder"
    if ".." in parts:
        return "points outside the data folder"
    try:
        full = (root / path).resolve(strict=True)
        size = full.stat().st_size
    except (OSError, RuntimeError):  # a loop of links is a RuntimeError
        return "is not in the data folder"
    if not full.is_relative_to(root):
        return "points outside the data folder"
    if not full.is_file():
        return "is not in the data folder"
    return "" if size else "is an empty file"


def duplicates(schema: type[dy.Schema], frame: pl.DataFrame) -> pl.DataFrame:
    """A fault for every row whose key an earlier row of `frame` has; `frame` has a `POSITION` column, in file order."""
    key = schema.primary_key()
    if not key:
        return no_faults()
    later = frame.filter(~pl.struct(key).is_first_distinct())
    same = pl.struct(pl.exclude(POSITION)).is_duplicated()
    repeated = later[POSITION].is_in(frame.filter(same)[POSITION].implode())
    name = ", ".join(key)
    return pl.concat(
        [
            faults_of(later.filter(repeated)[POSITION], name, "is there already, in an equal row", check="repeated_id"),
            faults_of(
                later.filter(~repeated)[POSITION],
                name,
                "is there already, in a row that differs",
                check="conflicting_id",
            ),
        ]
    )


def unknown(frame: pl.DataFrame, column: str, known: pl.Series, reason: str, *, check: str) -> pl.DataFrame:
    """A fault for every row whose `column` is not among `known`; `frame` has a `POSITION` column."""
    missing = frame.filter(~pl.col(column).is_in(known.unique().implode()))[POSITION]
    return faults_of(missing, column, reason, check=check)
