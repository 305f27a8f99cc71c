"""Turns concepts and moments into the (user, concept) pairs that may be scored: active, allowed and few enough."""

from __future__ import annotations

from datetime import datetime

import numpy as np
import numpy.typing as npt
import polars as pl

from contracts.errors import DataError
from ranking.frames import Floats

_BLOCK = 4096  # moments compared with all concepts at a time


def eligible(concepts: pl.DataFrame, at: datetime, *, personal: bool = True) -> pl.DataFrame:
    """Concepts that may be shown at one moment, in their own order: active_from <= at < active_until, null is open.

    Sensitive concepts are never personalised: with `personal` they are left out; the general slate
    (`personal=False`) may hold them.
    """
    moment = pl.lit(at, dtype=pl.Datetime("us", "UTC"))
    started = pl.col("active_from").is_null() | (pl.col("active_from") <= moment)
    running = pl.col("active_until").is_null() | (moment < pl.col("active_until"))
    return concepts.filter(started & running & (~pl.col("sensitive") if personal else pl.lit(True)))


def pairs(moments: pl.DataFrame, concepts: pl.DataFrame) -> pl.DataFrame:
    """Every personal candidate of every moment: user_id, at, concept_id, sorted by these.

    Args:
        moments: user_id, at; distinct rows count once. For the daily batch one row per user, for a replay of
            the log one row per logged slate.
        concepts: a Concepts table; those that are sensitive or not active at `at` are left out.
    """
    ordered = moments.select("user_id", "at").unique().sort("user_id", "at")
    allowed = concepts.filter(~pl.col("sensitive")).sort("concept_id")
    row, column = np.nonzero(_active(ordered, allowed))
    return ordered[row].with_columns(allowed["concept_id"][column])


def best_pairs(
    moments: pl.DataFrame,
    concepts: pl.DataFrame,
    *,
    limit: int,
    vectors: npt.NDArray[np.floating],
    concept_vectors: npt.NDArray[np.floating],
    popularity: pl.DataFrame,
) -> pl.DataFrame:
    """Like `pairs`, with at most `limit` concepts a moment: those of greatest cosine + relative popularity.

    cosine in [-1, 1] between the user's and the concept's vector (0 where either is zero), popularity as
    click_rate / largest click_rate in (0, 1]; ties go to the smaller concept_id. Each moment is treated by itself.

    Args:
        moments: user_id, at; N distinct rows.
        concepts: a Concepts table of C rows.
        limit: >= 1.
        vectors: (N, D), a row per moment.
        concept_vectors: (C, D), a row per concept.
        popularity: concept_id, click_rate, as `ranking.popularity` makes it.

    Raises:
        DataError: the vectors do not match the tables, or a moment comes twice.
    """
    _check_shapes(moments, concepts, vectors, concept_vectors)
    allowed = (
        concepts.with_row_index("_row")
        .filter(~pl.col("sensitive"))
        .join(popularity.select("concept_id", "click_rate"), on="concept_id", how="left")
        .sort("concept_id")
    )
    if allowed.height <= limit:
        return pairs(moments, concepts)
    rates = allowed["click_rate"].fill_null(0.0).to_numpy()
    popular = rates / max(float(rates.max()), np.finfo(np.float64).tiny)
    directions = _unit(concept_vectors[allowed["_row"].to_numpy()])  # (C, D)
    found = []
    for start in range(0, moments.height, _BLOCK):
        block = moments.slice(start, _BLOCK).select("user_id", "at")
        # rounded, so that the number of rows multiplied at a time cannot decide between equals
        merit = np.round(_unit(vectors[start : start + _BLOCK]) @ directions.T + popular, 9)  # (block, C)
        merit[~_active(block, allowed)] = -np.inf
        best = np.argsort(-merit, axis=1, kind="stable")[:, :limit]
        row, place = np.nonzero(np.isfinite(np.take_along_axis(merit, best, axis=1)))
        found.append(block[row].with_columns(allowed["concept_id"][best[row, place]]))
    return pl.concat(found).sort("user_id", "at", "concept_id") if found else pairs(moments, concepts)


def _active(moments: pl.DataFrame, concepts: pl.DataFrame) -> npt.NDArray[np.bool_]:
    """(N, C): whether a concept is active at a moment. A null bound is NaN, and no comparison with NaN is true."""
    at = _micros(moments["at"])[:, None]
    return ~((at < _micros(concepts["active_from"])) | (at >= _micros(concepts["active_until"])))


def _check_shapes(
    moments: pl.DataFrame,
    concepts: pl.DataFrame,
    vectors: npt.NDArray[np.floating],
    concept_vectors: npt.NDArray[np.floating],
) -> None:
    if (len(vectors), len(concept_vectors)) != (moments.height, concepts.height):
        raise DataError(
            f"{len(vectors)} user and {len(concept_vectors)} concept vectors for {moments.height} moments "
            f"and {concepts.height} concepts",
            where="candidates",
            fix="Give one vector a row, in the order of the rows.",
        )
    if moments.select("user_id", "at").is_duplicated().any():
        raise DataError("a moment comes twice", where="candidates", fix="Give distinct (user_id, at).")


def _unit(vectors: npt.NDArray[np.floating]) -> Floats:
    wide = vectors.astype(np.float64)
    length = np.linalg.norm(wide, axis=1, keepdims=True)
    return np.asarray(wide / np.where(length > 0, length, 1.0))


def _micros(moments: pl.Series) -> Floats:
    """Microseconds as float64, exact until the year 2255; null becomes NaN."""
    return moments.cast(pl.Datetime("us", "UTC")).cast(pl.Int64).cast(pl.Float64).to_numpy()
