"""Turns logged impressions, replayed in order of time, into what was known of concepts, users and both together.

Click rates are smoothed by an empirical-Bayes prior, Beta(strength * mean, strength * (1 - mean)), fitted to the
impressions known at that very moment by the method of moments (Kleinman 1973, "Proportions with extraneous variance",
weights n): with n_g impressions and k_g clicks of group g (a concept, or a user), N and K their sums over G groups,

    mean = K / N,   S = sum of n_g * (k_g / n_g - mean)^2,
    1 / (strength + 1) = (S / (mean * (1 - mean)) - (G - 1)) / (N - sum of n_g^2 / N - (G - 1)),

strength kept within [1, 10000]. S = sum of k_g^2 / n_g - K^2 / N, so that one impression moves the fit on in O(1).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from contracts.compiled import compiled
from features.history import MICROS_PER_DAY, MICROS_PER_HOUR, Floats, Ints
from features.log import Concepts, Impressions, Pairs
from features.space import Vectors

RECENT_DAYS = 7
MIN_STRENGTH, MAX_STRENGTH = 1.0, 10_000.0
_NEVER = -(2**62)

# places in a tally
_SHOWN, _CLICKED, _RECENT, _LAST = range(4)


class Tallies(NamedTuple):
    """What has been counted of everybody's impressions; U users, C concepts.

    Attributes:
        users: (U, 2) impressions, clicks. concepts: (C, 2). recent: (C, 2) those of the last days.
        first: (C,) time of the first impression. slots: (C, 2) sum of slots, count.
        of_users, of_concepts: (5,) the sums of a prior: N, K, G, sum of n^2, sum of k^2 / n.
        places: (2,) the first impression not counted yet, and the first one of the last days.
    """

    users: Ints
    concepts: Ints
    recent: Ints
    first: Ints
    slots: Floats
    of_users: Floats
    of_concepts: Floats
    places: Ints


def blank_tallies(users: int, concepts: int) -> Tallies:
    """Nothing counted yet."""
    return Tallies(
        np.zeros((users, 2), np.int64),
        np.zeros((concepts, 2), np.int64),
        np.zeros((concepts, 2), np.int64),
        np.full(concepts, _NEVER),
        np.zeros((concepts, 2)),
        np.zeros(5),
        np.zeros(5),
        np.zeros(2, np.int64),
    )


@compiled
def replay_of_users(
    begin: Ints, impressions: Impressions, pairs: Pairs, concepts: Concepts, start: int, tally: Ints, out: Vectors
) -> None:
    """What each user was shown of each concept and advertiser; `impressions` sorted by user, then time.

    Args:
        begin: (U + 1,) where each user's impressions begin.
        start: first row of the features in `out`.
        tally: (C + advertisers, 4) room for counts.
        out: (F, N) float32, by the pairs' rows.
    """
    count = len(concepts.advertiser)
    tally[:] = 0
    tally[:, _LAST] = _NEVER
    for user in range(len(begin) - 1):
        head, tail, end = begin[user], begin[user], begin[user + 1]
        for pair in range(pairs.begin[user], pairs.begin[user + 1]):
            horizon, concept, row = pairs.horizon[pair], pairs.concept[pair], pairs.row[pair]
            while head < end and impressions.at[head] < horizon:
                _count(impressions.concept[head], impressions.clicked[head], impressions.at[head], concepts, tally)
                head += 1
            while tail < head and impressions.at[tail] < horizon - RECENT_DAYS * MICROS_PER_DAY:
                if impressions.concept[tail] >= 0:
                    tally[impressions.concept[tail], _RECENT] -= 1
                    tally[count + concepts.advertiser[impressions.concept[tail]], _RECENT] -= 1
                tail += 1
            if concept >= 0:
                _tell(tally[concept], pairs.at[pair], start, out, row)
                _tell(tally[count + concepts.advertiser[concept]], pairs.at[pair], start + 4, out, row)
        for place in range(begin[user], head):
            if impressions.concept[place] >= 0:
                for thing in (
                    impressions.concept[place],
                    count + concepts.advertiser[impressions.concept[place]],
                ):
                    tally[thing] = 0
                    tally[thing, _LAST] = _NEVER


@compiled
def _count(concept: int, clicked: int, at: int, concepts: Concepts, tally: Ints) -> None:
    if concept >= 0:
        for thing in (concept, len(concepts.advertiser) + concepts.advertiser[concept]):
            tally[thing, _SHOWN] += 1
            tally[thing, _CLICKED] += clicked
            tally[thing, _RECENT] += 1
            tally[thing, _LAST] = at


@compiled
def _tell(tally: Ints, at: int, start: int, out: Vectors, row: int) -> None:
    out[start, row] = tally[_SHOWN]
    out[start + 1, row] = tally[_CLICKED]
    out[start + 2, row] = tally[_RECENT]
    if tally[_LAST] != _NEVER:
        out[start + 3, row] = (at - tally[_LAST]) / MICROS_PER_HOUR


@compiled
def replay_of_all(
    impressions: Impressions, pairs: Pairs, order: Ints, tallies: Tallies, start: int, out: Vectors
) -> None:
    """Click rates of users and concepts, each smoothed by the prior known then; `impressions` sorted by time.

    Args:
        order: the pairs in order of their horizon.
        tallies: of no moment after the first pair's horizon.
        start: first row of the features in `out`.
        out: (F, N) float32, by the pairs' rows.
    """
    users, concepts, of_users, of_concepts = tallies.users, tallies.concepts, tallies.of_users, tallies.of_concepts
    head, prior_of_users, prior_of_concepts = -1, (np.nan, np.nan), (np.nan, np.nan)
    for pair in order:
        concept, row = pairs.concept[pair], pairs.row[pair]
        count_until(pairs.horizon[pair], impressions, tallies)
        if head != tallies.places[0]:
            head, prior_of_users, prior_of_concepts = tallies.places[0], _prior(of_users), _prior(of_concepts)
        _tell_rate(users[pairs.user[pair]], prior_of_users, start, out, row)
        if concept >= 0:
            _tell_rate(concepts[concept], prior_of_concepts, start + 2, out, row)
            _tell_trend(concepts[concept], tallies.recent[concept], prior_of_concepts, start + 4, out, row)
            if tallies.first[concept] != _NEVER:
                out[start + 5, row] = (pairs.at[pair] - tallies.first[concept]) / MICROS_PER_DAY
            if tallies.slots[concept, 1] > 0:
                out[start + 6, row] = tallies.slots[concept, 0] / tallies.slots[concept, 1]


@compiled
def count_until(horizon: int, impressions: Impressions, tallies: Tallies) -> None:
    """Moves the tallies on to a moment: the impressions before it are counted; they are sorted by time."""
    recent, slots = tallies.recent, tallies.slots
    head, tail = tallies.places
    while head < len(impressions.at) and impressions.at[head] < horizon:
        shown, clicked = impressions.concept[head], impressions.clicked[head]
        _move_prior(tallies.users[impressions.user[head]], clicked, tallies.of_users)
        if shown >= 0:
            _move_prior(tallies.concepts[shown], clicked, tallies.of_concepts)
            recent[shown, 0] += 1
            recent[shown, 1] += clicked
            if tallies.first[shown] == _NEVER:
                tallies.first[shown] = impressions.at[head]
            if not np.isnan(impressions.slot[head]):
                slots[shown, 0] += impressions.slot[head]
                slots[shown, 1] += 1.0
        head += 1
    while tail < head and impressions.at[tail] < horizon - RECENT_DAYS * MICROS_PER_DAY:
        if impressions.concept[tail] >= 0:
            recent[impressions.concept[tail], 0] -= 1
            recent[impressions.concept[tail], 1] -= impressions.clicked[tail]
        tail += 1
    tallies.places[0], tallies.places[1] = head, tail


@compiled
def _tell_trend(tally: Ints, recent: Ints, prior: tuple[float, float], place: int, out: Vectors, row: int) -> None:
    """ln of the recent click rate over that of all time."""
    if prior[0] > 0:
        strength, rate = prior[1], _smoothed(tally, prior)
        out[place, row] = np.log((recent[1] + strength * rate) / (recent[0] + strength) / rate)


@compiled
def _move_prior(tally: Ints, clicked: int, sums: Floats) -> None:
    """Counts an impression, and moves the sums of a prior (N, K, G, sum of n^2, sum of k^2 / n) on by it."""
    shown, clicks = tally[0], tally[1]
    sums[0] += 1
    sums[1] += clicked
    sums[2] += shown == 0
    sums[3] += 2 * shown + 1
    before = clicks * clicks / shown if shown else 0.0
    sums[4] += (clicks + clicked) ** 2 / (shown + 1) - before
    tally[0] += 1
    tally[1] += clicked


@compiled
def _prior(sums: Floats) -> tuple[float, float]:
    """Mean and strength of the Beta prior, see the head of this file; NaN before the first impression."""
    shown, clicks, groups, squares, ratios = sums
    if shown == 0:
        return np.nan, np.nan
    mean = clicks / shown
    room = shown - squares / shown - (groups - 1)
    if clicks == 0 or clicks == shown or room <= 0:  # noqa: PLR1714 - compiled
        return mean, MAX_STRENGTH
    spread = (ratios - clicks * mean) / (mean * (1 - mean)) - (groups - 1)
    if spread * (MAX_STRENGTH + 1) <= room:
        return mean, MAX_STRENGTH
    return mean, max(room / spread - 1, MIN_STRENGTH)


@compiled
def _smoothed(tally: Ints, prior: tuple[float, float]) -> float:
    mean, strength = prior
    return float((tally[1] + strength * mean) / (tally[0] + strength))


@compiled
def _tell_rate(tally: Ints, prior: tuple[float, float], start: int, out: Vectors, row: int) -> None:
    out[start, row] = tally[0]
    if not np.isnan(prior[0]):
        out[start + 1, row] = _smoothed(tally, prior)
