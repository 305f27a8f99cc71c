"""Claims about the ranker: it finds a planted order, forgives slots, and is the same to the byte."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from sklearn.metrics import ndcg_score

from contracts.errors import ModelError
from contracts.settings import RankingSettings
from ranking.boosting import informative
from ranking.popularity import popularity
from ranking.ranker import Ranker, train
from ranking.split import split

FEATURES = ("affinity", "pushed", "noise")
SIZE = 4


@pytest.fixture(scope="module")
def log(plant: Callable[..., Any], settings: RankingSettings) -> pl.DataFrame:
    planted = plant(6000)
    return split(planted.table.with_columns(utility=planted.utility), settings)


@pytest.fixture(scope="module")
def ranker(log: pl.DataFrame, settings: RankingSettings) -> Ranker:
    return train(log, FEATURES, settings, 7)


def ndcg(rows: pl.DataFrame, score: np.ndarray) -> float:
    """NDCG of the true click chance over the slates of `rows`, by scikit-learn."""
    truth = 1.0 / (1.0 + np.exp(-rows["utility"].to_numpy().reshape(-1, SIZE)))
    return float(ndcg_score(truth, score.reshape(-1, SIZE)))


def part(log: pl.DataFrame, name: str) -> pl.DataFrame:
    return log.filter(pl.col("part") == name)


def test_it_beats_popularity_and_comes_near_the_truth(log: pl.DataFrame, ranker: Ranker) -> None:
    test = part(log, "test")
    rates = popularity(part(log, "train"), log.select("concept_id").unique())
    popular = test.join(rates, on="concept_id", how="left", maintain_order="left")["click_rate"].to_numpy()
    best, learned, baseline = (ndcg(test, score) for score in (test["utility"].to_numpy(), ranker.score(test), popular))
    assert best == pytest.approx(1.0)
    assert learned > baseline + 0.8 * (best - baseline)


def test_validation_ndcg_is_scikit_learns(log: pl.DataFrame, ranker: Ranker) -> None:
    rows = informative(part(log, "validation"))
    clicks = rows["clicked"].cast(pl.Float64).to_numpy().reshape(-1, SIZE)
    oracle = ndcg_score(clicks, ranker.score(rows).reshape(-1, SIZE), ignore_ties=True)
    assert ranker.meta["facts"]["validation_ndcg@4"] == pytest.approx(oracle, abs=2e-3)  # tied scores, ordered freely


def test_a_slot_that_pushes_a_bad_concept_is_forgiven(plant: Callable[..., Any], settings: RankingSettings) -> None:
    planted = plant(8000, pushed=-0.3, push=3.0)  # disliked, but always on top, where clicks are
    log = split(planted.table, settings)
    fair = train(log, FEATURES, settings, 7)
    blind = train(log.with_columns(slot=pl.lit(0, pl.Int32)), FEATURES, settings, 7)
    rng = np.random.default_rng(0)
    fresh = pl.DataFrame(rng.normal(size=(6000, 3)), schema=list(FEATURES))
    utility = 1.2 * fresh["affinity"].to_numpy() - 0.3 * fresh["pushed"].to_numpy()
    truth = fresh.with_columns(utility=pl.Series(utility))
    slope = {name: np.polyfit(fresh["pushed"], r.score(fresh), 1)[0] for name, r in (("fair", fair), ("blind", blind))}
    assert slope["blind"] > 0.0, "the plant is too weak to mislead anyone"
    assert slope["fair"] < slope["blind"] - 0.1
    assert ndcg(truth, fair.score(fresh)) > ndcg(truth, blind.score(fresh)) + 0.005
    assert fair.meta["rounds"] >= settings.early_stopping_rounds


def test_prediction_needs_no_slot_and_a_slot_changes_nothing(log: pl.DataFrame, ranker: Ranker) -> None:
    test = part(log, "test")
    bare = ranker.score(test.select(FEATURES))
    np.testing.assert_array_equal(bare, ranker.score(test.with_columns(slot=pl.lit(3, pl.Int32))))
    assert "slot" not in ranker.features
    assert len(np.unique(bare)) > 100


def test_equal_rows_in_any_order_give_equal_bytes(log: pl.DataFrame, ranker: Ranker, settings: RankingSettings) -> None:
    again = train(log.sample(fraction=1.0, shuffle=True, seed=1), FEATURES, settings, 7)
    assert again.model_text == ranker.model_text
    assert again.hash == ranker.hash
    assert train(log, FEATURES, settings.model_copy(update={"leaves": 5}), 7).hash != ranker.hash
    assert train(log, FEATURES, settings.model_copy(update={"temperature": 9.0}), 7).hash == ranker.hash


def test_the_test_part_is_never_read(log: pl.DataFrame, ranker: Ranker, settings: RankingSettings) -> None:
    flipped = log.with_columns(clicked=pl.when(pl.col("part") == "test").then(~pl.col("clicked")).otherwise("clicked"))
    assert train(flipped, FEATURES, settings, 7).hash == ranker.hash


def test_calibrated_chances_are_the_planted_ones(log: pl.DataFrame, ranker: Ranker) -> None:
    test = part(log, "test")
    chance = ranker.click_chance(ranker.score(test))
    truth = 1.0 / (1.0 + np.exp(-test["utility"].to_numpy()))
    assert np.mean(chance) == pytest.approx(np.mean(truth), abs=0.04)
    assert np.mean(np.abs(chance - truth)) < 0.06
    np.testing.assert_allclose(ranker.slot_offsets, [0.0, -1.0, -1.6, -2.0], atol=0.35)
    assert np.all(np.diff(ranker.log_odds(np.linspace(-3, 3, 50))) > 0)


def test_slates_of_one_concept_fall_back_to_single_clicks(plant: Callable[..., Any], settings: RankingSettings) -> None:
    planted = plant(6000, size=1)
    ranker = train(split(planted.table, settings), FEATURES, settings, 7)
    assert ranker.meta["objective"] == "binary"
    assert "binary" in ranker.warnings[0]
    assert np.corrcoef(ranker.score(planted.table), planted.utility)[0, 1] > 0.9
    assert np.ptp(ranker.score(planted.table)) > 2.0, "log-odds, not chances squeezed into [0, 1]"


def test_the_fallback_forgives_slots_too(plant: Callable[..., Any], settings: RankingSettings) -> None:
    moment = pl.col("at") + pl.duration(seconds=pl.col("slot"))  # every impression a slate of its own
    log = split(plant(8000, pushed=-0.3, push=3.0).table.with_columns(at=moment), settings)
    fair = train(log, FEATURES, settings, 7)
    blind = train(log.with_columns(slot=pl.lit(0, pl.Int32)), FEATURES, settings, 7)
    assert fair.meta["objective"] == "binary"
    fresh = pl.DataFrame(np.random.default_rng(0).normal(size=(3000, 3)), schema=list(FEATURES))
    slope = [np.polyfit(fresh["pushed"], ranker.score(fresh), 1)[0] for ranker in (fair, blind)]
    assert slope[0] < 0.0 < slope[1]


@pytest.mark.parametrize("clicked", [True, False])
def test_one_class_only_is_refused(log: pl.DataFrame, settings: RankingSettings, clicked: bool) -> None:
    with pytest.raises(ModelError, match=r"nothing to learn from.*clicked and unclicked"):
        train(log.with_columns(clicked=pl.lit(clicked)), FEATURES, settings, 7)


def test_without_informative_validation_all_rounds_are_made(log: pl.DataFrame, settings: RankingSettings) -> None:
    silent = log.with_columns(clicked=pl.col("clicked") & (pl.col("part") != "validation"))
    ranker = train(silent, FEATURES, settings.model_copy(update={"rounds": 5}), 7)
    assert ranker.meta["rounds"] == 5
    assert "nothing to stop by" in ranker.warnings[0]


def test_a_missing_feature_is_named_and_an_empty_one_is_fine(
    log: pl.DataFrame, ranker: Ranker, settings: RankingSettings
) -> None:
    with pytest.raises(ModelError, match="affinity"):
        ranker.score(log.drop("affinity"))
    with pytest.raises(ModelError, match=r"noise \(String\)"):
        ranker.score(log.with_columns(noise=pl.lit("x")))
    assert np.isfinite(ranker.score(log.with_columns(noise=pl.lit(None)))).all()
    hollow = train(log.with_columns(noise=pl.lit(None, pl.Float64)), FEATURES, settings, 7)
    assert np.ptp(hollow.score(log)) > 1.0
    assert len(ranker.score(log.clear())) == 0
    with pytest.raises(ModelError, match="no features"):
        train(log, (), settings, 7)


def test_it_comes_back_from_disk_the_same(log: pl.DataFrame, ranker: Ranker, tmp_path: Path) -> None:
    ranker.save(tmp_path / "new" / "folder")
    back = Ranker.load(tmp_path / "new" / "folder", FEATURES)
    assert back.hash == ranker.hash
    np.testing.assert_array_equal(back.score(log), ranker.score(log))
    np.testing.assert_array_equal(back.click_chance(0.3, [0, 1, 9]), ranker.click_chance(0.3, [0, 1, 9]))


def test_another_feature_list_is_refused(ranker: Ranker, tmp_path: Path) -> None:
    ranker.save(tmp_path)
    with pytest.raises(ModelError, match="without noise; with novelty"):
        Ranker.load(tmp_path, ("affinity", "pushed", "novelty"))
    with pytest.raises(ModelError, match="another order"):
        Ranker.load(tmp_path, FEATURES[::-1])


def damage_text(folder: Path) -> None:
    path = folder / "model.txt"
    path.write_text(path.read_text().replace("leaf_value=0", "leaf_value=1", 1))


def damage_calibration(folder: Path) -> None:
    about = json.loads((folder / "ranker.json").read_text())
    about["calibration"]["slope"] = -1.0
    (folder / "ranker.json").write_text(json.dumps(about))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / "model.txt").unlink(), "model.txt: cannot be read"),
        (lambda folder: (folder / "ranker.json").unlink(), "ranker.json: cannot be read"),
        (lambda folder: (folder / "ranker.json").write_text("{"), "is not JSON"),
        (lambda folder: (folder / "ranker.json").write_text("[]"), "does not describe a ranker"),
        (lambda folder: (folder / "model.txt").write_bytes(b"\xff\xfe"), "is not text"),
        (damage_text, "is not the model that ranker.json describes"),
        (damage_calibration, "damaged calibration"),
    ],
)
def test_damage_is_noticed_with_a_way_out(
    ranker: Ranker, tmp_path: Path, damage: Callable[[Path], object], message: str
) -> None:
    ranker.save(tmp_path)
    before = [path.read_bytes() for path in sorted(tmp_path.iterdir())]
    damage(tmp_path)
    assert [path.read_bytes() for path in sorted(tmp_path.iterdir())] != before
    with pytest.raises(ModelError, match=message) as caught:
        Ranker.load(tmp_path)
    assert "Train the ranker again" in str(caught.value)


def test_a_monotone_feature_never_turns_the_score_the_other_way(log: pl.DataFrame, settings: RankingSettings) -> None:
    directions = {"noise": 1, "pushed": 1, "affinity": 1}  # pushed is disliked: the constraint must hold all the same
    kept = train(log, FEATURES, settings, 7, directions=directions)
    free = train(log, FEATURES, settings.model_copy(update={"monotone": False}), 7, directions=directions)
    base = part(log, "test").head(50)
    for name in FEATURES:
        steps = [base.with_columns(pl.lit(value).alias(name)) for value in np.linspace(-2.5, 2.5, 25)]
        rises = np.diff(np.stack([kept.score(step) for step in steps]), axis=0)
        assert rises.min() >= 0.0, name
    falls = np.diff(np.stack([free.score(base.with_columns(pushed=pl.lit(v))) for v in (-2.0, 2.0)]), axis=0)
    assert falls.max() < 0.0, "free trees follow the plant"
    assert kept.meta["directions"] == directions
    assert free.meta["directions"] == {}


def test_the_objective_may_be_single_clicks(log: pl.DataFrame, settings: RankingSettings) -> None:
    ranker = train(log, FEATURES, settings.model_copy(update={"objective": "binary"}), 7)
    assert ranker.meta["objective"] == "binary"
    assert ranker.warnings == ()
    assert ndcg(part(log, "test"), ranker.score(part(log, "test"))) > 0.93


def test_lightgbm_learns_the_planted_slot_biases(
    plant: Callable[..., Any],
    settings: RankingSettings,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """LightGBM tells its position biases in its debug log alone: the last table of it is read."""
    from ranking import boosting

    quiet = boosting._parameters
    monkeypatch.setattr(boosting, "_parameters", lambda *given: {**quiet(*given), "verbosity": 2})
    log = split(plant(8000, pushed=-0.3, push=1.0).table, settings)
    train(log, FEATURES, settings.model_copy(update={"early_stopping_rounds": 60}), 7)
    told = re.findall(r"\]\s+(\d)\s+(-?\d+\.\d+)\s*$", capfd.readouterr().out, flags=re.MULTILINE)
    bias = {int(slot): float(value) for slot, value in told}  # the last table stays
    np.testing.assert_allclose([bias[slot] - bias[0] for slot in range(SIZE)], [0.0, -1.0, -1.6, -2.0], atol=0.35)


def test_a_query_with_one_candidate_teaches_nothing_and_harms_nothing(
    log: pl.DataFrame, ranker: Ranker, settings: RankingSettings
) -> None:
    lone = part(log, "train").head(200).with_columns(at=pl.col("at") + pl.duration(seconds=pl.int_range(pl.len()) + 1))
    again = train(pl.concat([log, lone]), FEATURES, settings, 7)
    assert again.model_text == ranker.model_text


def test_an_all_null_feature_is_said_and_never_a_zero(log: pl.DataFrame, settings: RankingSettings) -> None:
    hollow = log.with_columns(noise=pl.lit(None, pl.Float64))
    ranker = train(hollow, FEATURES, settings, 7)
    assert any("no training row has a value of noise" in warning for warning in ranker.warnings)
    np.testing.assert_array_equal(ranker.score(hollow), ranker.score(hollow.with_columns(noise=pl.lit(5.0))))
