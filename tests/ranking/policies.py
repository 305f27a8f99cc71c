"""Turns rules of a slate into policies, and into chances as a plain loop finds them: the oracle of the ranking tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import exp
from typing import Any

import numpy as np
import polars as pl

from contracts.settings import SlateSettings
from ranking.policy import Policy

PLAIN: dict[str, Any] = {"exploration": 0.0, "topic_penalty": 0.0, "advertiser_penalty": 0.0}


def plain(**changes: Any) -> Policy:
    """A policy without diversity and exploration."""
    return Policy(SlateSettings(**{**PLAIN, **changes}))


def catalogue(count: int = 10) -> pl.DataFrame:
    """Concepts c0, c1, ...: advertisers x, y, z in turn; one or two of 70 topics, so that two words are needed."""
    return pl.DataFrame(
        {
            "concept_id": [f"c{c}" for c in range(count)],
            "advertiser": ["xyz"[c % 3] for c in range(count)],
            "topics": [[f"t{c % 2}", f"t{68 + c % 4}"] if c % 4 else ["only"] for c in range(count)],
        }
    )


def chances_by_hand(
    left: Mapping[str, float], shown: Sequence[str], concepts: pl.DataFrame, policy: Policy
) -> dict[str, float]:
    """Chance of each candidate: log-odds of those left, and everything shown before, by the formula of `Filling`.

    At temperature 0 the first in `left` of the best.
    """
    settings = policy.settings
    about = {row["concept_id"]: (row["advertiser"], set(row["topics"])) for row in concepts.iter_rows(named=True)}
    utility = {}
    for concept, odds in left.items():
        advertiser, topics = about[concept]
        rivals = sum(1 for other in shown if other in about and about[other][0] == advertiser)
        kin = sum(1 for other in shown if other in about and about[other][1] & topics)
        if advertiser in policy.resting or (settings.advertiser_slots and rivals >= settings.advertiser_slots):
            continue
        boost = policy.boosts.get(advertiser, 0.0)
        utility[concept] = odds + boost - settings.advertiser_penalty * rivals - settings.topic_penalty * kin
    if settings.temperature:
        weight = {concept: exp(value / settings.temperature) for concept, value in utility.items()}
    else:
        best = max(utility, key=lambda c: utility[c], default="")
        weight = {concept: float(concept == best) for concept in utility}
    total, share = sum(weight.values()), settings.exploration
    return {c: (1 - share) * weight[c] / total + share / len(utility) if c in utility else 0.0 for c in left}


def scored(users: dict[str, dict[str, float]]) -> pl.DataFrame:
    """Scores whose calibrated log-odds equal the score."""
    rows = [(user, concept, score) for user, concepts in users.items() for concept, score in concepts.items()]
    frame = pl.DataFrame(rows, schema=["user_id", "concept_id", "score"], orient="row")
    return frame.with_columns(click_chance=1.0 / (1.0 + (-pl.col("score")).exp()))


def crowd(users: int, concepts: int = 9) -> pl.DataFrame:
    rng = np.random.default_rng(0)
    return scored(
        {f"u{user}": {f"c{concept}": rng.normal() for concept in range(concepts - user % 3)} for user in range(users)}
    )
