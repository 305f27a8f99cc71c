"""Claims about the trees walked as masks: the scores are LightGBM's to the last bit, whatever the trees and the values."""

from __future__ import annotations

from typing import Any

import lightgbm
import numpy as np
import pytest

from ranking.forest import Forest, scorer


def model(leaves: int, rounds: int = 12, **parameters: Any) -> str:
    """Trees on five features: with holes, without, whole numbers, zeros, and one that says nothing."""
    x, rng = values(3_000), np.random.default_rng(5)
    target = np.nan_to_num(x[:, 0]) + (x[:, 1] > 0.3) * x[:, 2] + np.isnan(x[:, 0]) + rng.normal(size=len(x))
    settings = {"num_leaves": leaves, "min_data_in_leaf": 3, "verbosity": -1, "num_threads": 1, **parameters}
    return lightgbm.train(settings, lightgbm.Dataset(x, target), rounds).model_to_string()


def values(rows: int, seed: int = 1) -> np.ndarray[Any, Any]:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, 5))
    x[rng.random(rows) < 0.3, 0] = np.nan
    x[:, 2] = rng.integers(-3, 4, rows)
    x[:, 3] *= rng.random(rows) < 0.5
    x[:, 4] = 1.0
    return x


def hard(dtype: Any) -> np.ndarray[Any, Any]:
    """Beside plain values: NaN where training knew none, infinities, zeros of both signs, and the thresholds themselves."""
    x = values(1_000, seed=2).astype(dtype)
    awkward = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-36, 3e38], dtype=dtype)
    x[:700] = np.random.default_rng(3).choice(awkward, (700, 5))
    return x


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("leaves", [2, 15, 32, 33, 64])
def test_scores_are_those_of_lightgbm_to_the_last_bit(leaves: int, dtype: Any) -> None:
    text = model(leaves)
    forest, booster = Forest.of(text), lightgbm.Booster(model_str=text)
    assert forest is not None
    x = hard(dtype)
    cuts = forest.threshold[:300]
    x[700 : 700 + len(cuts)] = cuts[: len(x) - 700, None]
    x = np.concatenate([x, np.nextafter(x, dtype(-np.inf)), np.nextafter(x, dtype(np.inf))])
    np.testing.assert_array_equal(forest.score(x.T, 1), booster.predict(x, raw_score=True))


def test_threads_and_the_number_of_rows_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    forest, x = Forest.of(model(15)), values(1_001).T
    assert forest is not None
    whole = forest.score(x, 1)
    monkeypatch.setattr("ranking.forest._PART", 100)
    np.testing.assert_array_equal(forest.score(x, 3), whole)
    np.testing.assert_array_equal([forest.score(x[:, [row]], 1)[0] for row in (0, 1, 1_000)], whole[[0, 1, 1_000]])
    assert forest.score(x[:, :0], 2).shape == (0,)


def test_trees_that_never_split_have_their_constant() -> None:
    text = model(15, rounds=2, min_data_in_leaf=2_000)
    x = values(10)
    expected = lightgbm.Booster(model_str=text).predict(x, raw_score=True)
    np.testing.assert_array_equal(scorer(text)(x, 1), expected)
    assert len(set(expected)) == 1


@pytest.mark.parametrize(
    "other", [{"leaves": 65}, {"leaves": 15, "categorical_feature": [2]}, {"leaves": 15, "zero_as_missing": True}]
)
def test_what_it_does_not_know_is_left_to_lightgbm(other: dict[str, Any]) -> None:
    text, x = model(**other), values(500)
    assert Forest.of(text) is None
    np.testing.assert_array_equal(scorer(text)(x, 1), lightgbm.Booster(model_str=text).predict(x, raw_score=True))


def test_another_number_of_features_is_refused() -> None:
    forest = Forest.of(model(15))
    assert forest is not None
    with pytest.raises(ValueError, match="4 features for a model of 5"):
        forest.score(values(10).T[:4], 1)
