"""Turns a judge's click chances of pictures into what personal pictures are expected to gain, and how far to trust that."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
from scipy.stats import spearmanr

from contracts.settings import EvaluationSettings
from evaluation.creatives import KINDS
from evaluation.intervals import percentile
from evaluation.metric_intervals import auc_draws
from evaluation.metrics import auc

Floats = npt.NDArray[np.float64]
Section = dict[str, Any]

_LEAST_CLICKS = 10


@dataclass(frozen=True)
class JudgedPictures:
    """A judge's opinions of pictures; the judge learned from other people than what chose the pictures.

    Attributes:
        rows: (R,) user_id, concept_id, cohort, creative_id: who is to see which personal creative.
        chances: (1 + B, R, 4) click chances of own, other, general and logged pictures, NaN where there is none; the first
            by the judge, the others by judges taught by resamples of the same people.
        users, impressions, clicks: what the judge learned from.
        held_out: user, clicked, advantage (log-odds by which the judge puts the picture shown above its concept's mean),
            of people the judge never saw; None: there are none.
    """

    rows: pl.DataFrame
    chances: Floats
    users: int
    impressions: int
    clicks: int
    held_out: pl.DataFrame | None


def judged_section(
    judged: JudgedPictures, settings: EvaluationSettings, *, seed: int, true: pl.DataFrame | None
) -> Section:
    """What the judge expects, as JSON.

    Intervals are the judge's value +- z standard errors, the standard deviation over the resampled judges: how much
    hangs on who was asked. They do not cover what no logged picture could teach.

    Args:
        judged: the opinions.
        settings: confidence and resamples.
        seed: of the run.
        true: in a planted world, user_id, concept_id, own, general: true chances, to hold the judge against.
    """
    if judged.rows.is_empty():
        return {"absent": "No personal picture passed its checks."}
    z = NormalDist().inv_cdf(0.5 + settings.confidence / 2)
    own = judged.chances[..., 0]
    found: Section = {
        "users": judged.rows["user_id"].n_unique(),
        "learned_from": {"users": judged.users, "impressions": judged.impressions, "clicks": judged.clicks},
        "skill": _skill(judged.held_out, settings, seed),
        "chances": {kind: _figure(judged.chances[..., place], z) for place, kind in enumerate(KINDS)},
        "gains": {kind: _figure(own - judged.chances[..., place], z) for place, kind in enumerate(KINDS) if place},
    }
    each = list(_each(judged, z, true))
    lifts = [
        (one["lift"], one["true_lift"]) for one in each if one["lift"] is not None and one["true_lift"] is not None
    ]
    agreement = float(spearmanr(*zip(*lifts, strict=True)).statistic) if len(lifts) > 2 else None
    return found | {"rank_correlation_with_truth": agreement, "creatives": each}


def _each(judged: JudgedPictures, z: float, true: pl.DataFrame | None) -> list[Section]:
    """Every personal creative, the greatest lift over the general one first."""
    rows = judged.rows.with_row_index("place")
    truth = None if true is None else rows.join(true, on=["user_id", "concept_id"], how="left", maintain_order="left")
    found = []
    for (creative, concept, cohort), group in rows.group_by("creative_id", "concept_id", "cohort", maintain_order=True):
        places = group["place"].to_numpy()
        own, general = judged.chances[:, places, 0], judged.chances[:, places, 2]
        lift = _figure(own - general, z)
        true_lift = (
            None if truth is None else truth[places].select(pl.col("own") - pl.col("general")).to_series().mean()
        )
        found.append(
            {
                "creative_id": creative, "concept_id": concept, "cohort": cohort, "users": len(places),
                "chance": _figure(own, z)["value"], "general": _figure(general, z)["value"], "lift": lift["value"],
                "lift_interval": lift["interval"], "true_lift": true_lift,
            }
        )  # fmt: skip
    return sorted(found, key=lambda one: (-(one["lift"] if one["lift"] is not None else -9.0), one["creative_id"]))


def _figure(values: Floats, z: float) -> Section:
    """Mean over rows that are known, of the first opinion, with its interval over the others; (1 + B, R)."""
    known = np.isfinite(values).all(axis=0)
    rows = int(known.sum())
    if not rows:
        return {"value": None, "interval": None, "rows": 0}
    means = values[:, known].mean(axis=1)
    error = float(means[1:].std(ddof=1)) if len(means) > 2 else None
    value = float(means[0])
    interval = None if error is None else {"low": value - z * error, "high": value + z * error}
    return {"value": value, "interval": interval, "rows": rows}


def _skill(held_out: pl.DataFrame | None, settings: EvaluationSettings, seed: int) -> Section:
    """AUC of the judge's preference among pictures of one concept, on people it never saw."""
    if held_out is not None and held_out.is_empty():
        return {"absent": "no concept has two logged pictures of which one might be preferred"}
    if held_out is None or not _LEAST_CLICKS <= int(held_out["clicked"].sum()) <= len(held_out) - _LEAST_CLICKS:
        return {"absent": "too few clicks of other people to try the judge on"}
    clicked, advantage = held_out["clicked"].to_numpy(), held_out["advantage"].to_numpy()
    users = held_out["user"].to_numpy()
    draws = auc_draws(clicked, advantage, users, resamples=settings.bootstraps, seed=seed, name="judge")
    span = percentile(draws, settings.confidence)
    return {
        "auc": auc(clicked, advantage), "interval": None if span is None else {"low": span.low, "high": span.high},
        "impressions": len(held_out), "users": len(np.unique(users)),
    }  # fmt: skip
