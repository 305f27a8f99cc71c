"""Turns impressions in order into the click rate of the n-th time a person sees a creative."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from evaluation.effects import z_of
from evaluation.intervals import Floats, Interval, Terms, bootstrap, percentile

_MOST = 10
_LEAST_ROWS = 200
"""Impressions an exposure number needs to be shown."""


@dataclass(frozen=True, slots=True)
class FatigueCurve:
    """Click rate by exposure number 1, 2, ... of the same creative to the same person, intervals by user.

    Attributes:
        rate: (E,) click rate of the n-th exposure.
        low, high: (E,).
        impressions: (E,).
        within: (E,) mean difference to the same person's first exposure, of those who got that far: who sees an ad often
            differs from who sees it once, and only this is free of that. 0 for the first.
        within_half_width: (E,) clustered by user.
        change: within-person change of the click rate with each further exposure, least squares through the first, relative
            to the first exposure's rate of those who got another; None when that is 0.
        change_interval: of it, bootstrap of users.
    """

    rate: Floats
    low: Floats
    high: Floats
    impressions: Floats
    within: Floats
    within_half_width: Floats
    change: float | None
    change_interval: Interval | None


def fatigue_curve(impressions: pl.DataFrame, *, confidence: float, resamples: int, seed: int) -> FatigueCurve | str:
    """The curve over exposures with enough impressions, ten at most; or a clause that says why there is none.

    Who clicks may be shown the creative less, or more, often afterwards: then the first exposure of those who got another is
    not like any first, and the change within persons holds for their kind alone.

    Args:
        impressions: user_id, creative_id, at, clicked; equal times keep the order of rows.
        confidence: of the intervals.
        resamples: of users.
        seed: of the run.
    """
    order = impressions.sort("at", maintain_order=True).with_columns(
        exposure=pl.int_range(pl.len()).over("user_id", "creative_id") + 1,
        first=pl.col("clicked").cast(pl.Float64).first().over("user_id", "creative_id"),
    )
    shown = [n for n in range(1, _MOST + 1) if order.filter(pl.col("exposure") == n).height >= _LEAST_ROWS]
    depth = next((n - 1 for n in range(1, _MOST + 2) if n not in shown), _MOST)
    if depth < 2:
        return f"fewer than {_LEAST_ROWS} impressions were a second exposure to the same creative"
    used = order.filter(pl.col("exposure") <= depth)
    users = used["user_id"].rank("dense").to_numpy().astype(np.int64) - 1
    number, clicked = used["exposure"].to_numpy(), used["clicked"].cast(pl.Float64).to_numpy()
    first = used["first"].to_numpy()
    here = [number == n for n in range(1, depth + 1)]
    statistics = {f"rate {n}": Terms.ratio(clicked * own, own) for n, own in enumerate(here, start=1)}
    statistics |= {f"gap {n}": Terms.ratio((clicked - first) * own, own) for n, own in enumerate(here, start=1)}
    later = number - 1.0
    statistics["slope"] = Terms.ratio((clicked - first) * later, later**2)
    statistics["first"] = Terms.ratio(first * (later > 0), later > 0)
    draws = bootstrap(statistics, users, resamples=resamples, seed=seed, name="fatigue")
    spans = [
        percentile(draws[f"rate {n}"], confidence) or Interval(float("nan"), float("nan")) for n in range(1, depth + 1)
    ]
    base, reach = statistics["first"].value, z_of(confidence)
    change, change_interval = None, None
    if base > 0:
        change = statistics["slope"].value / base
        with np.errstate(divide="ignore", invalid="ignore"):
            change_interval = percentile(draws["slope"] / draws["first"], confidence)
    return FatigueCurve(
        rate=np.array([statistics[f"rate {n}"].value for n in range(1, depth + 1)]),
        low=np.array([span.low for span in spans]),
        high=np.array([span.high for span in spans]),
        impressions=np.array([own.sum() for own in here], dtype=np.float64),
        within=np.array([statistics[f"gap {n}"].value for n in range(1, depth + 1)]),
        within_half_width=np.array([reach * np.nanstd(draws[f"gap {n}"]) for n in range(1, depth + 1)]),
        change=change,
        change_interval=change_interval,
    )
