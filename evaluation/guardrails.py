"""Turns effects on metrics that must not get worse, and their margins, into: safe, harmed, or not shown."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from evaluation.effects import Effect, z_of

State = Literal["safe", "harmed", "not shown"]


@dataclass(frozen=True, slots=True)
class Guardrail:
    """A non-inferiority test of one arm on one metric.

    Attributes:
        margin: largest relative loss that is tolerated, above 0.
        loss: relative loss, above 0 when the arm is worse.
        worst: upper bound of the loss; None when control's mean is 0.
        state: "safe": the bound is below the margin; "harmed": the arm is worse, two-sided; "not shown": neither.
    """

    margin: float
    loss: float | None
    worst: float | None
    state: State


def guardrail(effect: Effect, margin: float, *, less_is_better: bool, confidence: float, reach: float) -> Guardrail:
    """Non-inferiority: safe when the worst loss that the data allow is below the margin.

    Not being shown worse is not being safe: with few users nothing is ever shown worse. An arm that is shown worse but by
    less than the margin is safe. The standard error of the lift is the delta method's.

    Args:
        effect: of the arm on the metric, its interval at `confidence`.
        margin: above 0.
        less_is_better: a rise is the loss.
        confidence: of "harmed", two-sided.
        reach: standard errors from the loss to its worst; the normal quantile of `confidence`, more when looked at often.
    """
    if effect.lift is None or effect.lift_interval is None:
        return Guardrail(margin, None, None, "not shown")
    sign = 1.0 if less_is_better else -1.0
    loss = sign * effect.lift * (1 if effect.control > 0 else -1)
    worst = loss + reach * effect.lift_interval.half_width / z_of(confidence)
    harmed = loss > 0 and effect.p < 1 - confidence
    return Guardrail(margin, loss, worst, "safe" if worst < margin else "harmed" if harmed else "not shown")
