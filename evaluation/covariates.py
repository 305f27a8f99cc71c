"""Turns columns known before assignment into a matrix for regression, with a column that says where one is unknown."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from evaluation.intervals import Floats

MOST_LEVELS = 20
"""Levels of a text column that get a column of their own; rarer ones share one."""

Tell = Callable[[str, str, npt.NDArray[np.bool_], str], None]


@dataclass(frozen=True, slots=True)
class Covariates:
    """(N, P) numbers, and the name of each column; P may be 0."""

    names: tuple[str, ...]
    values: Floats


def covariates_of(columns: pl.DataFrame, tell: Tell) -> Covariates:
    """Every column as numbers: numeric ones as they are, text as 0/1 by level (the most frequent level is the base).

    A missing or infinite number becomes 0 beside an indicator column of its own: an estimate adjusted for both does not
    depend on what was filled in (Zhao and Ding 2022). Each such column is told. Constant columns are left out.

    Args:
        columns: one row a user.
        tell: gets the check, the column, (N,) where it is, and what was done.
    """
    made: dict[str, Floats] = {}
    for column in columns.get_columns():
        if column.dtype.is_numeric() or column.dtype == pl.Boolean:
            made |= _number(column, tell)
        else:
            made |= _text(column.cast(pl.String), tell)
    kept = {name: values for name, values in made.items() if values.size and (values != values[0]).any()}
    stacked = np.column_stack(list(kept.values())) if kept else np.zeros((columns.height, 0))
    return Covariates(tuple(kept), stacked.astype(np.float64))


def _number(column: pl.Series, tell: Tell) -> dict[str, Floats]:
    values = column.cast(pl.Float64).fill_null(float("nan")).to_numpy()
    for check, mask in (("infinite covariate", np.isinf(values)), ("missing covariate", np.isnan(values))):
        if mask.any():
            tell(
                check,
                column.name,
                mask,
                "Adjusted for by a column that says where it is unknown; no value is invented.",
            )
    unknown = ~np.isfinite(values)
    known = {column.name: np.where(unknown, 0.0, values)}
    return known | ({f"{column.name} unknown": unknown.astype(np.float64)} if unknown.any() else {})


def _text(column: pl.Series, tell: Tell) -> dict[str, Floats]:
    missing = (column.is_null() | (column == "")).fill_null(True).to_numpy()
    if missing.any():
        tell("missing covariate", column.name, missing, "Counted as a level of its own.")
    filled = pl.Series(
        "level", np.where(missing, "(unknown)", column.fill_null("").to_numpy().astype(object)), dtype=pl.String
    )
    levels = filled.value_counts(sort=True).sort("count", "level", descending=[True, False])["level"].to_list()
    return {
        f"{column.name} = {level}": (filled == level).to_numpy().astype(np.float64) for level in levels[1:MOST_LEVELS]
    }
