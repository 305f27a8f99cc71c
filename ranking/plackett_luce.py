"""Turns log-odds into slates filled one position at a time, with the exact chance of every choice given the earlier ones.

N slates, C candidates, K positions. A candidate that is not there has log-odds -inf; a choice that is not among the
candidates is column -1.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ranking.frames import Floats, Ints
from ranking.kinship import NOTHING, Kinship
from ranking.policy import Policy

COLDEST = 1e-6
"""A temperature below this counts as 0."""


class Filling:
    """N slates in the making. All chances come from here, those of a draw and those of a replay alike.

    With the choices a_1 .. a_(k-1) made, a candidate c that is left has the utility

        u(c) = (log_odds(c) + boost(advertiser of c)
                - advertiser_penalty * #{j: a_j of c's advertiser}
                - topic_penalty * #{j: a_j with a topic of c}) / temperature

    and is chosen next with the chance

        (1 - exploration) * exp(u(c)) / sum of exp(u) + exploration / number left,

    both over the candidates left: those not chosen before whose advertiser does not rest and has not yet had
    `advertiser_slots` positions. It is Plackett-Luce (Plackett 1975) whose utilities depend on the choices before, the sequential form of
    maximal marginal relevance (Carbonell and Goldstein 1998). The coin for exploration is tossed anew for every
    position, so the mixture is exact given the earlier choices: nothing need be known of the coins that fell before.
    At temperature 0 the highest utility (the first column among equals) takes the place of the softmax.

    Args:
        log_odds: (N, C).
        concepts: (N, C) codes in `kinship`.
        kinship: of the concepts.
        policy: the settings.
    """

    def __init__(self, log_odds: Floats, concepts: Ints, kinship: Kinship, policy: Policy) -> None:
        self._settings, self._kinship, self._concepts = policy.settings, kinship, concepts
        self._left = ~np.isneginf(log_odds) & ~kinship.resting[concepts]
        self._value = log_odds + kinship.boosts[concepts]
        self._of_advertiser = np.zeros(log_odds.shape, dtype=np.int16) if policy.settings.advertiser_slots else None
        self._rows = np.arange(len(log_odds))

    @property
    def left(self) -> npt.NDArray[np.bool_]:
        """(N, C) which candidates may still be chosen."""
        if self._of_advertiser is None:
            return self._left
        return np.asarray(self._left & (self._of_advertiser < self._settings.advertiser_slots))

    def chances(self) -> Floats:
        """(N, C) chance of each candidate to be chosen next; rows sum to 1, or to 0 where none is left."""
        left, settings = self.left, self._settings
        value = np.where(left, self._value, -np.inf)
        cold = settings.temperature < COLDEST
        chances = _highest(value) if cold else _softmax(value / settings.temperature)
        if settings.exploration:
            number = left.sum(axis=1, keepdims=True)
            chances *= 1.0 - settings.exploration
            chances += left * (settings.exploration / np.maximum(number, 1))
        return chances

    def choose(self, uniform: Floats) -> tuple[Ints, Floats]:
        """Chooses for every slate by inversion, from (N,) uniforms in [0, 1).

        Returns:
            Columns (N,), -1 where none is left, and the chance that each had (N,), 0 there.
        """
        if not self._left.shape[1]:
            return np.full(len(uniform), -1), np.zeros(len(uniform))
        chances = self.chances()
        reached = np.cumsum(chances, axis=1)
        total = reached[:, -1]
        column = (reached <= (uniform * total)[:, None]).sum(axis=1)
        last = chances.shape[1] - 1 - (chances[:, ::-1] > 0).argmax(axis=1)  # where rounding has carried u to the end
        column = np.where(total > 0, np.minimum(column, last), -1)
        chance = np.where(column >= 0, chances[self._rows, column], 0.0)
        self.take(column, np.where(column >= 0, self._concepts[self._rows, column], NOTHING))
        return column, chance

    def take(self, column: Ints, concept: Ints) -> None:
        """Goes on to the next position.

        Args:
            column: (N,) what was chosen, -1 if it is not among the candidates.
            concept: (N,) its code; -1 is unknown; NOTHING where nothing was chosen.
        """
        known = column >= 0
        self._left[self._rows[known], column[known]] = False
        settings, shown = self._settings, concept[:, None]
        if settings.topic_penalty:
            self._value -= settings.topic_penalty * self._kinship.common_topic(self._concepts, shown)
        if settings.advertiser_penalty or self._of_advertiser is not None:
            same = self._kinship.same_advertiser(self._concepts, shown)
            self._value -= settings.advertiser_penalty * same
            if self._of_advertiser is not None:
                self._of_advertiser += same


def draw(filling: Filling, uniforms: Floats) -> tuple[Ints, Floats]:
    """Fills K positions from (N, K) uniforms: columns (N, K), -1 where a slate has run out, and their chances (N, K)."""
    chosen = np.full(uniforms.shape, -1, dtype=np.int64)
    chance = np.zeros(uniforms.shape)
    for position in range(uniforms.shape[1]):
        chosen[:, position], chance[:, position] = filling.choose(uniforms[:, position])
    return chosen, chance


def _softmax(utilities: Floats) -> Floats:
    """Row by row, shifted by the greatest one, so that nothing overflows."""
    if not utilities.shape[1]:
        return np.zeros_like(utilities)
    greatest = utilities.max(axis=1, keepdims=True)
    utilities -= np.where(np.isneginf(greatest), 0.0, greatest)
    weights = np.exp(utilities, out=utilities)
    total = weights.sum(axis=1, keepdims=True)
    weights /= np.where(total > 0, total, 1.0)
    return weights


def _highest(utilities: Floats) -> Floats:
    chances = np.zeros_like(utilities)
    if utilities.shape[1]:
        best = utilities.argmax(axis=1)
        rows = np.flatnonzero(~np.isneginf(utilities[np.arange(len(utilities)), best]))
        chances[rows, best[rows]] = 1.0
    return chances
