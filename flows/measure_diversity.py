"""Turns the creatives of a run into how varied they are for each cohort and each user, and whether that is enough."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
from PIL import Image

from contracts.settings import CheckSettings
from contracts.tables import GENERAL_COHORT
from generators.checking.likeness import colours_around, distances

FILE = "diversity.json"
"""In the folder of the stage: `audiences` (one a cohort) and `users` (all of them together)."""


def measure(folder: Path, creatives: pl.DataFrame, shown: pl.DataFrame, settings: CheckSettings) -> dict[str, Any]:
    """Mean distances between scenes around their products (`likeness.distances`), of the pictures that passed every check.

    Args:
        folder: of the stage, with the scenes of the creatives in `scenes`.
        creatives: the table.
        shown: user_id, cohort, concept_id: the slates.
        settings: the distances under which there is a warning.

    Returns:
        `audiences`: cohort, pictures (its own ones), distance (null under two), passed. `users`: counted (users who see
        two pictures or more), mean, lowest and median distance of what is in a slate, share under the limit, passed
        (the median is not under it).
    """
    kept = creatives.filter(pl.col("checks").list.len() == 0).with_row_index("picture")
    if kept.is_empty():
        return {"audiences": [], "users": _users(np.zeros(0), settings)}
    thumbs = []
    for name in kept["creative_id"]:
        with Image.open(folder / "scenes" / f"{name}.png") as opened:
            thumbs.append(colours_around(np.asarray(opened.convert("RGB"), np.uint8)))
    apart = distances(np.stack(thumbs))
    audiences = []
    for (cohort,), rows in kept.filter(pl.col("cohort") != GENERAL_COHORT).group_by("cohort", maintain_order=True):
        distance = _mean(apart, rows["picture"].to_numpy())
        enough = None if distance is None else distance >= settings.audience_distance
        audiences.append({"cohort": cohort, "pictures": len(rows), "distance": distance, "passed": enough})
    audiences.sort(key=lambda row: row["cohort"])
    return {"audiences": audiences, "users": _users(_per_user(kept, shown, apart), settings)}


def warnings(told: dict[str, Any], settings: CheckSettings) -> list[str]:
    """What `measure` found wanting, in words."""
    alike = [str(row["cohort"]) for row in told["audiences"] if row["passed"] is False]
    said = []
    if alike:
        said.append(
            f"pictures much alike for cohort {', '.join(alike)} (distance under {settings.audience_distance:g})"
        )
    if told["users"]["passed"] is False:
        said.append(
            f"pictures in a user's slate much alike (median distance {told['users']['median']:.1f}, "
            f"{settings.user_distance:g} wanted)"
        )
    return said


def _mean(apart: npt.NDArray[np.float64], at: npt.NDArray[np.generic]) -> float | None:
    """Mean over the pairs of some pictures."""
    if len(at) < 2:
        return None
    first, second = np.triu_indices(len(at), k=1)
    return float(apart[at[first], at[second]].mean())


def _per_user(kept: pl.DataFrame, shown: pl.DataFrame, apart: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Mean distance within each user's slate: the cohort's picture of a concept, else the general one. (U,)"""
    own = kept.select("cohort", "concept_id", own="picture")
    general = kept.filter(pl.col("cohort") == GENERAL_COHORT).select("concept_id", general="picture")
    seen = (
        shown.select("user_id", "concept_id", pl.col("cohort").cast(kept.schema["cohort"]))
        .join(own, on=["cohort", "concept_id"], how="left")
        .join(general, on="concept_id", how="left")
        .select("user_id", picture=pl.coalesce("own", "general"))
        .drop_nulls()
        .unique()
    )
    pairs = seen.join(seen, on="user_id", suffix="_2").filter(pl.col("picture") < pl.col("picture_2"))
    far = apart[pairs["picture"].to_numpy(), pairs["picture_2"].to_numpy()]
    means = pairs.with_columns(far=pl.Series(far, dtype=pl.Float64)).group_by("user_id").agg(pl.col("far").mean())
    return means.sort("user_id")["far"].to_numpy()


def _users(means: npt.NDArray[np.float64], settings: CheckSettings) -> dict[str, Any]:
    if not len(means):
        return {"counted": 0, "mean": None, "lowest": None, "median": None, "share_under": None, "passed": None}
    under = float((means < settings.user_distance).mean())
    median = float(np.median(means))
    return {
        "counted": len(means), "mean": float(means.mean()), "lowest": float(means.min()), "median": median,
        "share_under": under, "passed": median >= settings.user_distance,
    }  # fmt: skip
