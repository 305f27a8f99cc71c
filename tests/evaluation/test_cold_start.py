"""Ranking quality by how much was known of the user: the right rows in each bucket, and intervals that keep users whole."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl
import pytest

from contracts.settings import EvaluationSettings
from evaluation.cold_start import BUCKETS, auc_interval, by_history
from evaluation.metrics import auc
from evaluation.report_data import ReportData

DATA = ReportData(name="log", run="r", settings=EvaluationSettings(bootstraps=100))
LogOf = Callable[..., pl.DataFrame]


def test_every_impression_is_in_the_bucket_of_its_history(log_of: LogOf) -> None:
    log = log_of(users=200)
    lengths = np.array([0, 1, 2, 4, 5, 9, 10, 700])
    log = log.with_columns(history_events=pl.Series(lengths[np.arange(len(log)) // 3 % 8]))
    section = by_history(log, DATA)
    assert [row["label"] for row in section["buckets"]] == [label for label, _, _ in BUCKETS]
    assert sum(row["impressions"] for row in section["buckets"]) == len(log)
    assert [row["slates"] for row in section["buckets"]] == [75, 75, 150, 150, 150]
    for row, members in zip(section["buckets"], ([0], [1], [2, 4], [5, 9], [10, 700]), strict=True):
        part = log.filter(pl.col("history_events").is_in(members))
        assert row["clicks"] == part["clicked"].sum()
        assert row["users"] == part["user_id"].n_unique()
        assert row["orders"]["ranker"]["auc"] == pytest.approx(auc(part["clicked"].cast(pl.Float64), part["score"]))


def test_a_planted_difference_between_buckets_is_shown(log_of: LogOf) -> None:
    log = log_of(users=300).with_columns(history_events=pl.Series(np.repeat([0, 20], 150 * 9)))
    blind = pl.when(pl.col("history_events") == 0).then(0.0).otherwise(pl.col("oracle"))
    rows = by_history(log.with_columns(score=blind, popularity=pl.lit(0.0)), DATA)["buckets"]
    assert rows[0]["orders"]["ranker"]["auc"] == 0.5
    assert rows[0]["gain_interval"] == {"low": 0.0, "high": 0.0}
    assert rows[-1]["orders"]["ranker"]["auc_interval"]["low"] > 0.6
    assert rows[-1]["gain_interval"]["low"] > 0.02
    assert rows[1]["orders"]["ranker"]["ndcg"] is None
    assert rows[1]["impressions"] == 0


def test_a_bucket_of_one_user_or_no_click_has_no_interval_and_no_fault(log_of: LogOf) -> None:
    log = log_of(users=3).with_columns(history_events=pl.lit(1))
    one = log.filter(pl.col("user_id") == "u0000")
    assert by_history(one, DATA)["buckets"][1]["orders"]["ranker"]["auc_interval"] is None
    none = by_history(log.with_columns(clicked=pl.lit(False)), DATA)["buckets"][1]
    assert none["impressions"] == len(log)
    assert none["orders"]["ranker"]["ndcg"] is None
    every = by_history(log.with_columns(clicked=pl.lit(True)), DATA)["buckets"][1]["orders"]["ranker"]
    assert every["auc_interval"] is None
    assert "absent" in by_history(log.drop("history_events"), DATA)


def planted(seed: int, users: int = 60) -> tuple[Any, Any, Any]:
    """Rows of users whose scores and clicks hang together: few of them are worth as much as their number says."""
    rng = np.random.default_rng(seed)
    user = np.repeat(np.arange(users), rng.integers(1, 12, users))
    lean = rng.normal(size=users)[user]
    score = lean + rng.normal(size=user.size)
    clicked = (0.8 * lean + 0.5 * score + rng.normal(size=user.size) > 0).astype(float)
    return clicked, np.round(score, 1), user


def test_the_interval_is_as_wide_as_that_of_drawing_whole_users_again() -> None:
    clicked, score, user = planted(1, users=200)
    found = auc_interval(clicked, score, user, 0.95)
    assert found is not None
    rng = np.random.default_rng(5)
    rows = [np.flatnonzero(user == one) for one in range(200)]
    draws = []
    for _ in range(600):
        drawn = np.concatenate([rows[k] for k in rng.integers(0, 200, 200)])
        draws.append(auc(clicked[drawn], score[drawn]))
    assert found.half_width == pytest.approx(1.96 * np.std(draws), rel=0.12)
    alone = auc_interval(clicked, score, np.arange(user.size), 0.95)
    assert alone is not None
    assert alone.half_width < 0.9 * found.half_width


def test_nineteen_intervals_in_twenty_hold_the_truth() -> None:
    truth = np.mean([auc(*planted(seed, users=600)[:2]) for seed in range(1000, 1040)])
    held = 0
    for seed in range(300):
        clicked, score, user = planted(seed)
        found = auc_interval(clicked, score, user, 0.95)
        assert found is not None
        held += truth in found
    assert 270 <= held <= 296, held
