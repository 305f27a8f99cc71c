"""Turns labelled slates into the text of a LightGBM model, the same bytes from the same rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from contracts.errors import ModelError
from contracts.seeds import seed_of
from contracts.settings import RankingSettings
from ranking.frames import run_lengths
from ranking.lesson import START, Fitted, Lesson, fit
from ranking.split import SLATE

Learn = Callable[[Lesson], Fitted]

_UNNAMEABLE = set('",:[]{}')  # LightGBM does not write these in a model text


@dataclass(frozen=True)
class Boosted:
    """A trained model: its text, its objective (lambdarank or binary), how many portions learned it together, and what
    there is to say of the training."""

    text: str
    objective: str
    rounds: int
    facts: Mapping[str, float]
    warnings: tuple[str, ...]
    portions: int = 1


def boost(
    table: pl.DataFrame,
    features: Sequence[str],
    settings: RankingSettings,
    seed: int,
    directions: Mapping[str, int] | None = None,
    learn: Learn = fit,
) -> Boosted:
    """LambdaMART on slates (Burges 2010), corrected for the slot, stopped by NDCG on the validation part.

    With the objective `lambdarank`: clicked against unclicked concepts of one slate; the slot enters as LightGBM's `position`, an additive bias
    per slot that is learned beside the trees and left out of the model, so that a prediction needs no slot. The
    biases need rounds to be learned, and the NDCG of clicks rewards a model that has not learned them yet: at least
    `early_stopping_rounds` rounds are kept, whatever the validation part says.
    Slates with no click, or with clicks alone (a slate of one concept is always one of these), say nothing about the
    order and are left out. With the objective `binary`, and where the training part has no other slates: clicked or not
    over all rows, with the log-odds of each slot's click rate as a fixed start, stopped by log loss.

    Args:
        table: user_id, at, slot, concept_id, clicked, part (train and validation are read) and the features.
        features: columns in the order the model shall know them.
        settings: objective, rounds, leaves, learning rate, penalties, threads.
        seed: of the run.
        directions: by feature, 1: the score never falls as it grows; -1: it never rises; 0 or left out: free. Read
            with `settings.monotone`. A null is a value of its own, on the side where training put it.
        learn: turns the lesson into a model; here, or in portions elsewhere.

    Raises:
        ModelError: no features, a feature that is missing or no number, no training rows, or one class only.
    """
    bad = [name for name in features if _UNNAMEABLE & set(name)]
    if not features or bad:
        raise ModelError(
            f"feature name with one of {''.join(sorted(_UNNAMEABLE))}: {', '.join(bad)}" if bad else "no features",
            where="features of the ranker",
            fix="Rename it." if bad else "Give at least one feature column.",
        )
    read = [
        *dict.fromkeys([*SLATE, "concept_id", "slot", "clicked", *(name for name in features if name in table.columns)])
    ]
    train, validation = (
        _ordered(table.filter(pl.col("part") == part).select(read)) for part in ("train", "validation")
    )
    _check_classes(train)
    facts = {"train_rows": train.height, "train_clicks": int(train["clicked"].sum())}
    warnings = list(_empty_features(train, features))
    ranked = informative(train)
    if ranked.is_empty() and settings.objective == "lambdarank":
        warnings.append(
            "no training slate has both clicked and unclicked concepts: trained on single clicks (binary), not on order"
        )
    if ranked.is_empty() or settings.objective == "binary":
        data, held_out, objective = train, validation, _binary_parameters()
    else:
        data, held_out, objective = ranked, informative(validation), _ranking_parameters(ranked, settings)
    if settings.monotone and any((directions or {}).get(name, 0) for name in features):
        objective["monotone_constraints"] = [(directions or {}).get(name, 0) for name in features]
    if held_out.is_empty():
        warnings.append("the validation part has nothing to stop by: all boosting rounds were made")
    facts |= {"train_rows_used": data.height, "validation_rows_used": held_out.height}
    if objective["objective"] == "binary":
        data, held_out = (rows.with_columns(_slot_log_odds(data, rows).alias(START)) for rows in (data, held_out))
    del train, validation, ranked  # a long log's are most of the memory that training takes
    parameters = {**_parameters(settings, seed), **objective}
    fitted = learn(Lesson(data, held_out, tuple(features), parameters, settings.rounds, settings.early_stopping_rounds))
    return Boosted(
        text=fitted.text,
        objective=str(objective["objective"]),
        rounds=fitted.rounds,
        facts=facts | {f"validation_{name}": value for name, value in fitted.validation.items()},
        warnings=tuple(warnings),
        portions=fitted.portions,
    )


def informative(rows: pl.DataFrame) -> pl.DataFrame:
    """The rows of slates that hold both a clicked and an unclicked concept, in their order."""
    clicks = pl.col("clicked").cast(pl.Int64)
    return rows.filter((clicks.max().over(SLATE) == 1) & (clicks.min().over(SLATE) == 0))


def _ordered(table: pl.DataFrame) -> pl.DataFrame:
    """Slates in a row, inside a slate by concept: lambdarank breaks ties by this order, so it must not be the slot."""
    return table.sort("at", "user_id", "concept_id", "slot", "clicked")


def _check_classes(train: pl.DataFrame) -> None:
    clicks = int(train["clicked"].sum()) if train.height else 0
    if 0 < clicks < train.height:
        return
    what = "no impressions" if not train.height else f"none of {train.height} clicked" if not clicks else "all clicked"
    raise ModelError(
        f"nothing to learn from: {what}",
        where="training part of the impressions",
        fix="Give a log with clicked and unclicked impressions, longer, or with smaller held-out shares.",
    )


def _empty_features(train: pl.DataFrame, features: Sequence[str]) -> list[str]:
    """A warning about features that hold nothing but nulls; LightGBM never splits on them."""
    hollow = [name for name in features if name in train.columns and train[name].null_count() == train.height]
    return [f"no training row has a value of {', '.join(hollow)}: not used"] if hollow else []


def _parameters(settings: RankingSettings, seed: int) -> dict[str, Any]:
    return {
        "num_leaves": settings.leaves,
        "learning_rate": settings.learning_rate,
        "min_data_in_leaf": settings.min_rows_per_leaf,
        "lambda_l2": settings.l2,
        "feature_fraction": settings.feature_share,
        "num_threads": settings.threads,
        "seed": seed_of(seed, "ranking", "ranker") % 2**31,
        "deterministic": True,
        "force_row_wise": True,
        "verbosity": -1,
    }


def _ranking_parameters(rows: pl.DataFrame, settings: RankingSettings) -> dict[str, Any]:
    longest = int(run_lengths(rows, SLATE).max())
    return {
        "objective": "lambdarank",
        "metric": "ndcg",
        "eval_at": [settings.slate_size],
        "lambdarank_truncation_level": max(30, longest),
    }


def _binary_parameters() -> dict[str, Any]:
    return {"objective": "binary", "metric": "binary_logloss", "boost_from_average": False}


def _slot_log_odds(train: pl.DataFrame, rows: pl.DataFrame) -> pl.Series:
    """Log-odds of the click rate of each row's slot in `train`, with one click in two as a prior."""
    rate = (pl.col("clicked").sum() + 0.5) / (pl.len() + 1.0)
    known = train.group_by("slot").agg(rate.alias("_rate"))
    fallback = float(train.select(rate).item())
    rates = rows.select("slot").join(known, on="slot", how="left", maintain_order="left")["_rate"]
    chance = rates.fill_null(fallback).to_numpy()
    return pl.Series(np.log(chance / (1.0 - chance)))
