"""Turns scores into slates: a sequential draw per user, with the propensity of every choice written down."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from contracts.seeds import stream
from contracts.tables import EVERYONE, Slates, polars_schema
from ranking.frames import Floats, Ints, floats, run_lengths
from ranking.kinship import Kinship
from ranking.plackett_luce import COLDEST, Filling, draw
from ranking.policy import Policy

_BLOCK_CELLS = 2_000_000  # candidates of the slates filled at a time, which fit into memory whatever their number


@dataclass(frozen=True, eq=False)
class Block:
    """Some slates and their candidates, as rows of matrices.

    Attributes:
        slates: places of the slates.
        rows: places of their candidates in the arranged scores.
        lengths: (N,) candidates of each slate.
        log_odds: (N, C) calibrated, -inf where there is no candidate.
        concepts: (N, C) codes in the kinship, -1 where there is no candidate.
    """

    slates: slice
    rows: slice
    lengths: Ints
    log_odds: Floats
    concepts: Ints

    def filling(self, kinship: Kinship, policy: Policy) -> Filling:
        """The slates, still empty."""
        return Filling(self.log_odds, self.concepts, kinship, policy)


def arranged(scores: pl.DataFrame, keys: Sequence[str], policy: Policy) -> pl.DataFrame:
    """Candidates in the order in which a draw looks at them: by slate (`keys`), then by concept_id.

    At temperature 0 by score first, best first, so that it decides between equal chances.
    """
    if policy.settings.temperature < COLDEST:
        return scores.sort(*keys, "score", "concept_id", descending=[False] * len(keys) + [True, False])
    return scores.sort(*keys, "concept_id")


def blocks(scores: pl.DataFrame, lengths: Ints, kinship: Kinship) -> Iterator[Block]:
    """Arranged scores as matrices, some slates at a time.

    Args:
        scores: concept_id, click_chance; sorted by slate.
        lengths: candidates of each slate, summing to the rows; 0 where it has none.
        kinship: of the concepts.
    """
    log_odds, codes = logit(floats(scores, "click_chance")), kinship.codes(scores["concept_id"])
    ends = np.cumsum(lengths)
    low = 0
    while low < len(lengths):
        longest = np.maximum.accumulate(lengths[low:])
        fits = longest * np.arange(1, len(longest) + 1) <= _BLOCK_CELLS
        high = low + max(1, int(fits.sum()))
        rows = slice(int(ends[low - 1]) if low else 0, int(ends[high - 1]))
        inside = lengths[low:high]
        there = np.arange(int(inside.max(initial=0))) < inside[:, None]
        odds, concepts = np.full(there.shape, -np.inf), np.full(there.shape, -1, dtype=np.int64)
        odds[there], concepts[there] = log_odds[rows], codes[rows]
        yield Block(slice(low, high), rows, inside, odds, concepts)
        low = high


def sample_slates(scores: pl.DataFrame, concepts: pl.DataFrame, *, policy: Policy, seed: int) -> pl.DataFrame:
    """Draws one slate per user among the concepts scored for that user.

    Each user has a stream of their own, named by the policy and the user, so a slate depends on nobody else. With fewer
    candidates than positions, or none that its advertiser's slots allow, the slate is shorter.

    Args:
        scores: user_id, concept_id (distinct per user), score, click_chance in [0, 1] (slot 0).
        concepts: concept_id, advertiser, topics.
        policy: what decides the chances, see `ranking.plackett_luce.Filling`.
        seed: equal seeds draw equal slates; give a new one per day, or every day repeats the same luck.

    Returns:
        A Slates table sorted by user_id, position.
    """
    ordered = arranged(scores.select("user_id", "concept_id", "score", "click_chance"), ["user_id"], policy)
    lengths = run_lengths(ordered, ["user_id"])
    users = ordered["user_id"].gather(np.cumsum(lengths) - lengths)
    kinship = Kinship.of(concepts, policy)
    found = [pl.DataFrame(schema=polars_schema(Slates))]
    size = policy.settings.slate_size
    for block in blocks(ordered, lengths, kinship):
        uniforms = np.array([stream(seed, "slates", policy.hash, user).random(size) for user in users[block.slates]])
        chosen, propensity = draw(block.filling(kinship, policy), uniforms)
        row, position = np.nonzero(chosen >= 0)
        starts = np.cumsum(block.lengths) - block.lengths + block.rows.start
        found.append(
            ordered[starts[row] + chosen[row, position]].select(
                "user_id",
                pl.Series("position", position, dtype=pl.Int32),
                "concept_id",
                "score",
                pl.Series("propensity", propensity[row, position]),
                pl.lit(policy.hash).alias("policy_hash"),
            )
        )
    return pl.concat(found)


def general_slate(concepts: pl.DataFrame, popularity: pl.DataFrame, *, policy: Policy, seed: int) -> pl.DataFrame:
    """The slate for EVERYONE: people who are unknown or did not consent. Popularity instead of a person.

    Args:
        concepts: those that may be shown, sensitive ones included (`eligible(..., personal=False)`).
        popularity: concept_id, click_rate in (0, 1); the score is its log-odds.
        policy, seed: as in `sample_slates`.

    Returns:
        A Slates table of at most `slate_size` rows, user_id EVERYONE.
    """
    rated = concepts.select("concept_id").join(popularity.select("concept_id", "click_rate"), on="concept_id")
    scores = rated.select(
        pl.lit(EVERYONE).alias("user_id"),
        "concept_id",
        pl.Series("score", logit(floats(rated, "click_rate"))),
        pl.col("click_rate").alias("click_chance"),
    )
    return sample_slates(scores, concepts, policy=policy, seed=seed)


def logit(chance: Floats) -> Floats:
    """Log-odds, finite even where a chance has been rounded to 0 or 1."""
    safe = np.clip(chance, 1e-300, 1.0 - 1e-16)
    return np.asarray(np.log(safe) - np.log1p(-safe))
