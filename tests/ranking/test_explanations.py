"""Claims about explanations: they sum to the score, find what was planted, and draw it along a feature."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl
import pytest

from contracts.settings import RankingSettings
from ranking.explanations import importance, partial_dependence, reasons
from ranking.ranker import Ranker, train
from ranking.split import split

FEATURES = ("affinity", "pushed", "noise")


@pytest.fixture(scope="module")
def log(plant: Callable[..., Any], settings: RankingSettings) -> pl.DataFrame:
    return split(plant(3000).table, settings)


@pytest.fixture(scope="module")
def ranker(log: pl.DataFrame, settings: RankingSettings) -> Ranker:
    return train(log, FEATURES, settings, 7)


def test_contributions_sum_to_the_score_of_every_row(log: pl.DataFrame, ranker: Ranker) -> None:
    rows = log.head(500).with_columns(affinity=pl.when(pl.int_range(pl.len()) % 5 > 0).then("affinity"))
    np.testing.assert_allclose(ranker.contributions(rows).sum(axis=1), ranker.score(rows), atol=1e-9)
    assert ranker.contributions(rows.clear()).shape == (0, 4)


def test_the_reasons_of_a_row_sum_to_its_score_and_the_planted_one_leads(log: pl.DataFrame, ranker: Ranker) -> None:
    row = log.sort("affinity").tail(1)
    base, found = reasons(ranker, row)
    assert base + sum(one.adds for one in found) == pytest.approx(float(ranker.score(row)[0]))
    assert found[0].feature == "affinity"
    assert found[0].adds > 0
    assert found[0].value == row["affinity"][0]


def test_importance_is_in_the_planted_order_with_the_planted_signs(log: pl.DataFrame, ranker: Ranker) -> None:
    found = importance(ranker, log, seed=7)
    assert [one["feature"] for one in found] == ["affinity", "pushed", "noise"]
    assert sum(one["share"] for one in found) == pytest.approx(1.0)
    assert [one["direction"] for one in found[:2]] == [1, -1]


def test_dependence_is_the_mean_chance_with_the_feature_set(log: pl.DataFrame, ranker: Ranker) -> None:
    rows = log.head(1000).with_columns(noise=pl.lit(1.0), pushed=pl.when(pl.int_range(pl.len()) > 9).then("pushed"))
    found = {one["feature"]: one for one in partial_dependence(ranker, rows, FEATURES, seed=7)}
    assert set(found) == {"affinity", "pushed"}, "a feature that never varies has no curve"
    entry = found["affinity"]
    by_hand = ranker.click_chance(ranker.score(rows.with_columns(affinity=pl.lit(entry["values"][3])))).mean()
    assert entry["chances"][3] == pytest.approx(by_hand)
    assert entry["chances"][-1] > entry["chances"][0] + 0.1
    assert entry["unknown"] is None
    assert found["pushed"]["unknown"] == pytest.approx(
        ranker.click_chance(ranker.score(rows.with_columns(pushed=pl.lit(None, pl.Float64)))).mean()
    )


def test_equal_seeds_give_equal_figures(log: pl.DataFrame, ranker: Ranker) -> None:
    many = pl.concat([log, log])
    assert importance(ranker, many, seed=7) == importance(ranker, many, seed=7)
    assert partial_dependence(ranker, many, FEATURES, seed=7) == partial_dependence(ranker, many, FEATURES, seed=7)
