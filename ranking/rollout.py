"""Turns a policy and click chances into the expected clicks of the slates it would show, position by position."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl

from ranking.frames import Floats, run_lengths
from ranking.kinship import Kinship
from ranking.policy import Policy
from ranking.slates import blocks


def rolled_out(
    rows: pl.DataFrame,
    concepts: pl.DataFrame,
    chances: Sequence[Floats],
    *,
    policy: Policy,
    draws: int,
    rng: np.random.Generator,
) -> Floats:
    """(S, K) expected clicks of each slate at each position, slates in the order of `rows`.

    The earlier choices are drawn `draws` times a slate; at each position the exact chances of all candidates given them
    are multiplied with their click chances: unbiased, and calmer than clicks of whole draws.

    Args:
        rows: user_id, at, concept_id, click_chance of every candidate, in the order of `ranking.slates.arranged`.
        concepts: concept_id, advertiser, topics.
        chances: K times (rows,) click chances at positions 0 to K - 1.
        policy: what decides the chances of choice.
        draws: of the earlier choices.
        rng: where they come from; each slate takes as many numbers, one after the other.
    """
    lengths = run_lengths(rows, ["user_id", "at"])
    kinship = Kinship.of(concepts, policy)
    found = np.zeros((len(lengths), len(chances)))
    for block in blocks(rows, lengths, kinship):
        there = np.isfinite(block.log_odds)
        click = np.zeros(there.shape)
        uniforms = rng.random((len(block.lengths), draws, len(chances)))
        for drawn in range(draws):
            filling = block.filling(kinship, policy)
            for position, chance in enumerate(chances):
                click[there] = chance[block.rows]
                found[block.slates, position] += (filling.chances() * click).sum(axis=1)
                filling.choose(uniforms[:, drawn, position])
    return found / draws
