"""Turns a run's creatives into what each is worth to the people it was drawn for, beside its twins."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl
from PIL import Image

from contracts.tables import GENERAL_COHORT
from evaluation.creatives import KINDS

Floats = npt.NDArray[np.float64]

Worth = Callable[[pl.Series, str, "str | None"], Floats]
"""(N users, concept_id, creative_id) into (B, N) click chances by B opinions; None stands for the logged creatives."""


def picture_values(
    slates: pl.DataFrame, cohorts: pl.DataFrame, creatives: pl.DataFrame, worth: Worth
) -> tuple[pl.DataFrame, Floats]:
    """Click chances of own, another cohort's, the general and the logged pictures, per personal slate row.

    Only rows with a personal creative that passed its checks count; "other" is the mean over the other cohorts'
    creatives of the concept.

    Args:
        slates: user_id, concept_id. cohorts: user_id, cohort.
        creatives: by the contract.
        worth: what a picture is worth to people.

    Returns:
        R rows of user_id, concept_id, cohort, in order of concept and user; and (B, R, 4) chances in the order of
        `evaluation.creatives.KINDS`, NaN where there is no such picture.
    """
    passed = creatives.filter(pl.col("checks").list.len() == 0)
    rows = slates.join(cohorts, on="user_id").select("user_id", "concept_id", "cohort").sort("concept_id", "user_id")
    found: list[pl.DataFrame] = [rows.clear()]
    tables: list[Floats] = []
    for (concept,), group in rows.group_by("concept_id", maintain_order=True):
        drawn = passed.filter(pl.col("concept_id") == concept)
        numbers = [cohort for cohort in drawn["cohort"].to_list() if cohort != GENERAL_COHORT]
        own = np.array(numbers)[:, None] == group["cohort"].to_numpy()[None]  # (K, N)
        has_own = own.any(axis=0)
        if not has_own.any():
            continue
        served, own = group.filter(pl.Series(has_own)), own[:, has_own]
        people = served["user_id"]
        values = {
            int(row["cohort"]): worth(people, str(concept), row["creative_id"]) for row in drawn.iter_rows(named=True)
        }
        stacked = np.stack([values[cohort] for cohort in numbers])  # (K, B, N)
        table = np.full((stacked.shape[1], len(served), len(KINDS)), np.nan)
        table[..., 0] = (stacked * own[:, None]).sum(axis=0)
        others = (~own).sum(axis=0)
        table[:, others > 0, 1] = ((stacked * ~own[:, None]).sum(axis=0) / np.maximum(others, 1))[:, others > 0]
        if GENERAL_COHORT in values:
            table[..., 2] = values[GENERAL_COHORT]
        table[..., 3] = worth(people, str(concept), None)
        found.append(served)
        tables.append(table)
    return pl.concat(found), np.concatenate(tables, axis=1) if tables else np.empty((1, 0, len(KINDS)))


def as_columns(rows: pl.DataFrame, chances: Floats) -> pl.DataFrame:
    """The rows with own, other, general, logged of one opinion, (R, 4); null where there is no such picture."""
    return rows.with_columns(pl.DataFrame(chances, schema=list(KINDS)).with_columns(pl.all().fill_nan(None)))


def scene(run: Path, creative_id: str) -> npt.NDArray[np.uint8]:
    """A creative's scene with its product, without type, uint8 (1, S, S, 3)."""
    with Image.open(run / "generators" / "scenes" / f"{creative_id}.png") as opened:
        return np.asarray(opened.convert("RGB"), np.uint8)[None]
