"""Turns users' tastes and slates into cohorts of at least k people, and into what is most worth drawing for whom."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from contracts.seeds import stream
from generators.taste.taste import Taste

Floats = npt.NDArray[np.float32]
Indices = npt.NDArray[np.int64]


def group_users(points: Floats, *, most: int, least_users: int, seed: int, rounds: int = 50) -> Indices:
    """Cohort of every user by k-means (Lloyd 1982, seeded by k-means++), no cohort smaller than `least_users`.

    Too small cohorts are dissolved one at a time, the smallest first, into their members' nearest remaining centres.

    Args:
        points: (U, F), one row a user.
        most: cohorts at most.
        least_users: users a cohort has at least; fewer users than that in all make one cohort of everybody.
        seed: of the run.

    Returns:
        (U,) cohort of each user, numbered from 0 without gaps, larger cohorts first.
    """
    users = len(points)
    wanted = max(1, min(most, users // max(least_users, 1)))
    centres = _first_centres(points, wanted, stream(seed, "cohorts"))
    member = np.zeros(users, np.int64)
    for _ in range(rounds):
        moved = _distances(points, centres).argmin(axis=1)
        if np.array_equal(moved, member) and _ > 0:
            break
        member = moved
        centres = np.stack(
            [points[member == c].mean(axis=0) if (member == c).any() else centres[c] for c in range(len(centres))]
        )
    while len(centres) > 1:
        sizes = np.bincount(member, minlength=len(centres))
        if sizes.min() >= least_users:
            break
        centres = np.delete(centres, int(sizes.argmin()), axis=0)
        member = _distances(points, centres).argmin(axis=1)
    sizes = np.bincount(member, minlength=len(centres))
    rank = np.empty(len(centres), np.int64)
    rank[np.argsort(-sizes, kind="stable")] = np.arange(len(centres))
    return np.asarray(rank[member])


def _first_centres(points: Floats, wanted: int, rng: np.random.Generator) -> Floats:
    chosen = [int(rng.integers(len(points)))]
    nearest = ((points - points[chosen[0]]) ** 2).sum(axis=1)
    while len(chosen) < wanted and nearest.max() > 0:
        chosen.append(int(rng.choice(len(points), p=nearest / nearest.sum())))
        nearest = np.minimum(nearest, ((points - points[chosen[-1]]) ** 2).sum(axis=1))
    return points[chosen]


def _distances(points: Floats, centres: Floats) -> Floats:
    """(U, K) squared distances."""
    cross = points @ centres.T
    return np.asarray((points**2).sum(axis=1, keepdims=True) - 2 * cross + (centres**2).sum(axis=1), np.float32)


@dataclass(frozen=True, slots=True)
class Render:
    """One personal picture worth drawing: for which cohort, of which concept, and what it is expected to bring."""

    cohort: int
    concept: int
    users: int
    expected_extra_clicks: float


def rank_renders(
    cohort: Indices,
    leanings: Floats,
    taste: Taste | None,
    *,
    slate_user: Indices,
    slate_concept: Indices,
    click_chance: npt.NDArray[np.float64],
) -> list[Render]:
    """Every (cohort, concept) pair that is worth drawing, by expected extra clicks; a budget of N takes the first N.

    A pair's value is the sum, over the slate rows it would serve, of the first-order gain chance * (1 - chance) *
    (log-odds that the cohort's ideal look adds over the common one). The pairs do not interact, so the greedy choice
    is the best one. Without a taste model the gain is taken as 1 for everyone: pairs are chosen by reach alone.

    Args:
        cohort: (U,). leanings: (U, F), ignored without `taste`.
        slate_user, slate_concept, click_chance: (R,), one entry per slate row: user index, concept index, chance.

    Returns:
        Best first; ties by cohort, then concept.
    """
    gain = np.ones(len(cohort), np.float32)
    if taste is not None:
        for number in range(int(cohort.max()) + 1 if len(cohort) else 0):
            inside = cohort == number
            gain[inside] = taste.gain(leanings[inside], leanings[inside].mean(axis=0))
    value = click_chance * (1 - click_chance) * gain[slate_user]
    concepts = int(slate_concept.max(initial=-1)) + 1
    pair = cohort[slate_user] * concepts + slate_concept
    total, users = np.bincount(pair, weights=value), np.bincount(pair)
    worth = np.flatnonzero(total > 0)
    best = worth[np.lexsort((worth, -total[worth]))]
    return [Render(*divmod(int(one), concepts), int(users[one]), float(total[one])) for one in best]
