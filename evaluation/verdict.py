"""Turns the evidence into "ship", "hold" or "the data cannot say", with every rule and one plain sentence.

The rules, in order (docs/verdict.md says how often a verdict by them is wrong). All but the last ask whether the log can
answer at all; all must hold:

1. propensities  every logged choice carries its chance under the logging policy and under the new one;
2. effective size  the reweighted log is worth at least `settings.min_effective_size` slates;
3. effective share  and at least `settings.min_effective_share` of the log;
4. clicks  the estimate rests on at least MIN_CLICKS reweighted clicks;
5. largest weight  no single slate carries more than LARGEST_WEIGHT_SHARE of all weight;
6. mean weight  the MEAN_WEIGHT_CONFIDENCE interval of the mean weight contains 1, as it must when the propensities are
   right (a 95 % one would miss 1 in 20 sound logs);
7. never logged  at most UNLOGGED_SHARE of the new policy's choices are concepts that were never logged (not known: holds);
8. model balance  under the weights, the model's chance of what was logged averages to its expectation under the new
   policy, within BALANCE_ERRORS standard errors: it does when both are computed for the same policy (no model: holds);
9. agreement  the estimators that must agree lie within AGREEMENT_ERRORS standard errors of the one used;
10. interval  the difference has an interval (at least two users, and an estimator that is defined on the resamples).

If one of them fails: "the data cannot say". Otherwise:

11. gain  the interval of (new policy - logged policy) lies above 0: "ship"; else "hold".
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from contracts.settings import EvaluationSettings
from evaluation.intervals import Interval

Outcome = Literal["ship", "hold", "the data cannot say"]
LARGEST_WEIGHT_SHARE = 0.10
BALANCE_ERRORS = 4.0
AGREEMENT_ERRORS = 4.0
MIN_CLICKS = 10.0
UNLOGGED_SHARE = 0.05
DRIFT_ERRORS = 4.0
MEAN_WEIGHT_CONFIDENCE = 0.999


@dataclass(frozen=True, slots=True)
class Evidence:
    """What the verdict looks at; values in clicks per slate.

    Attributes:
        slates: in the log.
        effective_size: slates the reweighted log is worth.
        largest_weight_share: of all weight, on one slate; NaN when there is no weight.
        mean_weight: interval of the mean weight, at MEAN_WEIGHT_CONFIDENCE.
        effective_clicks: clicks the reweighted log is worth; `clicks`: clicks in the log.
        unlogged_share: of the new policy's choices on concepts that were never logged, in [0, 1]; None: not known.
        disagreement: standard errors between the estimate used and the furthest that must agree; None: no other.
        drifting_slot: first slot, from 0, whose own weights are off 1 by DRIFT_ERRORS while the first one's are not; None:
            none is.
        balance: standard errors between the model's weighted chance of the logged choices and its expectation; None:
            the verdict rests on no model.
        logged: the logged policy's value.
        target: the new policy's value; NaN when undefined.
        difference: interval of target - logged, paired.
    """

    slates: int
    effective_size: float
    largest_weight_share: float
    mean_weight: Interval | None
    balance: float | None
    logged: float
    target: float
    difference: Interval | None
    effective_clicks: float
    clicks: int
    unlogged_share: float | None = None
    disagreement: float | None = None
    drifting_slot: int | None = None


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule: whether it holds, what was measured, what was asked for. `passed` is None when it was not reached."""

    name: str
    passed: bool | None
    measured: str
    required: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """The outcome, one sentence with the numbers, and the rules behind it in order."""

    outcome: Outcome
    sentence: str
    rules: tuple[Rule, ...]


def judge(evidence: Evidence, settings: EvaluationSettings) -> Verdict:
    """The verdict on a log that carries propensities, by the rules above."""
    rules = _rules(evidence, settings)
    failed = [reason for rule, reason in rules if not rule.passed]
    kept = tuple(rule for rule, _ in rules)
    gain = _gain_rule(evidence, reached=not failed)
    if failed:
        return Verdict("the data cannot say", f"The data cannot say: {failed[0]}.", (*kept, gain))
    sentence = _sentence(evidence, evidence.difference or Interval(0.0, 0.0), settings)
    return Verdict("ship" if gain.passed else "hold", sentence, (*kept, gain))


def cannot_say(reason: str) -> Verdict:
    """The verdict on a log that fails rule 1; `reason` is a clause without a full stop."""
    rule = Rule("Propensities", False, reason, "a chance logged with every choice")
    return Verdict("the data cannot say", f"The data cannot say: {reason}.", (rule,))


def per_hundred(value: float, *, signed: bool = False, digits: int = 1) -> str:
    """Clicks per slate, written per 100 slates, such as "27.4" or, signed, "+3.8" or "\u22121.2"."""
    text = f"{100 * value:{'+' if signed else ''}.{digits}f}"
    if float(text) == 0:
        text = text.lstrip("+-")
    return text.replace("-", "\u2212")


def digits_for(width: float) -> int:
    """Decimals, per 100 slates, that show an interval of this half-width (clicks per slate) to two figures."""
    return 1 if 100 * width >= 0.5 or width < 1e-9 else 2 if 100 * width >= 0.05 else 3


def _rules(evidence: Evidence, settings: EvaluationSettings) -> list[tuple[Rule, str]]:
    """Rules 1 to 10, each with the clause to say when it fails."""
    size, share = evidence.effective_size, evidence.effective_size / evidence.slates
    largest, mean = evidence.largest_weight_share, evidence.mean_weight
    widest = f"{100 * largest:.1f} % of all weight" if math.isfinite(largest) else "no weight at all"
    off, unlogged, apart = evidence.balance, evidence.unlogged_share, evidence.disagreement
    balanced = off is None or off <= BALANCE_ERRORS
    has_interval = evidence.difference is not None and math.isfinite(evidence.target)
    span = "unknown" if mean is None else f"{mean.low:.2f} to {mean.high:.2f}"
    return [
        (Rule("Propensities", True, "logged", "a chance logged with every choice"), ""),
        (
            Rule("Effective sample size", size >= settings.min_effective_size, f"{size:,.0f} slates",
                 f"at least {settings.min_effective_size:,}"),
            f"after reweighting, {evidence.slates:,} logged slates are worth only {size:,.0f}, and "
            f"{settings.min_effective_size:,} are needed",
        ),
        (
            Rule("Effective share of the log", share >= settings.min_effective_share, f"{100 * share:.1f} %",
                 f"at least {100 * settings.min_effective_share:g} %"),
            f"the new policy is so unlike the logged one that only {100 * share:.2g} % of the log speaks for it, and "
            f"{100 * settings.min_effective_share:g} % are needed",
        ),
        (
            Rule("Clicks behind the estimate", evidence.effective_clicks >= MIN_CLICKS, f"{evidence.effective_clicks:,.1f}",
                 f"at least {MIN_CLICKS:g}"),
            f"the log holds {evidence.clicks:,} click{'s' if evidence.clicks != 1 else ''}, worth "
            f"{evidence.effective_clicks:,.1f} after reweighting, and {MIN_CLICKS:g} are needed",
        ),
        (
            Rule("Largest single weight", largest <= LARGEST_WEIGHT_SHARE, widest,
                 f"at most {100 * LARGEST_WEIGHT_SHARE:g} %"),
            f"a single slate carries {100 * largest:.0f} % of all weight, so the estimate would rest on one event",
        ),
        (
            Rule("Mean weight", mean is not None and 1.0 in mean, span,
                 f"a {100 * MEAN_WEIGHT_CONFIDENCE:g} % interval that contains 1"),
            f"the mean weight is {span} where it must be 1, so {_off(evidence)}",
        ),
        (
            Rule("Never logged", unlogged is None or unlogged <= UNLOGGED_SHARE,
                 "not known" if unlogged is None else f"{100 * unlogged:.1f} %", f"at most {100 * UNLOGGED_SHARE:g} %"),
            f"{100 * (unlogged or 0.0):.0f} % of the new policy's choices are concepts that were never logged",
        ),
        (
            Rule("Model balance", balanced, "no model used" if off is None else f"{off:.1f} standard errors off",
                 f"at most {BALANCE_ERRORS:g}"),
            f"the click model's expectation is {off or 0.0:.1f} standard errors from what the weights make of it, so "
            "the two do not describe the same policy",
        ),
        (
            Rule("Agreement of estimators", apart is None or apart <= AGREEMENT_ERRORS,
                 "no other estimator" if apart is None else f"{apart:.1f} standard errors apart",
                 f"at most {AGREEMENT_ERRORS:g}"),
            f"estimators that must agree are {apart or 0.0:.1f} standard errors apart, so one of their assumptions fails",
        ),
        (
            Rule("Interval of the difference", has_interval, "known" if has_interval else "unknown", "known"),
            "the difference has no interval, as too few users or slates speak for the new policy",
        ),
    ]  # fmt: skip


def _off(evidence: Evidence) -> str:
    """Why a mean weight may not be 1."""
    if evidence.drifting_slot is not None:
        return (
            f"the propensities from slot {evidence.drifting_slot} on cannot be chances given the earlier slots; perhaps they "
            "are chances of a slot alone"
        )
    return "the logged propensities cannot be right or the new policy shows what was never logged"


def _gain_rule(evidence: Evidence, *, reached: bool) -> Rule:
    required = "an interval above 0"
    if not reached or evidence.difference is None:
        return Rule("Gain over the logged policy", None, "not judged", required)
    low, high = evidence.difference.low, evidence.difference.high
    digits = digits_for(evidence.difference.half_width)
    measured = f"{per_hundred(low, signed=True, digits=digits)} to {per_hundred(high, signed=True, digits=digits)}"
    return Rule("Gain over the logged policy", low > 0, f"{measured} per 100 slates", required)


def _sentence(evidence: Evidence, difference: Interval, settings: EvaluationSettings) -> str:
    digits = digits_for(difference.half_width)

    def say(value: float, *, signed: bool = False) -> str:
        return per_hundred(value, signed=signed, digits=digits)

    gap = evidence.target - evidence.logged
    span = (
        f"{100 * settings.confidence:g} % interval "
        f"{say(difference.low, signed=True)} to {say(difference.high, signed=True)}"
    )
    values = f"{say(evidence.target)} clicks per 100 slates against the {say(evidence.logged)} logged"
    if difference.low > 0:
        return f"Ship: the new policy is expected to earn {values}, a gain of {say(gap)} ({span})."
    if difference.high < 0:
        return f"Hold: the new policy is expected to earn only {values}, a loss of {say(-gap)} ({span})."
    return f"Hold: the new policy is expected to earn {values}, but the difference could be nothing ({span})."
