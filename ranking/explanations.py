"""Turns a ranker and rows into what moves its scores: per row, over all rows, and along one feature."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from contracts.seeds import stream
from ranking.frames import Floats, floats
from ranking.ranker import Ranker

GRID = 12
"""Values of a feature that its partial dependence is given at, at most."""

ROWS = 2000
"""Rows that partial dependence averages over, at most; contributions are averaged over ten times as many."""


@dataclass(frozen=True)
class Reason:
    """What one feature adds to one raw score.

    Attributes:
        feature: its name.
        value: its value; None where it is not known.
        adds: to the raw score, log-odds once multiplied by the calibration's slope.
    """

    feature: str
    value: float | None
    adds: float


def reasons(ranker: Ranker, row: pl.DataFrame) -> tuple[float, list[Reason]]:
    """The base value and what each feature adds to the score of one row, the largest first; they sum to the score.

    Args:
        ranker: whose score.
        row: one row with the ranker's features.
    """
    adds = ranker.contributions(row.head(1))[0]
    found = []
    for name, amount in zip(ranker.features, adds[:-1], strict=True):
        value = float(floats(row, name)[0])
        found.append(Reason(name, None if np.isnan(value) else value, float(amount)))
    return float(adds[-1]), sorted(found, key=lambda one: (-abs(one.adds), one.feature))


def importance(ranker: Ranker, table: pl.DataFrame, *, seed: int) -> list[dict[str, Any]]:
    """How far each feature moves raw scores: mean |contribution| over rows, the largest first (Lundberg et al. 2020).

    Returns:
        A row per feature: feature, moves (in units of the raw score), share of the sum in [0, 1], direction (the sign of
        the correlation between value and contribution, 0 where it cannot be told).
    """
    rows = _some(table, 10 * ROWS, seed)
    adds = ranker.contributions(rows)[:, :-1]
    moves = np.abs(adds).mean(axis=0) if len(adds) else np.zeros(len(ranker.features))
    total = float(moves.sum()) or 1.0
    found = [
        {
            "feature": name,
            "moves": float(moves[index]),
            "share": float(moves[index]) / total,
            "direction": _sign(floats(rows, name), adds[:, index]),
        }
        for index, name in enumerate(ranker.features)
    ]
    return sorted(found, key=lambda one: (-one["moves"], one["feature"]))


def partial_dependence(
    ranker: Ranker, table: pl.DataFrame, features: Sequence[str], *, seed: int
) -> list[dict[str, Any]]:
    """Mean click chance at slot 0 with one feature set to a value and all others as they are (Friedman 2001).

    Returns:
        An entry per feature that varies: feature, values (quantiles of the rows, ascending), chances
        (mean click chance at each, in [0, 1]), and unknown (with the feature null; None where it never is).
    """
    rows = _some(table, ROWS, seed)
    found = []
    for name in features:
        known = floats(rows, name)
        if not _varies(known):
            continue
        values = np.unique(np.nanquantile(known, np.linspace(0.02, 0.98, GRID), method="nearest"))
        null = bool(np.isnan(known).any())
        found.append(
            {
                "feature": name,
                "values": [float(value) for value in values],
                "chances": [_mean_chance(ranker, rows, name, float(value)) for value in values],
                "unknown": _mean_chance(ranker, rows, name, None) if null else None,
            }
        )
    return found


def _mean_chance(ranker: Ranker, rows: pl.DataFrame, name: str, value: float | None) -> float:
    changed = rows.with_columns(pl.lit(value, dtype=pl.Float64).alias(name))
    return float(ranker.click_chance(ranker.score(changed)).mean())


def _varies(values: Floats) -> bool:
    known = values[~np.isnan(values)]
    return known.size > 0 and bool(known.min() < known.max())


def _sign(values: Floats, adds: Floats) -> int:
    known = ~np.isnan(values)
    if known.sum() < 2 or np.ptp(values[known]) == 0 or np.ptp(adds[known]) == 0:
        return 0
    return int(np.sign(np.round(np.corrcoef(values[known], adds[known])[0, 1], 6)))


def _some(table: pl.DataFrame, most: int, seed: int) -> pl.DataFrame:
    """At most so many rows, drawn by the seed, in the table's own order."""
    if table.height <= most:
        return table
    kept = stream(seed, "ranking", "explanations").choice(table.height, most, replace=False)
    return table[np.sort(kept)]
