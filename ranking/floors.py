"""Turns the least share of positions that advertisers are promised into the boosts that keep the promise."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import polars as pl

from contracts.errors import SettingsError
from contracts.seeds import stream
from ranking.eligibility import check_advertisers
from ranking.frames import run_lengths
from ranking.kinship import Kinship
from ranking.policy import Policy
from ranking.slates import arranged, blocks

MAX_USERS = 4000
"""Boosts are found on at most so many users, evenly spaced in order of user_id."""

_WHERE = "ranking.advertiser_floors"
_MARGIN = 1.002  # aim a little higher, so that what is measured on other draws is not below
_HIGHEST = 60.0  # log-odds; a floor that needs more cannot be kept
_STEPS = 80


def boosted(policy: Policy, scores: pl.DataFrame, concepts: pl.DataFrame, *, seed: int) -> Policy:
    """The policy with the least boosts under which every advertiser with a floor has its share of all positions.

    A boost is a constant that is added to the log-odds of all concepts of an advertiser, for every user: a Lagrange
    multiplier of "exposure in expectation is at least the floor" (Singh and Joachims 2018). It is part of the
    policy: chances, replay and hash follow it exactly. All boosts are found together by the signs of what is lacking,
    a boost's step growing while the sign stays and halving when it turns (Rprop; Riedmiller and Braun 1993), which
    copes with shares that jump.

    Args:
        policy: without boosts.
        scores: user_id, concept_id, score, click_chance: the candidates of the day.
        concepts: concept_id, advertiser, topics.
        seed: of the run.

    Raises:
        SettingsError: an advertiser is not known, the floors sum to more than 1, or one cannot be kept with these
            candidates, slots and exploration; says how far it got.
    """
    floors = {name: share for name, share in policy.settings.advertiser_floors.items() if share > 0}
    if not floors:
        return policy
    _check(floors, concepts)
    some, names = _sample(scores), sorted(floors)
    least = np.array([floors[name] for name in names])
    boosts, kept = np.zeros(len(names)), None
    step, rising = np.full(len(names), max(policy.settings.temperature, 0.1)), np.ones(len(names), dtype=np.bool_)
    for _ in range(_STEPS):
        found = replace(policy, boosts={name: float(boost) for name, boost in zip(names, boosts, strict=True)})
        known = exposure(some, concepts, policy=found, seed=seed)
        shares = np.array([known[name] for name in names])
        if (shares >= least).all():
            kept = found if kept is None or boosts.sum() < sum(kept.boosts.values()) else kept
            if ((boosts == 0.0) | (shares < least * _MARGIN**2)).all():
                return found
        short = shares < least * _MARGIN
        step = np.where(short == rising, step * 1.3, step * 0.5)
        rising = short
        boosts = np.clip(np.round(boosts + np.where(short, step, -step), 9), 0.0, _HIGHEST)
    if kept is None:
        gaps = [f"{name} reaches {share:.4f} of {floors[name]:.4f}" for name, share in zip(names, shares, strict=True)]
        raise SettingsError(
            f"cannot be kept: {', '.join(gap for gap, low in zip(gaps, shares < least, strict=True) if low)}",
            where=_WHERE,
            fix="Lower the floor, or give the advertiser more concepts, candidates or slots.",
        )
    return kept


def exposure(scores: pl.DataFrame, concepts: pl.DataFrame, *, policy: Policy, seed: int) -> dict[str, float]:
    """Expected share of all filled positions that each advertiser has.

    One slate is drawn per user; at each position the chances of all candidates are added up, not the one drawn
    (Rao-Blackwell), so the noise is that of the earlier choices only. Equal seeds draw with equal uniforms.
    """
    ordered = arranged(scores, ["user_id"], policy)
    lengths = run_lengths(ordered, ["user_id"])
    kinship = Kinship.of(concepts, policy)
    size = policy.settings.slate_size
    uniforms = stream(seed, "slates", "floors").random((len(lengths), size))
    shares = np.zeros(len(concepts) + 1)
    for block in blocks(ordered, lengths, kinship):
        filling, codes = block.filling(kinship, policy), block.concepts.ravel() % len(shares)
        for position in range(size):
            shares += np.bincount(codes, weights=filling.chances().ravel(), minlength=len(shares))
            filling.choose(uniforms[block.slates, position])
    named = pl.DataFrame({"advertiser": concepts["advertiser"], "share": shares[:-1] / max(shares.sum(), 1e-300)})
    return dict(named.group_by("advertiser").agg(pl.col("share").sum()).sort("advertiser").iter_rows())


def _sample(scores: pl.DataFrame) -> pl.DataFrame:
    users = scores["user_id"].unique().sort()
    if len(users) <= MAX_USERS:
        return scores
    kept = users.gather(np.linspace(0, len(users) - 1, MAX_USERS).astype(np.int64))
    return scores.join(pl.DataFrame({"user_id": kept}), on="user_id", how="semi")


def _check(floors: Mapping[str, float], concepts: pl.DataFrame) -> None:
    check_advertisers(floors, concepts, where=_WHERE)
    if sum(floors.values()) > 1.0:
        raise SettingsError(
            f"the floors sum to {sum(floors.values()):.4f} of all positions",
            where=_WHERE,
            fix="Let them sum to 1 at most.",
        )
