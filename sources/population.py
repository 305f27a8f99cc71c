"""Turns a seed into the planted world's items and users: interests that drift, a browsing style, a visual taste."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import polars as pl

from contracts.seeds import stream
from sources.law import LAW_SEED, LOOKS, TOPICS, Floats

BLOCK = 2048
"""Users that share one random stream; fixed, so that the same seed gives the same bytes however the work is cut."""

ITEMS = 600
TASTE_FOLLOWS_STYLE = 0.8
DAY = 86_400_000_000  # microseconds

_SPARSITY = 3.0  # sum of the Dirichlet's parameters: the smaller, the fewer topics a user has
_SWITCH_SHARE = 0.4  # users whose interests change for good; the others' drift slowly
_DRIFT = 0.15
_LOCALES, _LOCALE_SHARES = ("en-GB", "en-US", "de-DE", "fr-FR", "es-ES"), (0.34, 0.3, 0.14, 0.12, 0.1)


@dataclass(frozen=True)
class Items:
    """What can be browsed, the same in every planted world.

    Attributes:
        ids: 600 names. topics: one or two topics each.
        topic_index, entry: every (topic, item) pair, sorted by topic, shape (M,) each.
        style: (600, 5) what kind of thing it is, beyond its topics.
        popularity: (600,) relative, mean 1, long-tailed.
    """

    ids: tuple[str, ...]
    topics: tuple[tuple[str, ...], ...]
    topic_index: npt.NDArray[np.int64]
    entry: npt.NDArray[np.int64]
    style: Floats
    popularity: Floats


@dataclass(frozen=True)
class Users:
    """Who lives in a planted world, N users.

    Attributes:
        ids: N names.
        style: (N, 5) leaning in browsing, standard normal. tau: (N, 5) visual taste, standard normal,
            0.8 * style + 0.6 * noise.
        mix_before, mix_after: (N, 12) topic mixes, rows sum to 1.
        switch_at: (N,) microseconds from the start at which interests begin to change.
        ramp: (N,) microseconds the change takes.
        personalise: (N,) consent. locale: N tags. adult: (N,) 1 yes, 0 no, -1 not known.
    """

    ids: tuple[str, ...]
    style: Floats
    tau: Floats
    mix_before: Floats
    mix_after: Floats
    switch_at: npt.NDArray[np.int64]
    ramp: npt.NDArray[np.int64]
    personalise: npt.NDArray[np.bool_]
    locale: npt.NDArray[np.str_]
    adult: npt.NDArray[np.int8]

    def mix_at(self, rows: npt.NDArray[np.int64], at: npt.NDArray[np.int64]) -> Floats:
        """Topic mixes (E, 12) of users `rows` (E,) at `at` (E,) microseconds from the start."""
        return blend_mixes(self.mix_before[rows], self.mix_after[rows], self.switch_at[rows], self.ramp[rows], at)


def blend_mixes(
    before: Floats, after: Floats, switch_at: npt.NDArray[np.int64], ramp: npt.NDArray[np.int64],
    at: npt.NDArray[np.int64],
) -> Floats:  # fmt: skip
    """(1 - w) * before + w * after, w rising in a line from 0 at `switch_at` to 1 at `switch_at + ramp`; (E, 12)."""
    share = np.clip((at - switch_at) / ramp, 0.0, 1.0)[:, None]
    blended: Floats = before + share * (after - before)
    return blended


@lru_cache(maxsize=1)
def planted_items() -> Items:
    """The 600 items of every planted world."""
    rng = stream(LAW_SEED, "items")
    first = rng.permutation(np.arange(ITEMS) % len(TOPICS))
    step = rng.integers(1, len(TOPICS), ITEMS)
    second = np.where(rng.random(ITEMS) < 0.35, (first + step) % len(TOPICS), -1)
    pairs = sorted((int(topic), item) for item in range(ITEMS) for topic in (first[item], second[item]) if topic >= 0)
    popularity = rng.lognormal(0.0, 0.7, ITEMS)
    return Items(
        ids=tuple(f"i{index:03d}" for index in range(ITEMS)),
        topics=tuple(
            tuple(TOPICS[topic] for topic in (first[item], second[item]) if topic >= 0) for item in range(ITEMS)
        ),
        topic_index=np.array([topic for topic, _ in pairs], dtype=np.int64),
        entry=np.array([item for _, item in pairs], dtype=np.int64),
        style=rng.standard_normal((ITEMS, len(LOOKS))),
        popularity=popularity / popularity.mean(),
    )


def blocks_of(users: int) -> list[range]:
    """The rows of each block of users."""
    return [range(start, min(start + BLOCK, users)) for start in range(0, users, BLOCK)]


def user_names(users: Users, rows: npt.NDArray[np.int64]) -> pl.Series:
    """Names (E,) of the users in `rows` (E,), which stand in rising order."""
    first = int(rows[0])
    return pl.Series(users.ids[first : int(rows[-1]) + 1]).gather(pl.Series(rows - first))


def draw_users(users: int, days: int, seed: int) -> Users:
    """`users` people whose interests drift over `days` days."""
    parts = [_draw_block(len(rows), days, stream(seed, "users", index)) for index, rows in enumerate(blocks_of(users))]
    joined = [np.concatenate(columns) for columns in zip(*parts, strict=True)]
    style, tau, before, after, switch_at, ramp, personalise, locale, adult = joined
    return Users(
        ids=tuple(f"u{index:06d}" for index in range(users)),
        style=style, tau=tau, mix_before=before, mix_after=after, switch_at=switch_at, ramp=ramp,
        personalise=personalise, locale=locale, adult=adult,
    )  # fmt: skip


def _draw_block(count: int, days: int, rng: np.random.Generator) -> tuple[npt.NDArray[np.generic], ...]:
    style = rng.standard_normal((count, len(LOOKS)))
    noise = rng.standard_normal((count, len(LOOKS)))
    tau = TASTE_FOLLOWS_STYLE * style + np.sqrt(1 - TASTE_FOLLOWS_STYLE**2) * noise
    appeal = stream(LAW_SEED, "topics").dirichlet(np.full(len(TOPICS), 12.0))
    before, other = rng.dirichlet(_SPARSITY * appeal, count), rng.dirichlet(_SPARSITY * appeal, count)
    switches = rng.random(count) < _SWITCH_SHARE
    after = np.where(switches[:, None], other, (1 - _DRIFT) * before + _DRIFT * other)
    switch_at = np.where(switches, rng.uniform(0.2, 0.8, count) * days, 0.0) * DAY
    ramp = np.where(switches, 1.0, float(days)) * DAY
    personalise = rng.random(count) >= 0.03
    locale = rng.choice(np.array(_LOCALES), count, p=_LOCALE_SHARES)
    adult = rng.choice(np.array([1, 0, -1], dtype=np.int8), count, p=[0.9, 0.01, 0.09])
    return style, tau, before, after, switch_at.astype(np.int64), ramp.astype(np.int64), personalise, locale, adult
