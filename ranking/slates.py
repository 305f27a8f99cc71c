"""Turns scores into slates: a Plackett-Luce draw per user, with the propensity of every choice written down."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator

import numpy as np
import polars as pl

from contracts.settings import RankingSettings
from contracts.tables import EVERYONE, Slates, polars_schema
from ranking.frames import Floats, Ints, floats, run_lengths
from ranking.plackett_luce import COLDEST, draw, gumbel

_BLOCK = 4096  # slates drawn at a time


def policy_hash(ranker_hash: str, settings: RankingSettings) -> str:
    """sha256 hex of what decides the chance of a slate: the ranker, the size, the temperature, the candidate limit."""
    policy = {
        "draw": "plackett-luce/1",
        "ranker": ranker_hash,
        "slate_size": settings.slate_size,
        "temperature": settings.temperature,
        "candidates": settings.candidates,
    }
    return hashlib.sha256(json.dumps(policy, sort_keys=True).encode()).hexdigest()


def sample_slates(scores: pl.DataFrame, *, size: int, temperature: float, seed: int, policy_hash: str) -> pl.DataFrame:
    """Draws one slate per user among the concepts scored for that user.

    The utility of a concept is its calibrated log-odds / temperature. Each user has a stream of their own, named by
    the policy and the user, so a slate depends on nobody else; with temperature 0 the order is by score, then by
    concept_id, and every propensity is 1. With fewer candidates than `size` the slate is shorter.

    Args:
        scores: user_id, concept_id (distinct per user), score, click_chance in [0, 1] (slot 0).
        size: positions, >= 1.
        temperature: >= 0, in log-odds.
        seed: equal seeds draw equal slates; give a new one per day, or every day repeats the same luck.
        policy_hash: see `policy_hash`.

    Returns:
        A Slates table sorted by user_id, position.
    """
    ordered = scores.select("user_id", "concept_id", "score", "click_chance").sort("user_id", "concept_id")
    lengths = run_lengths(ordered, ["user_id"])
    users = ordered["user_id"].gather(np.cumsum(lengths) - lengths)
    utilities = utility(ordered, temperature)
    found = [_empty()]
    for block, first in blocks(lengths):
        inside = lengths[block]
        values = ragged(utilities[first : first + int(inside.sum())], inside)  # (block, C)
        noise = np.zeros_like(values)
        if temperature >= COLDEST:
            for index, user in enumerate(users[block]):
                noise[index, : inside[index]] = gumbel(seed, policy_hash, user, size=int(inside[index]))
        chosen, propensity = draw(values, size, temperature, noise)
        row, position = np.nonzero(chosen >= 0)
        starts = np.cumsum(inside) - inside + first
        found.append(
            ordered[starts[row] + chosen[row, position]].select(
                "user_id",
                pl.Series("position", position, dtype=pl.Int32),
                "concept_id",
                "score",
                pl.Series("propensity", propensity[row, position]),
                pl.lit(policy_hash).alias("policy_hash"),
            )
        )
    return pl.concat(found)


def general_slate(
    concepts: pl.DataFrame, popularity: pl.DataFrame, *, size: int, temperature: float, seed: int, policy_hash: str
) -> pl.DataFrame:
    """The slate for EVERYONE: people who are unknown or did not consent. Popularity instead of a person.

    Args:
        concepts: those that may be shown, sensitive ones included (`eligible(..., personal=False)`).
        popularity: concept_id, click_rate in (0, 1); the score is its log-odds.
        size, temperature, seed, policy_hash: as in `sample_slates`.

    Returns:
        A Slates table of at most `size` rows, user_id EVERYONE.
    """
    rated = concepts.select("concept_id").join(popularity.select("concept_id", "click_rate"), on="concept_id")
    scores = rated.select(
        pl.lit(EVERYONE).alias("user_id"),
        "concept_id",
        pl.Series("score", _logit(floats(rated, "click_rate"))),
        pl.col("click_rate").alias("click_chance"),
    )
    return sample_slates(scores, size=size, temperature=temperature, seed=seed, policy_hash=policy_hash)


def utility(scores: pl.DataFrame, temperature: float) -> Floats:
    """What a draw compares, (rows,): calibrated log-odds; at temperature 0 the score, so that no tie is made up."""
    return floats(scores, "score") if temperature < COLDEST else _logit(floats(scores, "click_chance"))


def ragged(values: Floats, lengths: Ints) -> Floats:
    """Runs of values as rows of a matrix, (runs, longest), filled up with -inf."""
    matrix = np.full((len(lengths), int(lengths.max(initial=0))), -np.inf)
    matrix[np.arange(matrix.shape[1]) < lengths[:, None]] = values
    return matrix


def blocks(lengths: Ints) -> Iterator[tuple[slice, int]]:
    """Slices of runs, and the first row of each: bounded memory, whatever the number of users."""
    starts = np.cumsum(lengths) - lengths
    for start in range(0, len(lengths), _BLOCK):
        yield slice(start, min(start + _BLOCK, len(lengths))), int(starts[start])


def _logit(chance: Floats) -> Floats:
    """Log-odds, finite even where a chance has been rounded to 0 or 1."""
    safe = np.clip(chance, 1e-300, 1.0 - 1e-16)
    return np.asarray(np.log(safe) - np.log1p(-safe))


def _empty() -> pl.DataFrame:
    return pl.DataFrame(schema=polars_schema(Slates))
