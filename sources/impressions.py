"""Turns users, concepts and creatives into logged ad impressions, each with propensity and true click chance."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from contracts.seeds import stream
from sources.browsing import Browsing
from sources.campaigns import Concepts
from sources.creatives import Creatives
from sources.law import ClickLaw, Floats
from sources.logging_policy import LoggingPolicy, draw_slates
from sources.population import DAY, Users, blocks_of, user_names

_QUIET_SHARE = 0.15  # no ads in the first days: browsing comes first


@dataclass(frozen=True)
class Shown:
    """The impressions of one block of users, in order of user, time and slot; I impressions.

    Attributes:
        user, at, slot, concept, creative: (I,) rows of the user, microseconds from the start, place, rows of the
            concept and of the creative.
        propensity, chance: (I,) of the choice given the earlier slots; true click chance.
        clicked: (I,).
    """

    user: npt.NDArray[np.int64]
    at: npt.NDArray[np.int64]
    slot: npt.NDArray[np.int64]
    concept: npt.NDArray[np.int64]
    creative: npt.NDArray[np.int64]
    propensity: Floats
    chance: Floats
    clicked: npt.NDArray[np.bool_]


def show(
    users: Users, browsing: Browsing, concepts: Concepts, creatives: Creatives, law: ClickLaw, policy: LoggingPolicy,
    days: int, slate_size: int, slates: int, seed: int, block: int,
) -> Shown:  # fmt: skip
    """Slates of one block of users, `slates` each on average, drawn by `policy` and clicked by `law`."""
    rng = stream(seed, "slates", block)
    rows = blocks_of(len(users.ids))[block]
    user, at = _moments(browsing, rows, days, slates, rng)
    active = concepts.active(at, days)
    weights = policy.weights(users.mix_before[user], concepts.topic_vectors, active)
    chosen, propensity = draw_slates(weights, slate_size, rng)
    match = np.take_along_axis(users.mix_at(user, at) @ concepts.topic_vectors.T, chosen, axis=1).ravel()
    user, at = np.repeat(user, slate_size), np.repeat(at, slate_size)
    slot = np.tile(np.arange(slate_size), len(chosen))
    concept = chosen.ravel()
    creative = concept * creatives.per_concept + rng.integers(0, creatives.per_concept, len(concept))
    chance = law.click_chance(users.tau[user], creatives.looks[creative], match, slot, creatives.standouts[creative])
    clicked = rng.random(len(chance)) < chance
    return Shown(user, at, slot, concept, creative, propensity.ravel(), chance, clicked)


def _moments(
    browsing: Browsing, rows: range, days: int, slates: int, rng: np.random.Generator
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """User and moment of each slate, sorted: after the first days, and after the user's second event."""
    counts = 1 + rng.poisson(slates - 1, len(rows))
    first = np.searchsorted(browsing.user, np.arange(rows.start, rows.stop))
    earliest = np.maximum(browsing.at[first + 1] + 1, int(_QUIET_SHARE * days * DAY))
    user = np.repeat(np.arange(rows.start, rows.stop), counts)
    low = earliest[user - rows.start]
    at = low + (rng.random(len(user)) * (days * DAY - low)).astype(np.int64)
    order = np.lexsort((at, user))
    user, at = user[order], at[order]
    fresh = np.r_[True, (user[1:] != user[:-1]) | (at[1:] != at[:-1])]  # one slate at a time
    return user[fresh], at[fresh]


def impressions_table(
    shown: Shown, users: Users, concepts: Concepts, creatives: Creatives, policy: LoggingPolicy, start: int, first: int
) -> pl.DataFrame:
    """Rows of the impressions table; `start` in microseconds since 1970, `first` the number of the first impression."""
    return pl.DataFrame(
        {
            "impression_id": impression_ids(first, len(shown.user)),
            "user_id": user_names(users, shown.user),
            "at": pl.Series(shown.at + start).cast(pl.Datetime("us", "UTC")),
            "slot": pl.Series(shown.slot, dtype=pl.Int32),
            "concept_id": pl.Series(concepts.ids).gather(pl.Series(shown.concept)),
            "creative_id": pl.Series(creatives.ids).gather(pl.Series(shown.creative)),
            "clicked": shown.clicked,
            "propensity": shown.propensity,
            "policy": pl.Series([policy.name]).gather(pl.zeros(len(shown.user), pl.UInt32, eager=True)),
        }
    )


def impression_ids(first: int, count: int) -> pl.Series:
    """Names of impressions `first` to `first + count - 1`."""
    numbers = pl.int_range(first, first + count, eager=True).cast(pl.String).str.zfill(9)
    return ("m" + numbers).alias("impression_id")
