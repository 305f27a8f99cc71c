"""Turns utilities into draws without replacement and their exact chances: Plackett-Luce on masked matrices.

N slates, C candidates, K positions. A candidate that is not there has utility -inf; a choice that is not
among the candidates is -1.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from contracts.seeds import stream
from ranking.frames import Floats, Ints

COLDEST = 1e-6
"""A temperature below this counts as 0."""


def tempered(log_odds: Floats, temperature: float) -> Floats:
    """Plackett-Luce utilities, log_odds / temperature; at temperature 0 the log-odds themselves."""
    return log_odds if temperature < COLDEST else log_odds / temperature


def draw(log_odds: Floats, size: int, temperature: float, noise: Floats) -> tuple[Ints, Floats]:
    """Draws min(size, C) positions a slate by Gumbel top-k (Kool et al. 2019) with the chance of each choice.

    Args:
        log_odds: (N, C).
        size: positions, >= 1.
        temperature: in log-odds; 0 takes the highest first, ties in the order of the columns.
        noise: (N, C) standard Gumbel draws; not read at temperature 0.

    Returns:
        chosen (N, K), -1 where a slate has run out of candidates, and propensity (N, K), 0 there.
    """
    utilities = tempered(log_odds, temperature)
    keys = utilities if temperature < COLDEST else utilities + noise
    chosen = np.argsort(-keys, axis=1, kind="stable")[:, :size].astype(np.int64)
    chosen[np.isneginf(np.take_along_axis(log_odds, chosen, axis=1))] = -1
    return chosen, sequential_propensity(log_odds, chosen, temperature)


def gumbel(seed: int, *names: str, size: int) -> Floats:
    """(size,) standard Gumbel draws of the stream called `names`."""
    return stream(seed, "slates", *names).gumbel(size=size)


def sequential_propensity(log_odds: Floats, chosen: Ints, temperature: float) -> Floats:
    """Chance of each choice given the earlier ones: exp(u_c) / sum of exp(u) over the candidates left.

    Args:
        log_odds: (N, C), -inf where there is no candidate.
        chosen: (N, K) columns; -1 (not a candidate) and a column chosen before have chance 0.
        temperature: in log-odds; at 0 the chance is 1 for the highest one left (ties: the first column), else 0.

    Returns:
        (N, K) in [0, 1].
    """
    propensity = np.zeros(chosen.shape, dtype=np.float64)
    for position, chances in enumerate(choice_chances(log_odds, chosen, temperature)):
        column = chosen[:, position]
        known = np.flatnonzero(column >= 0)
        propensity[known, position] = chances[known, column[known]]
    return propensity


def choice_chances(log_odds: Floats, chosen: Ints, temperature: float) -> Iterator[Floats]:
    """Position by position, the chance of every candidate given the choices before it, (N, C); 0 where none is left."""
    left = tempered(log_odds, temperature).copy()
    rows = np.arange(len(left))
    for position in range(chosen.shape[1]):
        yield _softmax(left) if temperature >= COLDEST else _highest(left)
        column = chosen[:, position]
        known = column >= 0
        left[rows[known], column[known]] = -np.inf


def _softmax(utilities: Floats) -> Floats:
    """Row by row, shifted by the greatest one, so that nothing overflows."""
    if not utilities.shape[1]:
        return np.zeros_like(utilities)
    greatest = utilities.max(axis=1, keepdims=True)
    weights = np.exp(utilities - np.where(np.isneginf(greatest), 0.0, greatest))
    total = weights.sum(axis=1, keepdims=True)
    return np.asarray(weights / np.where(total > 0, total, 1.0))


def _highest(utilities: Floats) -> Floats:
    chances = np.zeros_like(utilities)
    if utilities.shape[1]:
        best = utilities.argmax(axis=1)
        rows = np.flatnonzero(~np.isneginf(utilities[np.arange(len(utilities)), best]))
        chances[rows, best[rows]] = 1.0
    return chances
