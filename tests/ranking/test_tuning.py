"""Claims about tuning: a stopped search goes on as if it had not been, and its best is never worse than what was set."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from sklearn.metrics import ndcg_score

from contracts.errors import ModelError
from contracts.settings import RankingSettings, parse_settings
from ranking.boosting import informative
from ranking.split import split
from ranking.tuning import as_toml, best, mean_ndcg, tune

FEATURES = ("affinity", "pushed", "noise")


@pytest.fixture(scope="module")
def log(plant: Callable[..., Any], settings: RankingSettings) -> pl.DataFrame:
    return split(plant(1500).table, settings)


@pytest.fixture(scope="module")
def quick(settings: RankingSettings) -> RankingSettings:
    return settings.model_copy(update={"rounds": 15, "early_stopping_rounds": 5})


def test_a_search_that_was_stopped_goes_on_to_the_same_trials(
    log: pl.DataFrame, quick: RankingSettings, tmp_path: Path
) -> None:
    told: list[tuple[int, int]] = []
    straight = tune(log, FEATURES, quick, 7, trials=11, storage=tmp_path / "one" / "trials.log")
    half = tmp_path / "two" / "trials.log"
    tune(log, FEATURES, quick, 7, trials=9, storage=half)
    resumed = tune(
        log, FEATURES, quick, 7, trials=11, storage=half, tell=lambda t, b, total: told.append((t.number, total))
    )
    assert resumed == straight
    assert told == [(9, 11), (10, 11)], "only what was left is done"
    assert len({tuple(trial.settings.values()) for trial in straight}) == 11


def test_the_first_trial_is_what_was_set_and_the_best_is_to_be_pasted(
    log: pl.DataFrame, quick: RankingSettings, tmp_path: Path
) -> None:
    found = tune(log, FEATURES, quick, 7, trials=5, storage=tmp_path / "trials.log")
    assert found[0].settings["leaves"] == quick.leaves
    assert best(found).ndcg >= found[0].ndcg
    pasted = parse_settings(tomllib.loads(as_toml(best(found))), where="paste").ranking
    assert {name: getattr(pasted, name) for name in best(found).settings} == dict(best(found).settings)


def test_trials_are_judged_without_the_test_part(log: pl.DataFrame, quick: RankingSettings, tmp_path: Path) -> None:
    test = pl.col("part") == "test"
    flipped = log.with_columns(clicked=pl.when(test).then(~pl.col("clicked")).otherwise("clicked"))
    both = [tune(t, FEATURES, quick, 7, trials=2, storage=tmp_path / str(n)) for n, t in enumerate((log, flipped))]
    assert both[0] == both[1]


def test_nothing_to_judge_by_is_said(log: pl.DataFrame, quick: RankingSettings, tmp_path: Path) -> None:
    silent = log.with_columns(clicked=pl.col("clicked") & (pl.col("part") != "calibration"))
    with pytest.raises(ModelError, match="calibration part"):
        tune(silent, FEATURES, quick, 7, trials=1, storage=tmp_path / "trials.log")


def test_its_ndcg_is_scikit_learns(log: pl.DataFrame) -> None:
    rows = informative(log).sort("user_id", "at", "concept_id")
    score = np.random.default_rng(0).normal(size=rows.height)
    clicks = rows["clicked"].cast(pl.Float64).to_numpy().reshape(-1, 4)
    assert mean_ndcg(rows, score, k=3) == pytest.approx(ndcg_score(clicks, score.reshape(-1, 4), k=3))
