"""Turns many effects, over segments and metrics, into those that stand when it is counted how many were looked at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy.stats import chi2, false_discovery_control

from evaluation.effects import Effect, Ints, arm_means, contrast, linearised
from evaluation.experiment import Experiment, Metric
from evaluation.intervals import Floats

LEAST_USERS = 30
"""Known users an arm needs in a segment to be compared there."""


@dataclass(frozen=True, slots=True)
class SegmentEffect:
    """An effect within one level of one segment; `q` is its p-value adjusted for all that were looked at."""

    metric: str
    segment: str
    level: str
    arm: str
    users: int
    effect: Effect
    q: float


@dataclass(frozen=True, slots=True)
class SegmentSpread:
    """Whether the effect differs between a segment's levels: Cochran's Q (1954), its p, and p adjusted for all."""

    metric: str
    segment: str
    arm: str
    statistic: float
    p: float
    q: float


def adjusted_p(p: npt.ArrayLike, method: Literal["bh", "by"]) -> Floats:
    """q-values: rejecting those below a level keeps the expected share of false discoveries below it.

    "bh": Benjamini and Hochberg 1995, for independent or positively dependent tests; "by": Benjamini and Yekutieli
    2001, for any dependence. (M,) in the order given.
    """
    values = np.asarray(p, dtype=np.float64)
    return np.asarray(false_discovery_control(values, method=method)) if values.size else values


def segment_effects(
    data: Experiment, *, confidence: float, method: Literal["bh", "by"]
) -> tuple[list[SegmentEffect], list[SegmentSpread]]:
    """Every metric's effect in every level of every segment, and whether it differs between levels.

    Levels with fewer than LEAST_USERS known users in an arm are left out of that comparison.
    """
    found: list[tuple[str, str, str, str, int, Effect]] = []
    spreads: list[tuple[str, str, str, float, float]] = []
    for metric in data.metrics:
        if metric.absent is not None:
            continue
        for segment, (levels, codes) in data.segments.items():
            by_arm: dict[str, list[Effect]] = {}
            for place, level in enumerate(levels):
                inside = metric.known & (codes == place)
                for arm, effect in _effects(data, metric, inside, confidence).items():
                    found.append((metric.name, segment, level, arm, int(inside.sum()), effect))
                    by_arm.setdefault(arm, []).append(effect)
            spreads += [
                (metric.name, segment, arm, *_cochran(effects)) for arm, effects in by_arm.items() if len(effects) > 1
            ]
    q = adjusted_p([row[-1].p for row in found], method)
    q_spread = adjusted_p([row[-1] for row in spreads], method)
    return (
        [SegmentEffect(*row, float(value)) for row, value in zip(found, q, strict=True)],
        [SegmentSpread(*row, float(value)) for row, value in zip(spreads, q_spread, strict=True)],
    )


def _effects(data: Experiment, metric: Metric, inside: npt.NDArray[np.bool_], confidence: float) -> dict[str, Effect]:
    arm: Ints = data.arm[inside]
    counts = np.bincount(arm, minlength=len(data.arms))
    shown = [place for place in range(1, len(data.arms)) if min(counts[0], counts[place]) >= LEAST_USERS]
    effects = {}
    for place in shown:
        pair = (arm == 0) | (arm == place)
        codes = (arm[pair] == place).astype(np.int64)
        below = None if metric.below is None else metric.below[inside][pair]
        values = linearised(metric.above[inside][pair], below, codes, 2)
        if np.isfinite(values).all():
            effect = contrast(arm_means(values, codes, 2), 1, confidence=confidence)
            if effect.standard_error > 0:
                effects[data.arms[place]] = effect
    return effects


def _cochran(effects: list[Effect]) -> tuple[float, float]:
    gaps = np.array([one.difference for one in effects])
    weights = 1 / np.array([one.standard_error for one in effects]) ** 2
    statistic = float((weights * (gaps - np.average(gaps, weights=weights)) ** 2).sum())
    return statistic, float(chi2.sf(statistic, len(effects) - 1))
