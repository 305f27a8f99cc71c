"""Turns a Polars table into the NumPy arrays that LightGBM takes: the only converter at that edge."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from contracts.errors import ModelError

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


def matrix(table: pl.DataFrame, features: Sequence[str]) -> npt.NDArray[Any]:
    """Feature columns as one array, (rows, features), in the order of `features`; null becomes NaN, true becomes 1.

    float32 where all of them are, else float64: LightGBM compares either as float64, so no score depends on it.

    An all-null column is fine: LightGBM routes NaN by itself. Numbers and booleans only, so that nothing
    categorical can reach LightGBM, which ends the whole process on a Polars Categorical.

    Raises:
        ModelError: a feature is missing, or is neither a number nor a boolean; all of them are named.
    """
    missing = [name for name in features if name not in table.columns]
    if missing:
        raise ModelError(
            f"feature column missing: {', '.join(missing)}",
            where="ranking table",
            fix="Build the table with the code that built the training rows, or train the ranker again.",
        )
    wrong = [f"{name} ({table[name].dtype})" for name in features if not _numeric(table[name].dtype)]
    if wrong:
        raise ModelError(
            f"feature is not a number: {', '.join(wrong)}", where="ranking table", fix="Turn it into numbers first."
        )
    single = all(table[name].dtype == pl.Float32 for name in features)
    values = np.empty((len(features), table.height), dtype=np.float32 if single else np.float64)
    for index, name in enumerate(features):
        values[index] = table[name].cast(pl.Float32 if single else pl.Float64).to_numpy()
    return values.T  # column by column: rows would be written 4 bytes at a time, many bytes apart


def floats(table: pl.DataFrame, name: str) -> Floats:
    """One column as float64, (rows,); null becomes NaN."""
    return table[name].cast(pl.Float64).to_numpy()


def integers(table: pl.DataFrame, name: str, *, null: int = -1) -> Ints:
    """One column as int64, (rows,); null becomes `null`."""
    return table[name].cast(pl.Int64).fill_null(null).to_numpy()


def vectors_of(column: pl.Series) -> npt.NDArray[np.float32]:
    """A column of lists of D numbers, none null, as float32, (rows, D)."""
    return column.explode().cast(pl.Float32).to_numpy().reshape(len(column), -1)


def run_lengths(table: pl.DataFrame, keys: Sequence[str]) -> Ints:
    """Lengths of the runs of equal `keys` in a table that is sorted by them, (runs,); they sum to the rows."""
    if table.is_empty():
        return np.empty(0, dtype=np.int64)
    changed = table.select(pl.any_horizontal(pl.col(name) != pl.col(name).shift(1) for name in keys))
    starts = np.flatnonzero(changed.to_series().fill_null(True).to_numpy())
    return np.diff(np.append(starts, table.height)).astype(np.int64)


def _numeric(dtype: pl.DataType) -> bool:
    return dtype.is_numeric() or dtype in {pl.Boolean(), pl.Null()}
