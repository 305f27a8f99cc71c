"""Turns looks, and how likely each is approved, into which looks to draw: more approval, bounded change, kept diversity.

A generator draws looks f from p0. Preference optimisation (Rafailov et al. 2023, "Direct Preference Optimization", eq. 3)
asks for the distribution q with the largest E_q[r] - KL(q || p0) / strength. It is p0 exp(strength r) up to a constant, and DPO
trains a network towards it because a network cannot be reweighted. A distribution of looks can: what DPO approaches is had
exactly, with r fitted to the same comparisons by the same Bradley-Terry likelihood (generators/taste/approval.py). Here
r = log P(approved | f), so that strength 1 is p0(f | approved), by Bayes' rule.

Unbounded, that ends in one look that everybody approves. So two bounds hold, both against the distribution before
anything was learned, however many rounds there were:

    KL(q || p0) <= most_kl,        S(q) >= least_diversity S(p0),        S(q) = sum_ij q_i q_j d_ij

S is Rao's quadratic entropy (Rao 1982): the mean distance of two pictures drawn independently, here of their thumbnails, so
that what is kept is variety that people see. For Euclidean d it is concave in q, so that

    q_i = p0_i exp(strength r_i + push (D q)_i) / Z

with the right push >= 0 is the one best q that keeps it: looks far from the others are drawn more often.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from generators.records import load_record, save_record
from generators.taste.approval import LEARN_AGAIN, LEARNED
from generators.taste.variety import Looks, distances

Doubles = npt.NDArray[np.float64]
FILE = "tilt.safetensors"
_ROUNDS = 400  # of the fixed point
_STRONGEST = 64.0
_BISECTIONS = 14
_CLOSE = 5e-4  # a bound is met when it is kept and at most this share of it is unused


@dataclass(frozen=True)
class Tilt:
    """How to reweight looks. N reference looks, F features, T numbers of a thumbnail.

    Attributes:
        features: (N, F), thumbnails: (N, T) of the reference looks. weights: (N,) q.
        strength, push: as at the top of this file.
        kl: KL(q || p0), nats. diversity: S(q) / S(p0).
        approval: E_q[P(approved)]. approval_before: the same under p0.
    """

    features: npt.NDArray[np.float32]
    thumbnails: npt.NDArray[np.float32]
    weights: Doubles
    strength: float
    push: float
    kl: float
    diversity: float
    approval: float
    approval_before: float

    @property
    def looks(self) -> Looks:
        """The reference looks."""
        return Looks(self.features, self.thumbnails)

    def log_weights(self, thumbnails: npt.NDArray[np.float32], log_chance: Doubles) -> Doubles:
        """(P,) log q / p0 of any pictures, up to a constant.

        Args:
            thumbnails: (P, T) of `variety.thumbnails`.
            log_chance: (P,) log P(approved) of them.
        """
        far = distances(thumbnails, self.thumbnails) @ self.weights
        return np.asarray(self.strength * log_chance + self.push * far)

    def save(self, folder: Path) -> None:
        """Writes tilt.safetensors."""
        save_record(self, folder / FILE)

    @classmethod
    def load(cls, folder: Path) -> Tilt | None:
        """Reads it back; None where there is none. Raises ModelError when it is damaged."""
        return load_record(cls, folder / FILE, what=LEARNED, fix=LEARN_AGAIN)


@dataclass(frozen=True)
class _Draws:
    """What there is to draw from: p0, log P(approved), distances D, and the least S(q)."""

    before: Doubles
    log_chance: Doubles
    apart: Doubles
    least: float

    def spread(self, q: Doubles) -> float:
        """S(q)."""
        return float(q @ self.apart @ q)

    def best(self, strength: float) -> tuple[Doubles, float]:
        """The best q of this strength that is diverse enough, and the least push that will do; p0 where none will."""
        target = np.log(self.before) + strength * self.log_chance
        q = np.exp(target - target.max())
        q /= q.sum()
        if self.spread(q) >= self.least:
            return q, 0.0
        unit = 1 / self.spread(self.before)
        low, high = 0.0, unit
        while self.spread(q := _fixed_point(target, self.apart, high, q)) < self.least:
            low, high = high, 2 * high
            if high > 1e4 * unit:
                return self.before, high
        for _ in range(_BISECTIONS):
            if self.spread(q) <= (1 + _CLOSE) * self.least:
                break
            push = (low + high) / 2
            found = _fixed_point(target, self.apart, push, q)
            if self.spread(found) >= self.least:
                q, high = found, push
            else:
                low = push
        return q, high

    def strongest(self, most_kl: float) -> tuple[Doubles, float, float]:
        """q, strength and push of the largest strength that moves at most `most_kl` nats."""
        q, push = self.best(_STRONGEST)
        if _kl(q, self.before) <= most_kl:
            return q, _STRONGEST, push
        low, high, kept = 0.0, _STRONGEST, (self.before, 0.0, 0.0)
        for _ in range(_BISECTIONS):
            strength = (low + high) / 2 if low else high / 4
            q, push = self.best(strength)
            moved = _kl(q, self.before)
            if moved > most_kl:
                high = strength
                continue
            low, kept = strength, (q, strength, push)
            if moved >= (1 - _CLOSE) * most_kl:
                break
        return kept


def fit_tilt(
    looks: Looks,
    log_chance: Doubles,
    *,
    most_kl: float,
    least_diversity: float,
) -> Tilt:
    """The distribution with the most approval within both bounds.

    Args:
        looks: N that the generator draws unless told otherwise, all alike; a few hundred of them.
        log_chance: (N,) log P(approved) of each.
        most_kl: nats, > 0.
        least_diversity: share of the diversity that must stay, in (0, 1].
    """
    before = np.full(len(looks), 1 / len(looks))
    apart = distances(looks.thumbnails, looks.thumbnails)
    whole = float(before @ apart @ before)
    draws = _Draws(before, log_chance, apart, least_diversity * whole)
    q, strength, push = draws.strongest(most_kl)
    chance = np.exp(log_chance)
    return Tilt(
        features=looks.features,
        thumbnails=looks.thumbnails,
        weights=q,
        strength=strength,
        push=push,
        kl=_kl(q, before),
        diversity=draws.spread(q) / whole,
        approval=float(q @ chance),
        approval_before=float(before @ chance),
    )


def _fixed_point(target: Doubles, distances: Doubles, push: float, start: Doubles) -> Doubles:
    """q = exp(target + push * D q) / Z: steps on the logarithm, longer while they rise the objective, shorter when not."""
    logs = np.log(np.maximum(start, 1e-300))
    q, step = start, 0.25
    pull = distances @ q
    value = float(q @ (target - logs)) + push / 2 * float(q @ pull)
    for _ in range(_ROUNDS):
        new = (1 - step) * logs + step * (target + push * pull)
        new -= new.max() + np.log(np.exp(new - new.max()).sum())
        proposed = np.exp(new)
        pulled = distances @ proposed
        reached = float(proposed @ (target - new)) + push / 2 * float(proposed @ pulled)
        if reached < value - 1e-12:
            step /= 2
            continue
        moved = float(np.abs(proposed - q).sum())
        logs, q, pull, value, step = new, proposed, pulled, reached, min(1.5 * step, 1.0)
        if moved < 1e-6:
            break
    return q


def _kl(q: Doubles, p: Doubles) -> float:
    some = q > 0
    return float((q[some] * np.log(q[some] / p[some])).sum())
