"""Turns topic mixes into logged slates: a decent, imperfect, stochastic policy whose propensities are exact."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from contracts.seeds import stream
from sources.law import LAW_SEED, Floats


@dataclass(frozen=True)
class LoggingPolicy:
    """What the simulated shop ran before: it knows what people liked at first, not that they change, and no looks.

    weight = (1 - floor) * softmax(match_strength * match + popularity) + floor / (number of active concepts), where
    match is taken with the user's *first* topic mix and popularity is a fixed opinion on each concept. A slate is
    drawn by Plackett-Luce from the weights, so no concept is ever rarer than floor / active.
    """

    name: str = "logging-v1"
    match_strength: float = 2.5
    popularity_spread: float = 0.4
    floor: float = 0.2

    def weights(self, mix: Floats, concept_topics: Floats, active: npt.NDArray[np.bool_]) -> Floats:
        """Choice weights (E, C), rows sum to 1, inactive concepts 0.

        Args:
            mix: (E, 12) topic mixes as the policy believes them. concept_topics: (C, 12).
            active: (E, C) which concepts may be shown.
        """
        popularity = self.popularity_spread * stream(LAW_SEED, "popularity").standard_normal(len(concept_topics))
        score = np.where(active, self.match_strength * (mix @ concept_topics.T) + popularity, -np.inf)
        soft = np.exp(score - score.max(axis=1, keepdims=True))
        soft /= soft.sum(axis=1, keepdims=True)
        mixed: Floats = (1 - self.floor) * soft + self.floor * active / active.sum(axis=1, keepdims=True)
        return mixed


def draw_slates(weights: Floats, size: int, rng: np.random.Generator) -> tuple[npt.NDArray[np.int64], Floats]:
    """Plackett-Luce slates (E, size) and the chance of each choice given the earlier ones (E, size).

    Drawn as the largest log(weight) + Gumbel noise (J. Yellott, 1977), which is the same as choosing one concept after
    another in proportion to the weights of those left.

    Args:
        weights: (E, C) rows sum to 1; a weight of 0 is never chosen. At least `size` weights per row are positive.
    """
    with np.errstate(divide="ignore"):
        keys = np.log(weights) + rng.gumbel(size=weights.shape)
    chosen = np.argsort(-keys, axis=1, kind="stable")[:, :size]
    picked = np.take_along_axis(weights, chosen, axis=1)
    left = 1 - (np.cumsum(picked, axis=1) - picked)
    propensity: Floats = np.minimum(picked / left, 1.0)
    return chosen, propensity
