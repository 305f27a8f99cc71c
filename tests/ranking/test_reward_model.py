"""Cross-fitting: a row's prediction never saw its user, finds what is there, and says the mean where nothing is."""

from __future__ import annotations

import numpy as np
import pytest

from contracts.errors import ModelError
from ranking.reward_model import cross_fit


def test_a_model_that_could_learn_users_by_heart_is_no_better_than_the_mean_on_them() -> None:
    rng = np.random.default_rng(0)
    users = np.repeat(np.arange(400), 5)
    taste = rng.integers(0, 2, 400)[users].astype(float)  # a coin a user: known from the user's other rows alone
    features = users[:, None].astype(float)
    model = cross_fit(features, taste, users, seed=1)
    found = model.predict(features, users)
    assert np.mean((found - taste) ** 2) > 0.24  # guessing is 0.25; seeing the user's other rows would be near 0


def test_what_features_say_is_found_by_every_fold() -> None:
    rng = np.random.default_rng(1)
    users = np.repeat(np.arange(1500), 4)
    features = rng.random((users.size, 3))
    chance = 0.1 + 0.6 * (features[:, 0] > 0.5)
    clicked = (rng.random(users.size) < chance).astype(float)
    model = cross_fit(features, clicked, users, seed=1)
    assert min(model.rounds) > 0
    assert np.abs(model.predict(features, users) - chance).mean() < 0.05
    worth = cross_fit(features, 3 * chance, users, objective="regression", seed=1)
    assert np.abs(worth.predict(features, users) - 3 * chance).mean() < 0.05


def test_where_nothing_is_to_be_learned_the_mean_of_the_others_is_the_model() -> None:
    users = np.arange(3000)
    clicked = (np.random.default_rng(2).random(3000) < 0.004).astype(float)
    model = cross_fit(np.random.default_rng(3).random((3000, 4)), clicked, users, seed=1)
    found = model.predict(np.zeros((3000, 4)), users)
    assert sorted(set(found)) == pytest.approx(sorted(set(model.means)))
    none = cross_fit(np.ones((30, 1)), np.zeros(30), np.arange(30), seed=1)
    assert none.predict(np.ones((30, 1)), np.arange(30)).tolist() == [0.0] * 30


def test_equal_seeds_give_equal_predictions_strangers_get_one_and_too_few_users_are_refused() -> None:
    rng = np.random.default_rng(4)
    features, users = rng.random((600, 2)), np.arange(600)
    clicked = (rng.random(600) < features[:, 0]).astype(float)
    one, other = (cross_fit(features, clicked, users, seed=3).predict(features, users) for _ in range(2))
    assert (one == other).all()
    strangers = cross_fit(features, clicked, users, seed=3).predict(features[:5], np.arange(9000, 9005))
    assert np.isfinite(strangers).all()
    with pytest.raises(ModelError, match="2 users for 3 folds"):
        cross_fit(features[:2], clicked[:2], users[:2], seed=3)
