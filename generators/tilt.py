"""Turns looks, and how likely each is approved, into which looks to draw: more approval, bounded change, kept diversity.

A generator draws looks f from p0. Preference optimisation (Rafailov et al. 2023, "Direct Preference Optimization", eq. 3)
asks for the distribution q with the largest E_q[r] - KL(q || p0) / strength. It is p0 exp(strength r) up to a constant, and DPO
trains a network towards it because a network cannot be reweighted. A distribution of looks can: what DPO approaches is had
exactly, with r fitted to the same comparisons by the same Bradley-Terry likelihood (generators/approval.py). Here
r = log P(approved | f), so that strength 1 is p0(f | approved), by Bayes' rule.

Unbounded, that ends in one look that everybody approves. So two bounds hold, both against the distribution before
anything was learned, however many rounds there were:

    KL(q || p0) <= most_kl,        S(q) >= least_diversity S(p0),        S(q) = sum_ij q_i q_j d_ij

S is Rao's quadratic entropy (Rao 1982): the mean distance of two looks drawn independently. For Euclidean d it is concave in q, so that

    q_i = p0_i exp(strength r_i + push (D q)_i) / Z

with the right push >= 0 is the one best q that keeps it: looks far from the others are drawn more often.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from contracts.errors import ModelError

Doubles = npt.NDArray[np.float64]
FILE = "tilt.safetensors"
_ROUNDS = 400  # of the fixed point
_STRONGEST = 64.0
_BISECTIONS = 14


@dataclass(frozen=True)
class Tilt:
    """How to reweight looks. N reference looks, F features.

    Attributes:
        centre, scale: (F,) that features are standardised by.
        looks: (N, F) reference looks, standardised. weights: (N,) q.
        strength, push: as at the top of this file.
        kl: KL(q || p0), nats. diversity: S(q) / S(p0).
        approval: E_q[P(approved)]. approval_before: the same under p0.
    """

    centre: Doubles
    scale: Doubles
    looks: Doubles
    weights: Doubles
    strength: float
    push: float
    kl: float
    diversity: float
    approval: float
    approval_before: float

    def log_weights(self, features: npt.NDArray[np.float32], log_chance: Doubles) -> Doubles:
        """(P,) log q / p0 of any looks, up to a constant.

        Args:
            features: (P, F), not standardised.
            log_chance: (P,) log P(approved) of them.
        """
        far = _distances((features.astype(np.float64) - self.centre) / self.scale, self.looks) @ self.weights
        return np.asarray(self.strength * log_chance + self.push * far)

    def save(self, folder: Path) -> None:
        """Writes tilt.safetensors."""
        folder.mkdir(parents=True, exist_ok=True)
        numbers = json.dumps({name: getattr(self, name) for name in _NUMBERS})
        save_file(
            {name: np.ascontiguousarray(getattr(self, name)) for name in _ARRAYS}, folder / FILE, {"tilt": numbers}
        )

    @classmethod
    def load(cls, folder: Path) -> Tilt | None:
        """Reads it back; None where there is none. Raises ModelError when it is damaged."""
        path = folder / FILE
        if not path.exists():
            return None
        try:
            arrays = load_file(path)
            with path.open("rb") as file:
                header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
            numbers: dict[str, Any] = json.loads(header["__metadata__"]["tilt"])
            values: dict[str, Any] = {name: arrays[name] for name in _ARRAYS}
            values |= {name: float(numbers[name]) for name in _NUMBERS}
            return cls(**values)
        except (OSError, SafetensorError, KeyError, ValueError) as error:
            raise ModelError(
                "what was learned from reviewers is damaged",
                where=str(path),
                fix="Learn again: adloom learn RUN; or go back: adloom models use generator VERSION.",
            ) from error


_ARRAYS = ("centre", "scale", "looks", "weights")
_NUMBERS = ("strength", "push", "kl", "diversity", "approval", "approval_before")


def _distances(one: Doubles, other: Doubles) -> Doubles:
    """(P, N) Euclidean distances of (P, F) to (N, F)."""
    squares = (one**2).sum(axis=1)[:, None] + (other**2).sum(axis=1)[None] - 2 * one @ other.T
    return np.asarray(np.sqrt(np.maximum(squares, 0)))


def fit_tilt(
    features: npt.NDArray[np.float32],
    log_chance: Doubles,
    *,
    most_kl: float,
    least_diversity: float,
    base: Doubles | None = None,
) -> Tilt:
    """The distribution with the most approval within both bounds.

    Args:
        features: (N, F) looks that the generator draws unless told otherwise, a few hundred of them.
        log_chance: (N,) log P(approved) of each.
        most_kl: nats, > 0.
        least_diversity: share of the diversity that must stay, in (0, 1].
        base: (N,) p0; None: all alike.
    """
    centre, scale = features.mean(axis=0).astype(np.float64), features.std(axis=0).astype(np.float64) + 1e-6
    looks = (features.astype(np.float64) - centre) / scale
    before = np.full(len(looks), 1 / len(looks)) if base is None else base / base.sum()
    distances = _distances(looks, looks)
    # Rounding leaves a look a tiny distance from itself; S needs exact zeros.
    np.fill_diagonal(distances, 0.0)
    whole = float(before @ distances @ before)
    least = least_diversity * whole

    def solve(strength: float) -> tuple[Doubles, float]:
        """The best q of this strength that is diverse enough, and its push; the least push that will do."""
        target = np.log(before) + strength * log_chance
        q = _normal(target)
        if float(q @ distances @ q) >= least:
            return q, 0.0
        low, high = 0.0, 1.0 / whole
        while float((q := _fixed_point(target, distances, high, q)) @ distances @ q) < least:
            low, high = high, 2 * high
            if high > 1e4 / whole:
                return before, high
        for _ in range(_BISECTIONS):
            push = (low + high) / 2
            found = _fixed_point(target, distances, push, q)
            if float(found @ distances @ found) >= least:
                q, high = found, push
            else:
                low = push
        return q, high

    low, high = 0.0, _STRONGEST
    best, push = solve(high)
    strength = high
    if _kl(best, before) > most_kl:
        best, push, strength = before, 0.0, 0.0
        for _ in range(_BISECTIONS):
            middle = (low + high) / 2 if low else high / 4
            found, found_push = solve(middle)
            if _kl(found, before) <= most_kl:
                best, push, strength, low = found, found_push, middle, middle
            else:
                high = middle
    chance = np.exp(log_chance)
    return Tilt(
        centre=centre,
        scale=scale,
        looks=looks,
        weights=best,
        strength=strength,
        push=push,
        kl=_kl(best, before),
        diversity=float(best @ distances @ best) / whole,
        approval=float(best @ chance),
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
        if moved < 1e-7:
            break
    return q


def _normal(logs: Doubles) -> Doubles:
    weights = np.exp(logs - logs.max())
    return np.asarray(weights / weights.sum())


def _kl(q: Doubles, p: Doubles) -> float:
    some = q > 0
    return float((q[some] * np.log(q[some] / p[some])).sum())


def draw_look(log_weights: Doubles, rng: np.random.Generator) -> int:
    """The index of one look, drawn with chances that are proportional to exp(log_weights) (Gumbel's trick)."""
    return int((log_weights + rng.gumbel(size=len(log_weights))).argmax())
