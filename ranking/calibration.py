"""Turns scores into click chances: Platt scaling with an offset per slot, bent by isotonic regression where that helps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy.special import expit
from sklearn.linear_model import LogisticRegression

from ranking.frames import Floats, Ints
from ranking.isotonic import isotonic_log_odds

MIN_ROWS = 50
"""With fewer calibration rows the chance is constant."""

MIN_CURVE_CLICKS = 1000
"""With fewer clicks no curve is tried: isotonic regression needs about that many (Niculescu-Mizil and Caruana 2005)."""

MAX_SLOTS = 50
"""Slots from the last of these on share an offset."""


@dataclass(frozen=True)
class Calibration:
    """log-odds of a click = curve(slope * score + intercept) + slot_offsets[slot].

    slope > 0, or exactly 0 where the calibration part does not say that a higher score means more clicks: the
    chance is then the same for every concept, and `warning` says why. slot_offsets[0] = 0; a slot beyond the
    last known one has the last one's offset.

    The curve is the identity with no knots; else it runs straight from knot (x, y) to knot and on with slope 1 beyond the
    first and the last. Knots rise in x and in y, so log-odds are finite and rise strictly with the score: unlike the
    flat steps of plain isotonic regression, no two scores are made equal, and a slate's temperature keeps its meaning.
    """

    slope: float
    intercept: float
    slot_offsets: tuple[float, ...] = (0.0,)
    warning: str | None = None
    knots: tuple[tuple[float, float], ...] = ()

    @property
    def method(self) -> str:
        """platt, isotonic or constant."""
        return "isotonic" if self.knots else "platt" if self.slope > 0.0 else "constant"

    def log_odds(self, score: npt.ArrayLike, slot: npt.ArrayLike = 0) -> Floats:
        """Calibrated log-odds of a click, broadcast over score and slot (from 0)."""
        known = np.minimum(np.asarray(slot, dtype=np.int64), len(self.slot_offsets) - 1)
        offsets = np.asarray(self.slot_offsets)[known]
        return np.asarray(self._bent(self.slope * np.asarray(score, dtype=np.float64) + self.intercept) + offsets)

    def click_chance(self, score: npt.ArrayLike, slot: npt.ArrayLike = 0) -> Floats:
        """Click chance in [0, 1], broadcast over score and slot (from 0)."""
        return np.asarray(expit(self.log_odds(score, slot)))

    def _bent(self, straight: Floats) -> Floats:
        if not self.knots:
            return straight
        x, y = np.asarray(self.knots).T
        inside = np.clip(straight, x[0], x[-1])
        return np.asarray(np.interp(inside, x, y) + (straight - inside))


def calibrate(score: Floats, slot: Ints, clicked: Floats) -> Calibration:
    """Fits clicked on score and slot by logistic regression (Platt 1999), then perhaps a curve upon it.

    The rule: with at least MIN_CURVE_CLICKS clicks both are fitted on the first half of the rows, and the curve is kept,
    fitted anew on all rows, when it has the lower log loss on the second half.

    Args:
        score: (N,) one impression each, in order of time.
        slot: (N,) from 0.
        clicked: (N,) 0 or 1.
    """
    straight = _platt(score, slot, clicked)
    if straight.slope == 0.0 or np.sum(clicked) < MIN_CURVE_CLICKS:
        return straight
    early, late = slice(None, len(score) // 2), slice(len(score) // 2, None)
    tried = _platt(score[early], slot[early], clicked[early])
    if tried.slope == 0.0:
        return straight
    bent = _curved(tried, score[early], slot[early], clicked[early])
    losses = [_log_loss(fitted.log_odds(score[late], slot[late]), clicked[late]) for fitted in (tried, bent)]
    return _curved(straight, score, slot, clicked) if losses[1] < losses[0] else straight


def _platt(score: Floats, slot: Ints, clicked: Floats) -> Calibration:
    """The standardised score and the slots after the first each have a N(0, 2^2) prior in log-odds: next to nothing
    where there are clicks, finite where there are none.
    """
    n, clicks = len(score), float(np.sum(clicked))
    if n < MIN_ROWS or clicks in {0.0, float(n)}:
        rate = (clicks + 0.5) / (n + 1.0)
        return Calibration(
            slope=0.0,
            intercept=float(np.log(rate / (1.0 - rate))),
            warning=f"{n} calibration impressions with {clicks:.0f} clicks give no slope: the click chance is constant",
        )
    slots = _slot_columns(slot)  # (N, last slot)
    centre, scale = float(np.mean(score)), float(np.std(score))
    if scale > 1e-12:
        weights, intercept = _logistic(np.column_stack([(score - centre) / scale, slots]), clicked)
        slope = weights[0] / scale
        if slope > 0.0:
            return Calibration(slope, intercept - slope * centre, (0.0, *weights[1:]))
    offsets, intercept = _logistic(slots, clicked)
    reason = "does not rise with the score" if scale > 1e-12 else "is all there is, the score being constant"
    return Calibration(
        0.0,
        intercept,
        (0.0, *offsets),
        f"the click rate {reason} in the calibration part: the click chance is constant",
    )


def _curved(straight: Calibration, score: Floats, slot: Ints, clicked: Floats) -> Calibration:
    """The calibration with the curve that fits these rows; the offsets of the slots stay."""
    base = straight.log_odds(score)
    offset = straight.log_odds(0.0, slot) - straight.log_odds(0.0)
    return replace(straight, knots=isotonic_log_odds(base, offset, clicked))


def _log_loss(log_odds: Floats, clicked: Floats) -> float:
    return float(np.mean(np.logaddexp(0.0, log_odds) - clicked * log_odds))


def _slot_columns(slot: Ints) -> Floats:
    """(N, last slot) zeros and ones: column k is slot k + 1."""
    known = np.minimum(slot, MAX_SLOTS - 1)
    return np.asarray(known[:, None] == np.arange(1, int(known.max()) + 1), dtype=np.float64)


def _logistic(columns: Floats, clicked: Floats) -> tuple[Sequence[float], float]:
    """Weights of the columns and the intercept."""
    if not columns.shape[1]:
        rate = float(np.mean(clicked))
        return (), float(np.log(rate / (1.0 - rate)))
    model = LogisticRegression(C=4.0, solver="newton-cholesky", tol=1e-8, max_iter=1000)
    model.fit(columns, clicked > 0.5)
    return [float(weight) for weight in model.coef_[0]], float(model.intercept_[0])
