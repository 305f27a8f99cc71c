"""Claims about calibration by day: days are told apart in UTC, a planted drift is found, and its lack too."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest

from contracts.settings import EvaluationSettings
from evaluation.calibration_days import calibration_days, drift
from evaluation.report_data import ReportData

DATA = ReportData(name="d", run="r", settings=EvaluationSettings(bootstraps=200), seed=3)


def predictions(change: float, days: int = 12, daily: int = 800, seed: int = 0) -> pl.DataFrame:
    """Clicks of chance 0.2 * (1 + change * day / days), all predicted as 0.2."""
    rng = np.random.default_rng(seed)
    day = np.repeat(np.arange(days), daily)
    at = [datetime(2025, 3, 1, tzinfo=UTC) + timedelta(days=int(d), hours=float(h)) for d, h in zip(day, rng.uniform(0, 24, day.size), strict=True)]  # fmt: skip
    return pl.DataFrame(
        {
            "user_id": [f"u{n % 400}" for n in range(day.size)],
            "at": pl.Series(at, dtype=pl.Datetime("us", "UTC")),
            "slot": [0] * day.size,
            "clicked": rng.random(day.size) < 0.2 * (1 + change * day / days),
            "predicted_chance": [0.2] * day.size,
        }
    )


def test_each_day_is_what_polars_counts() -> None:
    rows = predictions(0.0)
    found = calibration_days(rows.sample(fraction=1.0, shuffle=True, seed=1), DATA)
    by_hand = rows.group_by(pl.col("at").dt.date().alias("day")).agg(pl.len(), pl.col("clicked").mean()).sort("day")
    assert [one["day"] for one in found] == [str(day) for day in by_hand["day"]]
    assert [one["impressions"] for one in found] == by_hand["len"].to_list()
    np.testing.assert_allclose([one["ratio"] for one in found], by_hand["clicked"] / 0.2)
    assert all(one["ratio_interval"]["low"] < one["ratio"] < one["ratio_interval"]["high"] for one in found)


def test_a_planted_drift_is_found_and_no_drift_is_none() -> None:
    rising = drift(calibration_days(predictions(-0.6), DATA))
    assert rising is not None
    assert rising["first"] == pytest.approx(1.0, abs=0.08)
    assert rising["last"] == pytest.approx(1 - 0.6 * 11 / 12, abs=0.08)
    assert rising["off"] >= 8
    steady = drift(calibration_days(predictions(0.0), DATA))
    assert steady is not None
    assert abs(steady["last"] - steady["first"]) < 0.12
    assert steady["off"] <= 3


def test_one_user_or_one_day_has_no_drift() -> None:
    rows = predictions(0.0, days=3, daily=50)
    assert drift(calibration_days(rows.with_columns(user_id=pl.lit("u")), DATA)) is None
    assert drift(calibration_days(rows.filter(pl.col("at").dt.day() == 1), DATA)) is None
