"""Turns what advertisers are promised, what they are limited to and what their budgets leave into boosts that keep to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import polars as pl

from contracts.errors import SettingsError
from contracts.seeds import stream
from ranking.eligibility import check_advertisers
from ranking.frames import Floats, run_lengths
from ranking.kinship import Kinship
from ranking.policy import Policy
from ranking.slates import arranged, blocks

MAX_USERS = 4000
"""Boosts are found on at most so many users, evenly spaced in order of user_id."""

Bools = npt.NDArray[np.bool_]

_FLOORS, _CAPS = "ranking.advertiser_floors", "ranking.advertiser_caps"
_MARGIN = 1.002  # aim a little inside, so that what is measured on other draws is not outside
_HIGHEST = 60.0  # log-odds; what needs more cannot be kept
_STEPS = 80


@dataclass(frozen=True)
class Bounds:
    """Shares of all positions that advertisers are to have.

    Attributes:
        names: of the advertisers with a bound.
        least, most: (A,) shares, 0 and infinity where there is none.
        by_budget: (A,) whether `most` is what a budget leaves.
    """

    names: tuple[str, ...]
    least: Floats
    most: Floats
    by_budget: Bools


def boosted(
    policy: Policy,
    scores: pl.DataFrame | pl.LazyFrame,
    concepts: pl.DataFrame,
    *,
    seed: int,
    left: Mapping[str, int] | None = None,
) -> Policy:
    """The policy with the smallest boosts under which every advertiser's share of all positions is as it should be.

    A boost is a constant that is added to the log-odds of all concepts of an advertiser, for every user: a Lagrange
    multiplier of "exposure in expectation is at least the floor" (Singh and Joachims 2018), or, below 0, of "at most the
    cap" and "at most what the budget leaves". It is part of the policy: chances, replay and hash follow it exactly. All
    boosts are found together by the signs of what is wrong, a boost's step growing while the sign stays and halving when
    it turns (Rprop; Riedmiller and Braun 1993), which copes with shares that jump.

    A budget is for the slates of this batch, each shown once. What the batch is expected to show stays below what is left by
    two standard deviations of what chance adds, in the draw and in the sample that boosts are found on, so that a draw is within
    the budget too but for a few in a hundred. Where exploration, or a want of other candidates, alone would show more, the
    advertiser rests: none of its concepts is a candidate in this batch. A floor is promised while the budget lasts.

    Args:
        policy: without boosts.
        scores: user_id, concept_id, score, click_chance: the candidates of the day; of a scan a sample is read.
        concepts: concept_id, advertiser, topics.
        seed: of the run.
        left: impressions that advertisers with a budget may still have.

    Raises:
        SettingsError: an advertiser is not known, the floors sum to more than 1, a floor is above the cap, or a share
            cannot be kept with these candidates, slots and exploration; says how far it got.
    """
    _check(policy, concepts)
    settings, left = policy.settings, left or {}
    if not {*settings.advertiser_floors, *settings.advertiser_caps, *left}:
        return policy
    some, users = _sample(scores.lazy())
    scale = users / max(some["user_id"].n_unique(), 1)
    while True:
        _, positions = exposed(some, concepts, policy=policy, seed=seed)
        aims = {name: max(0.0, count - 2 * np.sqrt(count * (1 + scale))) for name, count in left.items()}
        bounds = _bounds(policy, aims, positions * scale)
        found, shares, stuck = _solve(policy, bounds, some, concepts, seed)
        if found is not None:
            return found
        if not stuck.any():
            raise _refusal(bounds, shares)
        policy = replace(policy, resting=tuple(sorted({*policy.resting, *np.array(bounds.names)[stuck].tolist()})))


def exposed(
    scores: pl.DataFrame, concepts: pl.DataFrame, *, policy: Policy, seed: int
) -> tuple[dict[str, float], float]:
    """Expected positions that each advertiser has, and all that are filled, when each user is shown one slate.

    One slate is drawn per user; at each position the chances of all candidates are added up, not the one drawn
    (Rao-Blackwell), so the noise is that of the earlier choices only. Equal seeds draw with equal uniforms.
    """
    ordered = arranged(scores, ["user_id"], policy)
    lengths = run_lengths(ordered, ["user_id"])
    kinship = Kinship.of(concepts, policy)
    size = policy.settings.slate_size
    uniforms = stream(seed, "slates", "floors").random((len(lengths), size))
    counts = np.zeros(len(concepts) + 1)
    for block in blocks(ordered, lengths, kinship):
        filling, codes = block.filling(kinship, policy), block.concepts.ravel() % len(counts)
        for position in range(size):
            counts += np.bincount(codes, weights=filling.chances().ravel(), minlength=len(counts))
            filling.choose(uniforms[block.slates, position])
    named = pl.DataFrame({"advertiser": concepts["advertiser"], "positions": counts[:-1]})
    return dict(
        named.group_by("advertiser").agg(pl.col("positions").sum()).sort("advertiser").iter_rows()
    ), counts.sum()


def exposure(scores: pl.DataFrame, concepts: pl.DataFrame, *, policy: Policy, seed: int) -> dict[str, float]:
    """Expected share of all filled positions that each advertiser has, see `exposed`."""
    counts, positions = exposed(scores, concepts, policy=policy, seed=seed)
    return {name: count / max(positions, 1e-300) for name, count in counts.items()}


def _bounds(policy: Policy, left: Mapping[str, float], positions: float) -> Bounds:
    """Of all advertisers that have one and do not rest.

    Args:
        left: impressions by advertiser.
        positions: that the batch fills.
    """
    settings = policy.settings
    floors, caps = settings.advertiser_floors, settings.advertiser_caps
    names = tuple(sorted({name for name in {*floors, *caps, *left} if name not in policy.resting}))
    budget = np.array([left.get(name, np.inf) for name in names]) / max(positions, 1e-300)
    cap = np.array([caps.get(name, np.inf) for name in names])
    least = np.minimum(np.array([floors.get(name, 0.0) for name in names]), budget / _MARGIN**2)
    return Bounds(names, least, np.minimum(cap, budget), budget <= cap)


def _solve(
    policy: Policy, bounds: Bounds, scores: pl.DataFrame, concepts: pl.DataFrame, seed: int
) -> tuple[Policy | None, Floats, Bools]:
    """The policy with boosts, or None; the shares (A,) of the last try; and who is over budget whatever the boost (A,)."""
    names, least, most = bounds.names, bounds.least, bounds.most
    lowest, highest = np.where(np.isfinite(most), -_HIGHEST, 0.0), np.where(least > 0, _HIGHEST, 0.0)
    boosts, kept, smallest = np.zeros(len(names)), None, np.inf
    step, before = np.full(len(names), max(policy.settings.temperature, 0.1)), np.zeros(len(names))
    shares, stuck = np.zeros(len(names)), np.zeros(len(names), dtype=np.bool_)
    for _ in range(_STEPS):
        found = replace(policy, boosts={name: float(boost) for name, boost in zip(names, boosts, strict=True)})
        known = exposure(scores, concepts, policy=found, seed=seed)
        shares = np.array([known[name] for name in names])
        if ((shares >= least) & (shares <= most)).all():
            if np.abs(boosts).sum() < smallest:
                kept, smallest = found, float(np.abs(boosts).sum())
            needed = np.where(boosts > 0, shares < least * _MARGIN**2, shares > most / _MARGIN**2)
            if ((boosts == 0.0) | needed).all():
                return found, shares, stuck
        stuck = bounds.by_budget & (shares > most) & (boosts == lowest)
        if stuck.any():
            return None, shares, stuck
        short, over = shares < least * _MARGIN, shares > most / _MARGIN
        way = np.where(short, 1.0, np.where(over, -1.0, -np.sign(boosts)))
        step = np.where(before == 0, step, np.where(way == before, step * 1.3, step * 0.5))
        before = way
        moved = way * np.where(short | over, step, np.minimum(step, np.abs(boosts)))
        boosts = np.clip(np.round(boosts + moved, 9), lowest, highest)
    return kept, shares, stuck


def _refusal(bounds: Bounds, shares: Floats) -> SettingsError:
    rows = list(zip(bounds.names, shares, bounds.least, bounds.most, strict=True))
    low = [f"{name} reaches {share:.4f} of {least:.4f}" for name, share, least, _ in rows if share < least]
    high = [f"{name} still has {share:.4f}, more than {most:.4f}" for name, share, _, most in rows if share > most]
    return SettingsError(
        f"cannot be kept: {', '.join(low + high)}",
        where=" and ".join(([_FLOORS] if low else []) + ([_CAPS] if high else [])),
        fix="Lower the floor or raise the cap, or give more concepts, candidates or slots of whoever is short.",
    )


def _sample(scores: pl.LazyFrame) -> tuple[pl.DataFrame, int]:
    """The scores of some users, and how many users there are."""
    users = scores.select(pl.col("user_id").unique().sort()).collect(engine="streaming")
    if len(users) <= MAX_USERS:
        return scores.collect(), len(users)
    kept = users[np.linspace(0, len(users) - 1, MAX_USERS).astype(np.int64)]
    return scores.join(kept.lazy(), on="user_id", how="semi").collect(), len(users)


def _check(policy: Policy, concepts: pl.DataFrame) -> None:
    floors, caps = policy.settings.advertiser_floors, policy.settings.advertiser_caps
    check_advertisers([name for name, share in floors.items() if share > 0], concepts, where=_FLOORS)
    check_advertisers(caps, concepts, where=_CAPS)
    if sum(floors.values()) > 1.0:
        raise SettingsError(
            f"the floors sum to {sum(floors.values()):.4f} of all positions",
            where=_FLOORS,
            fix="Let them sum to 1 at most.",
        )
    above = [
        f"{name} {floors[name]:.4f} > {caps[name]:.4f}"
        for name in sorted({*floors} & {*caps})
        if floors[name] > caps[name]
    ]
    if above:
        raise SettingsError(
            f"floors above caps: {', '.join(above)}", where=_FLOORS, fix="Raise the cap or lower the floor."
        )
