"""What a click model says of given slates, and of the new policy's embeddings, on logs whose law is planted."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import flows.model_slates
from contracts.settings import SlateSettings
from flows.model_slates import expected_slates, marginal_ratios, rewarded
from ranking.policy import Policy

AT = datetime(2026, 1, 1, tzinfo=UTC)
CHANCE = {"a": 0.6, "b": 0.2, "c": 0.05}


@pytest.fixture(scope="module")
def log() -> pl.DataFrame:
    """Two of three concepts in random order, clicked by concept alone; x tells the concept."""
    rng = np.random.default_rng(0)
    rows = []
    for user in range(1500):
        for slot, concept in enumerate(rng.permutation(list(CHANCE))[:2]):
            clicked = bool(rng.random() < CHANCE[str(concept)])
            rows.append((f"u{user}-{slot}", f"u{user:04d}", AT, slot, str(concept), clicked, 1 / (3 - slot)))
    names = ["impression_id", "user_id", "at", "slot", "concept_id", "clicked", "propensity"]
    return pl.DataFrame(rows, schema=names, orient="row")


@pytest.fixture(scope="module")
def run(log: pl.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    (folder / "features").mkdir()
    codes = pl.DataFrame({"concept_id": list(CHANCE), "x": [0.0, 1.0, 2.0]})
    log.join(codes, on="concept_id", how="left").write_parquet(folder / "features" / "logged.parquet")
    everything = log.select("user_id", "at").unique().join(codes, how="cross")
    everything.write_parquet(folder / "features" / "replay.parquet")
    return folder


def test_the_model_says_what_the_first_concept_that_has_not_stood_there_is_worth(log: pl.DataFrame, run: Path) -> None:
    someone = log["user_id"].unique().sort()[:1000]
    slates = pl.DataFrame({"user_id": someone}).join(
        pl.DataFrame({"position": [0, 1], "concept_id": ["a", "b"]}), how="cross"
    )
    found = rewarded(log, slates, run, ["x"], seed=1)
    for row in found.iter_rows(named=True):
        before = [] if row["slot"] == 0 else [found.filter(user_id=row["user_id"], slot=0)["concept_id"][0]]
        choice = next((concept for concept in ("a", "b") if concept not in before), None)
        expected = CHANCE[str(choice)] if row["user_id"] in set(someone) else 0.0
        assert row["expected_chance"] == pytest.approx(expected, abs=0.08)
        assert row["predicted_chance"] == pytest.approx(CHANCE[row["concept_id"]], abs=0.08)
        if row["user_id"] > "u0060":
            break


def test_weights_of_embeddings_are_the_mean_weights_of_the_concepts_that_share_them(log: pl.DataFrame) -> None:
    target = {"a": 0.1, "b": 0.5, "c": 0.4}
    told = log.filter(pl.col("slot") == 0).with_columns(
        target_propensity=pl.col("concept_id").replace_strict(target, return_dtype=pl.Float64)
    )
    vectors = pl.DataFrame({"concept_id": list(CHANCE), "vector": [[0.0], [0.0], [1.0]]})  # a and b look the same
    found = marginal_ratios(told, np.zeros((told.height, 0)), vectors, seed=1)
    assert found is not None
    means = told.with_columns(found.alias("m")).group_by("concept_id").agg(pl.col("m").mean()).sort("concept_id")
    assert means["m"].to_list() == pytest.approx([0.9, 0.9, 1.2], abs=0.08)  # own weights: 0.3, 1.5, 1.2; 4 sd
    assert marginal_ratios(told.drop("propensity"), np.zeros((told.height, 0)), vectors, seed=1) is None


def test_fewer_draws_for_each_slate_of_a_long_log_tell_the_same_on_average(
    log: pl.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    odds = {concept: float(np.log(chance / (1 - chance))) for concept, chance in CHANCE.items()}
    scores = log.select("user_id", "at").unique().join(pl.DataFrame({"concept_id": list(CHANCE)}), how="cross")
    scores = scores.with_columns(
        score=pl.col("concept_id").replace_strict(odds), click_chance=pl.col("concept_id").replace_strict(CHANCE)
    ).sort("user_id", "at", "concept_id")
    concepts = pl.DataFrame(
        {"concept_id": list(CHANCE), "advertiser": ["x", "x", "y"], "topics": [["t"], ["u"], ["t"]]}
    )
    policy = Policy(SlateSettings(temperature=1.0, topic_penalty=0.5))

    def value(most: int) -> np.ndarray:
        monkeypatch.setattr(flows.model_slates, "ALL_DRAWS", most)
        found = expected_slates(log, [scores], concepts, policy, np.zeros(2), 1)
        return found.sort("user_id")["expected_slate"].to_numpy()

    few, many = value(1), value(10**9)
    assert 1.5 < few.std() / many.std() < 5
    assert few.mean() == pytest.approx(many.mean(), abs=4 * few.std() / np.sqrt(len(few)))
