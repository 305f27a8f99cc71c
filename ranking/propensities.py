"""Turns a log that did not say with which chance it chose into estimates of those chances, to be used with a loud caveat."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl

from ranking.frames import matrix
from ranking.reward_model import cross_fit

_SLATE = ["user_id", "at"]
_SMALLEST = 1e-6


def estimable(logged: pl.DataFrame) -> bool:
    """Whether slates are whole: slots 0, 1, ... without a gap or a double, every concept once."""
    if logged.is_empty():
        return False
    whole = logged.group_by(_SLATE).agg(
        (pl.col("slot").sort() == pl.int_range(pl.len())).all().alias("slots"),
        (pl.col("concept_id").n_unique() == pl.len()).alias("concepts"),
    )
    return bool(whole.select(pl.all_horizontal("slots", "concepts").all()).item())


def estimated_propensities(
    logged: pl.DataFrame, candidates: pl.DataFrame, past: pl.DataFrame, features: Sequence[str], *, seed: int
) -> pl.Series:
    """(N,) estimated chance of each logged concept given the earlier slots, in (0, 1], in the order of `logged`.

    A cross-fitted model of who is shown what: the odds o of a candidate to stand in a slate, from the ranking features, which
    concept it is and how often it was shown before; then o_c / sum of o over the candidates left, slot by slot, as in a
    Plackett-Luce draw. What the logging policy knew and the features do not say is missed, whatever the model (hidden
    confounding): see `evaluation.sensitivity.confounding`.

    Args:
        logged: impression_id, user_id, at, slot, concept_id and the features; `estimable`.
        candidates: user_id, at, concept_id and the features of what might have been shown at those moments; a logged concept
            that is not among them is added.
        past: concept_id of earlier impressions, a row each.
        features: names of the features.
        seed: of the run.
    """
    keys = [*_SLATE, "concept_id"]
    columns = [*keys, *features]
    shared = [
        logged.select(columns),
        candidates.join(logged.select(_SLATE).unique(), on=_SLATE, how="semi").select(columns),
    ]
    rows = pl.concat(shared, how="vertical_relaxed").unique(keys, keep="first", maintain_order=True)
    counts = past.group_by("concept_id").agg(shown_before=pl.len())
    rows = (
        rows.join(counts, on="concept_id", how="left", maintain_order="left")
        .join(logged.select(*keys, shown=pl.lit(1.0)), on=keys, how="left", maintain_order="left")
        .with_columns(pl.col("shown_before").fill_null(0), pl.col("shown").fill_null(0.0))
        .with_columns(concept=pl.col("concept_id").rank("dense"))
        .sort(keys)
    )
    known = matrix(rows, [*features, "shown_before", "concept"])
    users = rows["user_id"].rank("dense").to_numpy().astype(np.int64)
    chance = cross_fit(known, rows["shown"].to_numpy(), users, seed=seed).predict(known, users)
    chance = np.clip(chance, _SMALLEST, 1 - _SMALLEST)
    odds = rows.select(keys).with_columns(odds=pl.Series(chance / (1 - chance)))
    totals = odds.group_by(_SLATE).agg(total=pl.col("odds").sum())
    found = (
        logged.select("impression_id", *keys, "slot")
        .join(odds, on=keys, how="left")
        .join(totals, on=_SLATE, how="left")
        .sort(*_SLATE, "slot")
        .with_columns(left=pl.col("total") - (pl.col("odds").cum_sum() - pl.col("odds")).over(_SLATE))
        .with_columns(propensity=(pl.col("odds") / pl.col("left")).clip(_SMALLEST, 1.0))
    )
    ordered = logged.select("impression_id").join(found, on="impression_id", how="left", maintain_order="left")
    return ordered["propensity"]
