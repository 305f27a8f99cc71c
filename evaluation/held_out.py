"""Turns predicted effects into whether they are right about users who had no part in predicting them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from contracts.seeds import stream
from evaluation.effects import Ints, z_of
from evaluation.experiment import Experiment
from evaluation.intervals import Floats, Interval, percentile
from evaluation.uplift import grow_forest

LEAST_USERS = 2_000
"""Users below which nothing is said: neither half could show a difference of a size that occurs."""
_GROUPS = 5
_RANKS, _BLOCKS, _RESAMPLES = 100, 500, 1_000


@dataclass(frozen=True, slots=True)
class Ranked:
    """How well users of one arm, held out, are ordered by their predicted effect.

    Attributes:
        arm: the treatment.
        autoc: area under the targeting operator characteristic, 0 when the order tells nothing.
        autoc_interval: bootstrap of held-out users.
        qini: the same weighted by the share treated, so that few extreme users do not decide.
        qini_interval: likewise.
        effects: (5,) mean held-out effect from the fifth with the lowest prediction to that with the highest.
        half_widths: (5,).
    """

    arm: str
    autoc: float
    autoc_interval: Interval | None
    qini: float
    qini_interval: Interval | None
    effects: Floats
    half_widths: Floats

    @property
    def found(self) -> bool:
        """Both intervals lie above 0."""
        spans = (self.autoc_interval, self.qini_interval)
        return all(span is not None and span.low > 0 for span in spans)


@dataclass(frozen=True, slots=True)
class Heterogeneity:
    """Whether effects differ between users, and whether a personal rule would earn more than the best arm for all.

    Attributes:
        users: held out.
        ranked: one for each treatment.
        best_arm: the one arm for all, chosen by the other half.
        best_value: its mean outcome on held-out users.
        personal_value: mean outcome when each gets the arm that is predicted best for them.
        gain: personal - best.
        gain_interval: of it.
        changed: share of held-out users for whom the rule differs from the best arm.
    """

    users: int
    ranked: tuple[Ranked, ...]
    best_arm: str
    best_value: float
    personal_value: float
    gain: float
    gain_interval: Interval
    changed: float


def effect_scores(outcome: Floats, arm: Ints, shares: Floats, fitted: Floats) -> Floats:
    """(N, A) doubly robust scores: their mean over any group of users is unbiased for each arm's mean outcome there.

        score_ia = m_a(x_i) + 1{arm_i = a} (y_i - m_a(x_i)) / share_a

    Robins, Rotnitzky and Zhao 1994; exact here, since the shares are those of the random assignment.

    Args:
        outcome: (N,).
        arm: (N,).
        shares: (A,).
        fitted: (N, A) any prediction of the outcome under each arm, made without these users.
    """
    own = arm[:, None] == np.arange(shares.size)
    return np.asarray(fitted + own * (outcome[:, None] - fitted) / shares, dtype=np.float64)


def heterogeneity(data: Experiment, metric: int, *, confidence: float, seed: int) -> Heterogeneity | str:
    """Learns effects on one half of the users and checks them on the other; or a clause that says why not.

    The two halves are drawn at random once, so that the check is of users nobody learned from, and its interval needs no
    correction. A ratio metric has no outcome of a user alone and is not ranked.
    """
    chosen = data.metrics[metric]
    if chosen.absent is not None:
        return chosen.absent
    if chosen.below is not None:
        return "a ratio is not an outcome of one user"
    if not data.covariates.names:
        return "there are no covariates that users could differ by"
    known = np.flatnonzero(chosen.known)
    if known.size < LEAST_USERS * len(data.arms):
        return f"{known.size:,} users are too few to learn from one half and check on the other"
    outcome, arm, x = chosen.above[known], data.arm[known], data.covariates.values[known]
    sign = -1.0 if chosen.less_is_better else 1.0
    learning = stream(seed, "evaluation", "halves").permutation(known.size) < known.size // 2
    shares = np.bincount(arm, minlength=len(data.arms)) / arm.size
    scores = effect_scores(sign * outcome, arm, shares, _fitted(sign * outcome, arm, x, learning, shares.size))
    predicted = np.zeros((int((~learning).sum()), shares.size))
    ranked = []
    for place in range(1, shares.size):
        own = scores[:, place] - scores[:, 0]
        codes = np.where(arm == 0, 0, np.where(arm == place, 1, 2))
        forest = grow_forest(x[learning], own[learning], codes[learning], seed=seed)
        predicted[:, place] = forest.effect(x[~learning])
        ranked.append(_ranked(data.arms[place], own[~learning], predicted[:, place], confidence, seed))
    return _personal(data, scores, learning, predicted, tuple(ranked), confidence, sign)


def targeting(mass: Floats, sums: Floats) -> tuple[Floats, Floats]:
    """AUTOC and Qini coefficient of B samples of users in G groups of equal prediction, highest first; (B,) each.

        TOC(u) = mean effect of the share u with the highest prediction - mean effect of all
        AUTOC = integral of TOC(u) du,   Qini = integral of u TOC(u) du

    Yadlowsky, Fleming, Shah, Brunskill and Wager 2021; within a group TOC is taken at its middle.

    Args:
        mass: (B, G) users.
        sums: (B, G) sum of their unbiased effect scores.
    """
    total, everyone = mass.sum(axis=1, keepdims=True), sums.sum(axis=1, keepdims=True)
    middle = np.cumsum(mass, axis=1) - mass / 2
    toc = (np.cumsum(sums, axis=1) - sums / 2) / np.maximum(middle, 1e-12) - everyone / total
    return (mass * toc).sum(axis=1) / total[:, 0], (mass * middle * toc).sum(axis=1) / total[:, 0] ** 2


def _ranked(arm: str, scores: Floats, predicted: Floats, confidence: float, seed: int) -> Ranked:
    """Bootstrap over _BLOCKS random blocks of users, so that its cost does not grow with them."""
    rng = stream(seed, "evaluation", "targeting", arm)
    cuts = np.unique(np.quantile(predicted, np.linspace(0, 1, _RANKS + 1)[1:-1]))
    rank = cuts.size - np.searchsorted(cuts, predicted, side="right")
    cell = rng.permutation(scores.size) % _BLOCKS * (cuts.size + 1) + rank
    size = _BLOCKS * (cuts.size + 1)
    mass = np.bincount(cell, minlength=size).reshape(_BLOCKS, -1).astype(np.float64)
    sums = np.bincount(cell, weights=scores, minlength=size).reshape(_BLOCKS, -1)
    drawn = rng.multinomial(_BLOCKS, np.full(_BLOCKS, 1 / _BLOCKS), size=_RESAMPLES).astype(np.float64)
    autoc, qini = targeting(mass.sum(axis=0, keepdims=True), sums.sum(axis=0, keepdims=True))
    spans = [percentile(values, confidence) for values in targeting(drawn @ mass, drawn @ sums)]
    fifths = np.array_split(np.argsort(predicted, kind="stable"), _GROUPS)
    effects = np.array([scores[group].mean() for group in fifths])
    errors = np.array([scores[group].std(ddof=1) / np.sqrt(group.size) for group in fifths])
    return Ranked(arm, float(autoc[0]), spans[0], float(qini[0]), spans[1], effects, z_of(confidence) * errors)


def _personal(
    data: Experiment, scores: Floats, learning: npt.NDArray[np.bool_], predicted: Floats, ranked: tuple[Ranked, ...],
    confidence: float, sign: float,
) -> Heterogeneity:  # fmt: skip
    """The rule "each the arm predicted best" against the arm that is best for all, both chosen on the other half."""
    best = int(scores[learning].mean(axis=0).argmax())
    rule, rest = predicted.argmax(axis=1), scores[~learning]
    own, all_alike = rest[np.arange(rule.size), rule], rest[:, best]
    gap = own - all_alike
    gain, reach = float(gap.mean()), z_of(confidence) * float(gap.std(ddof=1)) / np.sqrt(gap.size)
    return Heterogeneity(
        users=rule.size,
        ranked=ranked,
        best_arm=data.arms[best],
        best_value=sign * float(all_alike.mean()),
        personal_value=sign * float(own.mean()),
        gain=gain,
        gain_interval=Interval(gain - reach, gain + reach),
        changed=float((rule != best).mean()),
    )


def _fitted(outcome: Floats, arm: Ints, x: Floats, learning: npt.NDArray[np.bool_], arms: int) -> Floats:
    """(N, A) least squares of the outcome on the covariates in each arm, learned from the users of `learning` alone."""
    design = np.column_stack([np.ones(outcome.size), (x - x.mean(axis=0)) / np.maximum(x.std(axis=0), 1e-12)])
    made = np.zeros((outcome.size, arms))
    for place in range(arms):
        own = learning & (arm == place)
        made[:, place] = (
            design @ np.linalg.lstsq(design[own].T @ design[own], design[own].T @ outcome[own], rcond=None)[0]
        )
    return made
