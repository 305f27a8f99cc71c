"""Turns labelled slates and a budget of trials into better ranker settings, by TPE, kept on disk trial by trial."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import polars as pl
from optuna.storages.journal import JournalFileBackend

from contracts.errors import ModelError
from contracts.seeds import seed_of
from contracts.settings import RankingSettings
from ranking.boosting import boost, informative
from ranking.forest import scorer
from ranking.frames import Floats, floats, matrix, run_lengths
from ranking.split import SLATE

TUNED = ("objective", "leaves", "learning_rate", "min_rows_per_leaf", "l2", "feature_share")
"""The settings that are tried; the number of rounds follows from early stopping."""

_LEAST_L2 = 1e-3  # tried values below stand for none


@dataclass(frozen=True)
class Trial:
    """One try: its number, the settings tried, the mean NDCG of the slates it never saw, and the trees it kept."""

    number: int
    settings: Mapping[str, Any]
    ndcg: float
    rounds: int


def tune(
    table: pl.DataFrame,
    features: Sequence[str],
    settings: RankingSettings,
    seed: int,
    *,
    trials: int,
    storage: Path,
    directions: Mapping[str, int] | None = None,
    tell: Callable[[Trial, Trial, int], None] = lambda trial, best, trials: None,
) -> list[Trial]:
    """All finished trials, in order; the first one is of the given settings.

    Trained on the training part, stopped on the validation part, judged by NDCG at `slate_size` of the clicks in the
    calibration part, which is later than both. The test part is never read.

    Tree-structured Parzen estimators (Bergstra et al. 2011), with a seed per trial: a search that was stopped and went
    on proposes what one that ran through proposes.

    Args:
        table, features, settings, seed, directions: as for `ranking.ranker.train`.
        trials: finished trials wanted, those in `storage` included.
        storage: file of the journal; the same file goes on with the same search.
        tell: told each new trial, the best so far, and how many there will be.

    Raises:
        ModelError: see `ranking.boosting.boost`; or the calibration part has no slate to judge by; or the file is of
            another search.
    """
    judged = informative(table.filter(pl.col("part") == "calibration").sort(*SLATE, "concept_id"))
    if judged.is_empty():
        raise ModelError(
            "no slate with both clicked and unclicked concepts to judge a trial by",
            where="calibration part of the impressions",
            fix="Give a longer log, or a larger calibration_share under [ranking].",
        )
    study = _study(storage)
    done = _finished(study)
    while len(done) < trials:
        study.sampler = _sampler(seed, len(done))
        if not done:
            study.enqueue_trial(_values(settings), skip_if_exists=True)
        asked = study.ask(_SPACE)
        tried = settings.model_copy(update=_settings_of(asked.params))
        boosted = boost(table, features, tried, seed, directions)
        asked.set_user_attr("rounds", boosted.rounds)
        score = scorer(boosted.text)(matrix(judged, features), settings.threads)
        study.tell(asked, mean_ndcg(judged, score, k=settings.slate_size))
        done = _finished(study)
        tell(done[-1], best(done), trials)
    return done[:trials]


def best(trials: Sequence[Trial]) -> Trial:
    """The trial of the greatest NDCG, the earliest of equals."""
    return max(trials, key=lambda trial: (trial.ndcg, -trial.number))


def as_toml(trial: Trial) -> str:
    """The trial's settings as lines to paste into a settings file."""
    lines = [f"{name} = {json.dumps(value)}" for name, value in trial.settings.items()]
    return "\n".join(["[ranking]", *lines]) + "\n"


def mean_ndcg(rows: pl.DataFrame, score: Floats, *, k: int) -> float:
    """Mean NDCG at k of the clicks of slates that lie in a row, equal scores in the order of the rows."""
    clicked = floats(rows, "clicked")
    lengths = run_lengths(rows, SLATE)
    slate = np.repeat(np.arange(len(lengths)), lengths)
    place = np.arange(len(slate)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    discount = np.where(place < k, 1.0 / np.log2(place + 2.0), 0.0)
    gains = [np.bincount(slate, weights=clicked[np.lexsort((-order, slate))] * discount) for order in (score, clicked)]
    return float(np.mean(gains[0] / gains[1]))


_SPACE: dict[str, optuna.distributions.BaseDistribution] = {
    "objective": optuna.distributions.CategoricalDistribution(["lambdarank", "binary"]),
    "leaves": optuna.distributions.IntDistribution(3, 127, log=True),
    "learning_rate": optuna.distributions.FloatDistribution(0.01, 0.3, log=True),
    "min_rows_per_leaf": optuna.distributions.IntDistribution(5, 1000, log=True),
    "l2": optuna.distributions.FloatDistribution(_LEAST_L2, 1000.0, log=True),
    "feature_share": optuna.distributions.FloatDistribution(0.3, 1.0),
}


def _study(storage: Path) -> optuna.Study:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    storage.parent.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        journal = optuna.storages.JournalStorage(JournalFileBackend(str(storage)))
    return optuna.create_study(study_name="ranker", storage=journal, direction="maximize", load_if_exists=True)


def _sampler(seed: int, number: int) -> optuna.samplers.BaseSampler:
    return optuna.samplers.TPESampler(
        n_startup_trials=8, multivariate=False, seed=seed_of(seed, "ranking", "tuning", number) % 2**31
    )


def _values(settings: RankingSettings) -> dict[str, Any]:
    """The settings as a point of the search space, moved to its edge where they lie outside."""
    found: dict[str, Any] = {}
    for name, known in _SPACE.items():
        value = getattr(settings, name)
        if isinstance(known, optuna.distributions.IntDistribution | optuna.distributions.FloatDistribution):
            value = min(max(value, known.low), known.high)
        found[name] = value
    return found


def _settings_of(values: Mapping[str, Any]) -> dict[str, Any]:
    """Values of a trial as settings, rounded to three digits, so that they can be pasted and are the same."""
    found = {name: float(f"{value:.3g}") if isinstance(value, float) else value for name, value in values.items()}
    return found | {"l2": 0.0 if values["l2"] <= _LEAST_L2 else found["l2"]}


def _finished(study: optuna.Study) -> list[Trial]:
    complete = study.get_trials(deepcopy=False, states=[optuna.trial.TrialState.COMPLETE])
    return [
        Trial(number, _settings_of(trial.params), float(trial.value or 0.0), int(trial.user_attrs["rounds"]))
        for number, trial in enumerate(complete)
    ]
