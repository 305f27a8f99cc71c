"""Turns a contract into one expression that is true for rows surely without a fault: the fast road of the intake.

False says nothing: such a row is looked at in detail. So the expression may be strict, never lenient.
"""

from __future__ import annotations

from datetime import datetime

import dataframely as dy
import polars as pl

from contracts.tables import ACTIONS, EVERYONE, INPUT_TABLES
from sources.faults import EARLIEST, LATEST

_FAST_TABLES = ("events", "impressions")


def surely_sound(table: str, found: pl.Schema, begins: datetime | None, ends: datetime) -> pl.Expr | None:
    """True for rows without a fault of their own; None when the columns found do not allow the fast road.

    Args:
        table: name of the table.
        found: columns of the file.
        begins, ends: the time in which rows of the file are expected.
    """
    if table not in _FAST_TABLES:
        return None
    sound: list[pl.Expr] = []
    for name, column in INPUT_TABLES[table].columns().items():
        if name not in found:
            if not column.nullable:
                return None
            continue
        rule = _rule(name, column, found[name])
        if rule is None:
            return None
        sound.append(rule)
    at = pl.col("at").cast(pl.Datetime("us", "UTC"))
    first = EARLIEST if begins is None else max(begins, EARLIEST)
    sound.append(at.is_between(pl.lit(first), pl.lit(min(ends, LATEST)), closed="left"))
    sound.append(pl.col("user_id") != EVERYONE)
    return pl.all_horizontal(sound).fill_null(False)


def _rule(name: str, column: dy.Column, found: pl.DataType) -> pl.Expr | None:
    value, dtype = pl.col(name), column.dtype
    if isinstance(dtype, pl.Datetime):
        return value.is_not_null() if isinstance(found, pl.Datetime) and found.time_zone == "UTC" else None
    if found != dtype and not (dtype.is_integer() and found.is_integer()):
        return None
    rule: pl.Expr | None = None
    if dtype == pl.String:
        rule = value.str.len_bytes() >= (getattr(column, "min_length", None) or 1)  # an empty cell may stand for none
        check = getattr(column, "check", None)
        if check is not None:
            rule = rule & value.is_in(list(ACTIONS)) if name == "action" else None
    elif dtype == pl.Boolean:
        rule = value.is_not_null()
    elif dtype == pl.List(pl.String):
        entries = value.list.eval((pl.element().str.len_bytes() >= 1).fill_null(False))
        rule = entries.list.all() & (value.list.len() >= (getattr(column, "min_length", None) or 0))
    elif dtype.is_numeric():
        rule = _bounds(value, column, is_float=dtype.is_float())
    if rule is None:
        return None
    return rule.fill_null(column.nullable) & (pl.lit(True) if column.nullable else value.is_not_null())


def _bounds(value: pl.Expr, column: dy.Column, *, is_float: bool) -> pl.Expr:
    rule = value.is_finite() if is_float else value.is_between(-(2**31), 2**31 - 1)
    for name, compare in (
        ("min", value.ge),
        ("min_exclusive", value.gt),
        ("max", value.le),
        ("max_exclusive", value.lt),
    ):
        bound = getattr(column, name, None)
        if bound is not None:
            rule = rule & compare(bound)
    return rule
