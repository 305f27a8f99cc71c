"""Turns held-out predictions into calibration day by day: clicks over predicted clicks, with intervals, and the drift."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from evaluation.intervals import Terms, bootstrap, percentile
from evaluation.metrics import expected_calibration_error
from evaluation.report_data import ReportData

MOST_DAYS = 60
"""Only the last days are told apart."""

_BINS = 10


def calibration_days(impressions: pl.DataFrame, data: ReportData) -> list[dict[str, Any]]:
    """An entry per UTC day of the held-out log, oldest first.

    ratio = clicks / sum of predicted chances: 1 where the prediction holds, below 1 where it promises too much. Its
    interval resamples users. A run of days on one side of 1, or a trend, is drift: calibrate again, or retrain.

    Args:
        impressions: user_id, at, clicked, predicted_chance (no nulls).
        data: settings and seed.
    """
    rows = impressions.sort("user_id", "at", "slot")
    day = rows["at"].dt.date()
    days = day.unique().sort().tail(MOST_DAYS)
    clicked, chance = rows["clicked"].to_numpy().astype(np.float64), rows["predicted_chance"].to_numpy()
    users = rows["user_id"].rle_id().to_numpy().astype(np.int64)
    inside = {str(one): (day == one).to_numpy() for one in days}
    terms = {name: Terms.ratio(clicked * mask, chance * mask) for name, mask in inside.items()}
    draws = bootstrap(terms, users, resamples=data.settings.bootstraps, seed=data.seed, name="calibration by day")
    clustered = np.unique(users).size > 1
    found = []
    for name, mask in inside.items():
        known = percentile(draws[name], data.settings.confidence) if clustered else None
        found.append(
            {
                "day": name,
                "impressions": int(mask.sum()),
                "click_rate": float(clicked[mask].mean()),
                "mean_prediction": float(chance[mask].mean()),
                "ratio": float(clicked[mask].sum() / max(chance[mask].sum(), 1e-12)),
                "ratio_interval": None if known is None else {"low": known.low, "high": known.high},
                "calibration_error": expected_calibration_error(clicked[mask], chance[mask], _BINS),
            }
        )
    return found


def drift(days: list[dict[str, Any]]) -> dict[str, Any] | None:
    """How the ratio changes over the days; None with fewer than two days of impressions with an interval.

    Weighted least squares of ratio on day, each day by 1 / its interval's width squared.

    Returns:
        first, last: the fitted ratio on the first and the last day; off: days whose interval leaves out 1.
    """
    known = [(n, one) for n, one in enumerate(days) if one["ratio_interval"] is not None]
    spans = np.array([one["ratio_interval"]["high"] - one["ratio_interval"]["low"] for _, one in known])
    if len(known) < 2 or not np.all(spans > 0):
        return None
    x, y = np.array([n for n, _ in known], dtype=np.float64), np.array([one["ratio"] for _, one in known])
    slope, level = np.polyfit(x, y, 1, w=1.0 / spans)
    off = sum(not one["ratio_interval"]["low"] <= 1.0 <= one["ratio_interval"]["high"] for _, one in known)
    return {"first": float(level + slope * x[0]), "last": float(level + slope * x[-1]), "off": int(off)}
