"""Turns rows and what happened on them into predictions by models that never saw the row's user: cross-fitting."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import lightgbm
import numpy as np

from contracts.errors import ModelError
from contracts.seeds import seed_of, stream
from ranking.frames import Floats, Ints

Objective = Literal["binary", "regression"]
_ROUNDS, _PATIENCE = 400, 25
_SURE = 2.0  # standard errors by which trees must beat the mean
_CLICKS = 10  # checked rows of either outcome without which nothing is sure


@dataclass(frozen=True)
class CrossFitted:
    """One model per fold of users, each trained on the other folds.

    Attributes:
        users: (U,) known users, ascending; `folds` (U,) the fold of each.
        boosters: by fold; None where trees did not beat the mean on held-out users.
        means: by fold, mean outcome of the rows the model was trained on.
        rounds: by fold, trees kept.
    """

    users: Ints
    folds: Ints
    boosters: tuple[lightgbm.Booster | None, ...]
    means: tuple[float, ...]
    rounds: tuple[int, ...]

    def predict(self, features: Floats, users: Ints) -> Floats:
        """(N,) expected outcome of the rows (N, F) of `users` (N,), each by the model that did not see its user; a user
        who was in no fold gets the first one's."""
        place = np.minimum(np.searchsorted(self.users, users), len(self.users) - 1)
        fold = np.where(self.users[place] == users, self.folds[place], 0)
        found = np.empty(len(features))
        for number, (booster, mean) in enumerate(zip(self.boosters, self.means, strict=True)):
            rows = np.flatnonzero(fold == number)
            if rows.size:
                found[rows] = mean if booster is None else np.asarray(booster.predict(features[rows]))
        return found


def cross_fit(
    features: Floats,
    outcome: Floats,
    users: Ints,
    *,
    objective: Objective = "binary",
    folds: int = 3,
    seed: int,
    threads: int = 2,
) -> CrossFitted:
    """LightGBM models of an outcome, each blind to the users it will be asked about (Chernozhukov et al. 2018).

    A model that saw a row would have learned its noise, and an estimate corrected by the same row would count it twice.
    The number of trees is found on a quarter of the training users, then all of them are used; where no number beats the
    mean there by two standard errors, the mean is the model: with few clicks that is the honest one.

    Args:
        features: (N, F) numbers; NaN is missing.
        outcome: (N,) 0 or 1 for "binary", any finite number for "regression".
        users: (N,) whole numbers; a user's rows are in one fold.
        objective: of LightGBM.
        folds: at least 2.
        seed: of the run.
        threads: of LightGBM.

    Raises:
        ModelError: fewer users than folds.
    """
    names, codes = np.unique(users, return_inverse=True)
    if len(names) < folds:
        raise ModelError(
            f"{len(names)} users for {folds} folds", where="cross-fitted model", fix="Give a log of more users."
        )
    rng = stream(seed, "ranking", "cross-fitting")
    fold_of = rng.permutation(np.arange(len(names)) % folds)
    checks = rng.permutation(np.arange(len(names)) % 4) == 0
    parameters: dict[str, Any] = {
        "objective": objective, "num_leaves": 15, "learning_rate": 0.05,
        "min_data_in_leaf": 50, "lambda_l2": 10.0, "num_threads": threads, "seed": seed_of(seed, "ranking", "cross-fitting") % 2**31,
        "deterministic": True, "force_row_wise": True, "verbosity": -1,
    }  # fmt: skip
    boosters, means, rounds = [], [], []
    for fold in range(folds):
        train = (fold_of != fold)[codes]
        check = train & checks[codes]
        best = _trees(features, outcome, train & ~check, check, parameters)
        whole = lightgbm.Dataset(features[train], label=outcome[train], params={"verbosity": -1})
        boosters.append(lightgbm.train(parameters, whole, num_boost_round=best) if best else None)
        means.append(float(outcome[train].mean()))
        rounds.append(best)
    return CrossFitted(names, fold_of, tuple(boosters), tuple(means), tuple(rounds))


def _trees(features: Floats, outcome: Floats, train: Any, check: Any, parameters: dict[str, Any]) -> int:
    """Trees that predict the checked rows best; 0 where that is not clearly better than the mean, or all are alike."""
    known, asked = outcome[train], outcome[check]
    if known.size == 0 or asked.size == 0 or known.min() == known.max():
        return 0
    if parameters["objective"] == "binary" and not _CLICKS <= asked.sum() <= asked.size - _CLICKS:
        return 0
    data = lightgbm.Dataset(features[train], label=known, params={"verbosity": -1})
    held = lightgbm.Dataset(features[check], label=asked, reference=data)
    booster = lightgbm.train(
        parameters, data, num_boost_round=_ROUNDS, valid_sets=[held], valid_names=["check"],
        callbacks=[lightgbm.early_stopping(_PATIENCE, verbose=False)],
    )  # fmt: skip
    best = booster.best_iteration
    predicted = np.asarray(booster.predict(features[check], num_iteration=best))
    gained = _loss(asked, np.full(asked.size, known.mean()), parameters) - _loss(asked, predicted, parameters)
    return best if gained.mean() > _SURE * gained.std() / np.sqrt(gained.size) else 0


def _loss(outcome: Floats, predicted: Floats, parameters: dict[str, Any]) -> Floats:
    """(N,) what the objective charges each row."""
    if parameters["objective"] == "binary":
        return np.asarray(-(outcome * np.log(predicted) + (1 - outcome) * np.log1p(-predicted)))
    return np.square(outcome - predicted)
