"""Turns creatives, and in a planted world their true click chances, into what the pictures are worth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from contracts.errors import DataError
from contracts.tables import GENERAL_COHORT
from evaluation.intervals import Interval, Terms, bootstrap, percentile

KINDS = ("own", "other", "general", "logged")
"""A cohort's own creative, another cohort's, the general one, a logged one; of the same concept."""


@dataclass(frozen=True, slots=True)
class Figure:
    """A number with its interval; both None when there is nothing to take it from."""

    value: float | None
    interval: Interval | None
    rows: int


@dataclass(frozen=True, slots=True)
class PictureTruth:
    """True click chances of the four kinds of creative, means over (user, concept) rows.

    Attributes:
        users: users in the frame.
        chances: by kind, the mean true click chance.
        gains: by other kind, the mean of own - that kind over rows that have both.
        users_own_beats: by other kind, the share of users whose mean own chance is above it; a tie counts half.
    """

    users: int
    chances: dict[str, Figure]
    gains: dict[str, Figure]
    users_own_beats: dict[str, Figure]


@dataclass(frozen=True, slots=True)
class Coverage:
    """What became of the creatives that were drawn.

    Attributes:
        drawn: creatives.
        personal: of them for a cohort.
        general: of them for nobody in particular.
        passed: of them with no failed check.
        failed_checks: by name of the check, creatives that failed it; most frequent first.
        concepts: concepts with at least one passed creative.
        cohorts: cohorts with at least one passed creative.
    """

    drawn: int
    personal: int
    general: int
    passed: int
    failed_checks: dict[str, int]
    concepts: int
    cohorts: int


def picture_truth(chances: pl.DataFrame, *, confidence: float, resamples: int, seed: int) -> PictureTruth:
    """What personal pictures are worth where the true click chance of any picture is known.

    Args:
        chances: user_id, concept_id, and own, other, general, logged (true click chances in [0, 1], null: no such
            creative). Rows of one user stay together in the intervals.
        confidence: of the intervals.
        resamples: of users.
        seed: of the run.

    Raises:
        DataError: a column is missing, there are no rows, or a chance is outside 0 to 1.
    """
    frame = _checked(chances)
    rows = frame["user_id"].rle_id().to_numpy().astype(np.int64)
    columns = {kind: _column(frame, kind) for kind in KINDS}
    statistics: dict[str, tuple[Terms, int]] = {}
    for kind, values in columns.items():
        statistics[f"chance {kind}"] = _mean_of_known(values)
    for kind in KINDS[1:]:
        gap = columns["own"] - columns[kind]
        statistics[f"gain {kind}"] = _mean_of_known(gap)
        statistics[f"beats {kind}"] = _share_of_users(gap, rows)
    draws = bootstrap(
        {name: terms for name, (terms, _) in statistics.items()}, rows, resamples=resamples, seed=seed, name="pictures"
    )
    users = int(rows.max()) + 1

    def figure(name: str) -> Figure:
        terms, count = statistics[name]
        if count == 0:
            return Figure(None, None, 0)
        return Figure(terms.value, percentile(draws[name], confidence) if users > 1 else None, count)

    return PictureTruth(
        users=users,
        chances={kind: figure(f"chance {kind}") for kind in KINDS},
        gains={kind: figure(f"gain {kind}") for kind in KINDS[1:]},
        users_own_beats={kind: figure(f"beats {kind}") for kind in KINDS[1:]},
    )


def coverage(creatives: pl.DataFrame) -> Coverage:
    """How many creatives passed their checks, and which checks failed. `creatives` as in contracts.tables.Creatives."""
    failed = creatives.select(pl.col("checks").explode(empty_as_null=True, keep_nulls=True)).drop_nulls()
    counts = failed.group_by("checks").len().sort("len", "checks", descending=[True, False])
    good = creatives.filter(pl.col("checks").list.len() == 0)
    general = creatives.filter(pl.col("cohort") == GENERAL_COHORT).height
    return Coverage(
        drawn=creatives.height,
        personal=creatives.height - general,
        general=general,
        passed=good.height,
        failed_checks=dict(counts.iter_rows()),
        concepts=good["concept_id"].n_unique(),
        cohorts=good.filter(pl.col("cohort") != GENERAL_COHORT)["cohort"].n_unique(),
    )


def _checked(chances: pl.DataFrame) -> pl.DataFrame:
    needed = ["user_id", "concept_id", *KINDS]
    missing = [name for name in needed if name not in chances.columns]
    if missing:
        raise DataError(f"no column {', '.join(missing)}", where="creative_truth", fix=f"Give {', '.join(needed)}.")
    if chances.is_empty():
        raise DataError("no rows", where="creative_truth", fix="Give at least one user and concept, or None.")
    wrong = [kind for kind in KINDS if chances.filter((pl.col(kind) < 0) | (pl.col(kind) > 1)).height]
    if wrong:
        raise DataError(f"chances outside 0 to 1 in {', '.join(wrong)}", where="creative_truth", fix="Give chances.")
    return chances.select(needed).sort("user_id", "concept_id")


def _column(frame: pl.DataFrame, kind: str) -> npt.NDArray[np.float64]:
    return frame[kind].cast(pl.Float64).fill_null(float("nan")).to_numpy()


def _mean_of_known(values: npt.NDArray[np.float64]) -> tuple[Terms, int]:
    known = np.isfinite(values)
    return Terms.ratio(np.where(known, values, 0.0), known), int(known.sum())


def _share_of_users(gap: npt.NDArray[np.float64], rows: npt.NDArray[np.int64]) -> tuple[Terms, int]:
    """Share of users whose summed gap is above 0, written on each user's first row so that users can be resampled."""
    known = np.isfinite(gap)
    totals = np.bincount(rows, weights=np.where(known, gap, 0.0))
    held = np.bincount(rows, weights=known) > 0
    first = np.concatenate(([True], rows[1:] != rows[:-1]))
    won = np.where(totals > 0, 1.0, np.where(totals == 0, 0.5, 0.0)) * held
    above, below = np.zeros(gap.size), np.zeros(gap.size)
    above[first], below[first] = won, held
    return Terms.ratio(above, below), int(held.sum())
