"""Turns a planted world's truth into what a report holds estimates against: oracle scores, policy values, picture values."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl
from PIL import Image

from contracts.seeds import stream
from contracts.tables import GENERAL_COHORT
from generators.layout import DEFAULT_BOX
from ranking.policy import Policy
from ranking.rollout import rolled_out
from ranking.slates import arranged
from sources.truth import Truth

Floats = npt.NDArray[np.float64]

REPLICATES = 32
"""Slates drawn per logged slate for the target policy's true value."""


def oracle_of(truth: Truth, rows: pl.DataFrame) -> Floats:
    """True click chance of each row (user_id, at, concept_id, slot), averaged over the concept's logged creatives."""
    return truth.oracle_scores(rows["user_id"], rows["at"], rows["concept_id"], rows["slot"].to_numpy())


def logged_value(rows: pl.DataFrame, oracle: Floats) -> float:
    """Expected clicks per slate of the slates as logged."""
    return float(oracle.sum() / rows.select("user_id", "at").n_unique())


def target_value(truth: Truth, replayed: pl.DataFrame, concepts: pl.DataFrame, *, policy: Policy, seed: int) -> float:
    """Expected clicks per slate of a policy on the logged slates' moments.

    See `ranking.rollout.rolled_out`, with true click chances and REPLICATES draws a slate.

    Args:
        truth: of the planted world.
        replayed: user_id, at, concept_id, score, click_chance of every candidate at every logged slate's moment.
        concepts: concept_id, advertiser, topics.
        policy: what decides the chances.
        seed: of the run.
    """
    rows = arranged(replayed, ["user_id", "at"], policy)
    true = [
        truth.oracle_scores(rows["user_id"], rows["at"], rows["concept_id"], slot)
        for slot in range(policy.settings.slate_size)
    ]
    rng = stream(seed, "true value of the target policy")
    return float(rolled_out(rows, concepts, true, policy=policy, draws=REPLICATES, rng=rng).sum(axis=1).mean())


def picture_values(
    truth: Truth, run: Path, slates: pl.DataFrame, cohorts: pl.DataFrame, creatives: pl.DataFrame, at: dt.datetime
) -> pl.DataFrame:
    """True click chances of own, another cohort's, the general and the logged pictures, per personal slate row.

    Only rows with a personal creative that passed its checks count; "other" is the mean over the other cohorts'
    creatives of the concept.

    Returns:
        user_id, concept_id, own, other, general, logged; chances in [0, 1], null where there is no such picture.
    """
    passed = creatives.filter(pl.col("checks").list.len() == 0)
    rows = slates.join(cohorts, on="user_id").select("user_id", "concept_id", "cohort").sort("concept_id", "user_id")
    found = []
    for (concept,), group in rows.group_by("concept_id", maintain_order=True):
        drawn = passed.filter(pl.col("concept_id") == concept)
        personal = drawn.filter(pl.col("cohort") != GENERAL_COHORT)
        if personal.is_empty():
            continue
        people = group["user_id"]
        values = {
            int(row["cohort"]): truth.picture_value(people, scene(run, row["creative_id"]), [str(concept)], _BOX, at)
            for row in drawn.iter_rows(named=True)
        }
        mine = group["cohort"].to_numpy()
        table = np.full((len(group), 4), np.nan)
        numbers = [cohort for cohort in values if cohort != GENERAL_COHORT]
        stacked = np.stack([values[cohort] for cohort in numbers])  # (K, N)
        own = np.array(numbers)[:, None] == mine[None]
        has_own = own.any(axis=0)
        table[has_own, 0] = (stacked * own).sum(axis=0)[has_own]
        others = (~own).sum(axis=0)
        some = others > 0
        table[some, 1] = ((stacked * ~own).sum(axis=0) / np.maximum(others, 1))[some]
        if GENERAL_COHORT in values:
            table[:, 2] = values[GENERAL_COHORT]
        table[:, 3] = truth.oracle_scores(people, at, [str(concept)] * len(people))
        found.append(
            pl.DataFrame(table, schema=["own", "other", "general", "logged"])
            .with_columns(pl.all().fill_nan(None), user_id=people, concept_id=pl.lit(concept))
            .filter(pl.Series(has_own))
        )
    columns = ["user_id", "concept_id", "own", "other", "general", "logged"]
    if not found:
        return pl.DataFrame(schema={name: pl.String if name.endswith("_id") else pl.Float64 for name in columns})
    return pl.concat(found).select(columns)


def scene(run: Path, creative_id: str) -> npt.NDArray[np.uint8]:
    """A creative's scene with its product, without type, uint8 (1, S, S, 3)."""
    with Image.open(run / "generators" / "scenes" / f"{creative_id}.png") as opened:
        return np.asarray(opened.convert("RGB"), np.uint8)[None]


_BOX = np.array([[DEFAULT_BOX.left, DEFAULT_BOX.top, DEFAULT_BOX.width, DEFAULT_BOX.height]])
