"""Turns log-odds and clicks into the knots of a rising curve: isotonic logistic regression with offsets, in bins."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from scipy.special import expit

from ranking.frames import Floats, Ints

BIN_ROWS, MAX_BINS = 200, 64
"""A bin holds at least so many rows; there are at most so many bins."""

PRIOR_ROWS = 20.0
"""Every bin holds so many rows more, clicked at the rate that the straight log-odds give: finite where nobody clicked."""

_NEWTON_STEPS = 30


def isotonic_log_odds(base: Floats, offset: Floats, clicked: Floats) -> tuple[tuple[float, float], ...]:
    """Knots (mean base, level) of the maximum-likelihood rising step function of `base`, one knot a step.

    log-odds = level(base) + offset, level rising: pool adjacent violators (Ayer et al. 1955), where the level of a pool
    is its maximum-likelihood one given the offsets. That is exact for any convex loss that is a sum over bins (Best,
    Chakravarti and Ubhaya 2000). Knots rise strictly in both coordinates.

    Args:
        base: (N,) straight log-odds at slot 0; equal values always fall in one bin.
        offset: (N,) log-odds that the slot adds.
        clicked: (N,) 0 or 1.
    """
    order = np.argsort(base, kind="stable")
    base, offset, clicked = base[order], offset[order], clicked[order]
    cuts = _cuts(base)
    done: list[tuple[int, int, float]] = []
    for start, stop in pairwise(cuts):
        pool = (start, stop, _level(base[start:stop], offset[start:stop], clicked[start:stop]))
        while done and done[-1][2] >= pool[2]:
            first = done.pop()[0]
            rows = slice(first, pool[1])
            pool = (first, pool[1], _level(base[rows], offset[rows], clicked[rows]))
        done.append(pool)
    return tuple((float(np.mean(base[start:stop])), level) for start, stop, level in done)


def _cuts(base: Floats) -> Ints:
    """Where bins of about equal size begin and end, moved so that no two equal values are torn apart."""
    bins = int(np.clip(len(base) // BIN_ROWS, 1, MAX_BINS))
    wanted = np.linspace(0, len(base), bins + 1).astype(np.int64)[1:-1]
    inner = np.searchsorted(base, base[wanted], side="left") if len(wanted) else wanted
    return np.unique(np.concatenate([[0], inner, [len(base)]])).astype(np.int64)


def _level(base: Floats, offset: Floats, clicked: Floats) -> float:
    """The level y at which sum(expit(y + offset)) equals the clicks, PRIOR_ROWS at the mean base included."""
    centre = float(np.mean(base))
    wanted = float(np.sum(clicked)) + PRIOR_ROWS * float(expit(centre))
    y = centre
    for _ in range(_NEWTON_STEPS):
        chance, prior = expit(y + offset), float(expit(y))
        slope = float(np.sum(chance * (1 - chance))) + PRIOR_ROWS * prior * (1 - prior)
        step = (wanted - float(np.sum(chance)) - PRIOR_ROWS * prior) / max(slope, 1e-12)
        y += float(np.clip(step, -2.0, 2.0))
        if abs(step) < 1e-10:
            break
    return y
