"""Turns a user's taste, a picture's look, a topic match and a slot into the true chance of a click: the planted law."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from contracts.errors import DataError

Floats = npt.NDArray[np.float64]

LAW_SEED = 20260105
"""Seed of what is the same in every planted world: items, concepts, and their topics and styles."""

TOPICS = (
    "running", "cycling", "hiking", "coffee", "cooking", "gardening",
    "photography", "music", "gaming", "travel", "skincare", "home",
)  # fmt: skip
LOOKS = ("lightness", "warmth", "redness", "chroma", "busyness")
"""The five numbers of a picture's look, in the order of every look array (see sources/look.py)."""


def topic_vectors(topics: Iterable[Iterable[str]]) -> Floats:
    """Equal weights on the named topics, each row summing to 1, shape (N, 12).

    Raises:
        DataError: a row names no topic, or one the planted world does not have.
    """
    rows = [list(row) for row in topics]
    vectors = np.zeros((len(rows), len(TOPICS)))
    place = {topic: index for index, topic in enumerate(TOPICS)}
    for index, row in enumerate(rows):
        unknown = [topic for topic in row if topic not in place]
        if unknown or not row:
            raise DataError(
                f"unknown topics {unknown}" if unknown else "no topic",
                where=f"planted concept or item {index}",
                fix="Use topics of the planted world: " + ", ".join(TOPICS) + ".",
            )
        vectors[index, [place[topic] for topic in row]] = 1 / len(set(row))
    return vectors


@dataclass(frozen=True)
class ClickLaw:
    """P(click) = sigmoid(bias + topic + slot + look), where

    topic = topic_strength * match, match = <user's topic mix at that time, concept's topics>, in [0, 1];
    slot  = -slot_fall * ln(1 + slot), so slot 0 has no effect;
    look  = -taste_strength / 2 * |g - tau|^2 + standout_strength * standout.

    The look term is an ideal point (C. Coombs, "A Theory of Data", 1964): a user's favourite look is tau itself, so
    extremes do not pay. Standing out pays the same for every user.
    """

    bias: float = -2.6
    topic_strength: float = 4.0
    slot_fall: float = 0.4
    taste_strength: float = 0.24
    standout_strength: float = 0.8

    def look_utility(self, tau: Floats, look: Floats, standout: Floats) -> Floats:
        """Log-odds from the picture, shape (...,), for tau (..., 5), look (..., 5) and standout (...,) in [0, 1)."""
        gap = np.asarray(look) - np.asarray(tau)
        utility: Floats = self.standout_strength * np.asarray(standout) - self.taste_strength / 2 * (gap**2).sum(-1)
        return utility

    def click_chance(self, tau: Floats, look: Floats, match: Floats, slot: npt.ArrayLike, standout: Floats) -> Floats:
        """True click chance in (0, 1), shape (N,).

        Args:
            tau: (N, 5) visual taste, in the units of `look`.
            look: (N, 5) look of the picture shown.
            match: (N,) topic match in [0, 1].
            slot: (N,) place in the slate, from 0.
            standout: (N,) how far the product stands out, in [0, 1).
        """
        place = -self.slot_fall * np.log1p(np.asarray(slot, dtype=np.float64))
        odds = self.bias + self.topic_strength * np.asarray(match) + place + self.look_utility(tau, look, standout)
        return sigmoid(odds)

    def best_chance(
        self, tau: Floats, looks: Floats, standouts: Floats, match: Floats, slot: npt.ArrayLike = 0
    ) -> tuple[Floats, npt.NDArray[np.int64]]:
        """The best attainable click chance (N,) of each user over M candidate pictures, and which one (N,).

        Args:
            tau: (N, 5). looks: (M, 5) and standouts: (M,) of the candidates. match: (N,). slot: (N,) or one number.
        """
        utility = self.candidate_utilities(tau, looks, standouts)
        best = utility.argmax(axis=1)
        chance = self.click_chance(tau, looks[best], match, slot, standouts[best])
        return chance, best.astype(np.int64)

    def candidate_utilities(self, tau: Floats, looks: Floats, standouts: Floats) -> Floats:
        """Look utility of every user with every candidate, (N, M), for tau (N, 5), looks (M, 5), standouts (M,)."""
        squares = (tau**2).sum(1)[:, None] - 2 * tau @ looks.T + (looks**2).sum(1)[None, :]
        utilities: Floats = self.standout_strength * standouts[None, :] - self.taste_strength / 2 * squares
        return utilities


def expected_look_utility(utilities: Floats) -> Floats:
    """Mean look utility over the candidates, shape (N,), of utilities (N, M): what a picture drawn blindly is worth."""
    mean: Floats = np.asarray(utilities).mean(axis=1)
    return mean


def sigmoid(odds: npt.ArrayLike) -> Floats:
    """1 / (1 + exp(-odds)), elementwise, without overflow."""
    half = np.tanh(np.asarray(odds, dtype=np.float64) / 2)
    chance: Floats = 0.5 * (1 + half)
    return chance
