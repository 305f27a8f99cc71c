"""Turns an experiment into the sections of abtest.json on effects: every metric, what decides, and guardrails."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np
from scipy.stats import norm

from contracts.settings import ExperimentSettings
from evaluation.effects import ArmMeans, Effect, arm_means, contrast, linearised, variance_cut, z_of
from evaluation.experiment import Experiment, Metric
from evaluation.guardrails import Guardrail, guardrail
from evaluation.intervals import Interval
from evaluation.power import detectable, power_of, users_needed
from evaluation.sections import span
from evaluation.segments import adjusted_p
from evaluation.sequential import UNPLANNED_USERS, always_valid_p, half_width, mixing_variance

Section = dict[str, Any]


def effects(data: Experiment, plan: ExperimentSettings) -> list[Section]:
    """Every metric and arm: plain, adjusted, always-valid, detectable, and false-discovery adjusted over all of them."""
    rows = [row for metric in data.metrics for row in _metric_effects(data, metric, plan)]
    known = [row for row in rows if row["absent"] is None]
    for row, q in zip(known, adjusted_p([row["p"] for row in known], plan.false_discovery), strict=True):
        row["q"] = float(q)
    return rows


def _metric_effects(data: Experiment, metric: Metric, plan: ExperimentSettings) -> list[Section]:
    arm, count = data.arm[metric.known], len(data.arms)
    reason = metric.absent
    if reason is None and np.bincount(arm, minlength=count).min() < 2:
        reason = "an arm has fewer than 2 users with a known outcome"
    values = np.zeros(0)
    if reason is None:
        below = None if metric.below is None else metric.below[metric.known]
        values = linearised(metric.above[metric.known], below, arm, count)
        if not np.isfinite(values).all():
            reason = "an arm's denominators are all 0"
    if reason is not None:
        return [_empty(metric, name) | {"absent": reason} for name in data.arms[1:]]
    plain = arm_means(values, arm, count)
    adjusted = arm_means(values, arm, count, data.covariates.values[metric.known]) if data.covariates.names else plain
    rows = []
    for place, name in enumerate(data.arms[1:], start=1):
        before = contrast(plain, place, confidence=plan.confidence)
        after = contrast(adjusted, place, confidence=plan.confidence)
        rows.append(
            _empty(metric, name)
            | {"absent": None, "users": int(metric.known.sum())}
            | _effect(after)
            | {"plain": _effect(before), "variance_cut": variance_cut(before, after)}
            | {
                "always_valid": _always_valid(
                    after.difference, after.standard_error, int(plain.counts.sum()), plan, plan.confidence
                )
            }
            | {"power": _power(after, adjusted, place, plan)}
        )
    return rows


def _empty(metric: Metric, arm: str) -> Section:
    unit = "share" if metric.is_share else "number"
    numbers = ("control", "treatment", "difference", "interval", "p", "lift", "lift_interval", "standard_error")
    rest = ("q", "users", "plain", "variance_cut", "always_valid", "power")
    made: Section = dict.fromkeys((*numbers, *rest))
    return {"metric": metric.name, "arm": arm, "unit": unit, "less_is_better": metric.less_is_better} | made


def _effect(effect: Effect) -> Section:
    return asdict(effect) | {"interval": span(effect.interval), "lift_interval": span(effect.lift_interval)}


def _always_valid(
    difference: float, error: float, users: int, plan: ExperimentSettings, confidence: float
) -> Section | None:
    """The always-valid interval and p of one look; None when nothing varies."""
    if error == 0:
        return None
    variance, alpha = error**2, 1 - confidence
    mixing = mixing_variance(variance * users / (plan.planned_users or UNPLANNED_USERS), alpha)
    reach = float(half_width(variance, mixing, alpha))
    interval = {"low": difference - reach, "high": difference + reach}
    return {"interval": interval, "p": float(always_valid_p(difference, variance, mixing))}


def primary(rows: list[Section], data: Experiment, plan: ExperimentSettings) -> Section:
    """The first metric's arms with the intervals that the verdict rests on, and the best arm against the next."""
    metric = data.metrics[0]
    level = 1 - (1 - plan.confidence) / (len(data.arms) - 1)
    own = [row for row in rows if row["metric"] == metric.name and row["absent"] is None]
    sign = -1 if metric.less_is_better else 1
    order = sorted(own, key=lambda row: -sign * float(row["difference"]))
    against = None
    if len(order) > 1:
        first, second = (data.arms.index(row["arm"]) for row in order[:2])
        below = None if metric.below is None else metric.below[metric.known]
        arm, x = data.arm[metric.known], data.covariates.values[metric.known]
        means = arm_means(linearised(metric.above[metric.known], below, arm, len(data.arms)), arm, len(data.arms), x)
        effect = contrast(means, first, second, confidence=plan.confidence)
        names = {"arm": data.arms[first], "next": data.arms[second]}
        against = names | {"difference": effect.difference, "interval": span(effect.interval)}
    return {
        "metric": metric.name,
        "design": "planned" if is_planned(data, plan) else "always-valid",
        "confidence": level,
        "arms": [{"arm": row["arm"], "interval": span(_decisive(row, level, data, plan))} for row in own],
        "against_next": against,
    }


def _decisive(row: Section, level: float, data: Experiment, plan: ExperimentSettings) -> Interval:
    """The interval of a primary effect by the design, at the raised confidence `level`."""
    if is_planned(data, plan):
        reach = z_of(level) / z_of(plan.confidence) * (row["interval"]["high"] - row["difference"])
        return Interval(row["difference"] - reach, row["difference"] + reach)
    held = _always_valid(row["difference"], row["standard_error"], row["users"], plan, level)
    return Interval(row["difference"], row["difference"]) if held is None else Interval(**held["interval"])


def _power(effect: Effect, means: ArmMeans, place: int, plan: ExperimentSettings) -> Section:
    variances = (float(means.residual[0]), float(means.residual[place]))
    users = (int(means.counts[0]), int(means.counts[place]))
    alpha = 1 - plan.confidence
    smallest = detectable(variances, users, alpha=alpha, power=plan.power)
    wanted = None if plan.relevant_lift is None else plan.relevant_lift * abs(effect.control)
    needed = None
    if wanted and sum(variances):
        share = users[0] / sum(users)
        needed = users_needed(wanted, variances, alpha=alpha, power=plan.power, control_share=share)
    return {
        "detectable": smallest,
        "detectable_lift": smallest / abs(effect.control) if effect.control else None,
        "power_for_relevant": power_of(wanted, variances, users, alpha=alpha) if wanted else None,
        "users_for_relevant": needed,
    }


def guardrails(rows: list[Section], data: Experiment, plan: ExperimentSettings) -> list[Section]:
    """Non-inferiority of every guardrail in every arm; a metric that cannot be compared is not shown safe."""
    made = []
    for row in rows:
        if row["metric"] in plan.guardrails:
            found = {"margin": plan.guardrails[row["metric"]], "loss": None, "worst": None, "state": "not shown"}
            if row["absent"] is None:
                found = asdict(_guardrail(row, data, plan))
            made.append({"metric": row["metric"], "arm": row["arm"]} | found)
    return made


def _guardrail(row: Section, data: Experiment, plan: ExperimentSettings) -> Guardrail:
    reach = float(norm.ppf(plan.confidence))
    if not is_planned(data, plan) and row["always_valid"] is not None:
        reach = (row["always_valid"]["interval"]["high"] - row["difference"]) / row["standard_error"]
    lift = None if row["lift_interval"] is None else Interval(**row["lift_interval"])
    numbers = {name: row[name] for name in ("control", "treatment", "difference", "standard_error", "p", "lift")}
    effect = Effect(interval=Interval(**row["interval"]), lift_interval=lift, **numbers)
    margin, less = plan.guardrails[row["metric"]], row["less_is_better"]
    return guardrail(effect, margin, less_is_better=less, confidence=plan.confidence, reach=reach)


def is_planned(data: Experiment, plan: ExperimentSettings) -> bool:
    """Whether the planned number of users is reached, so that one look is all there is."""
    return plan.planned_users is not None and len(data.users) >= plan.planned_users
