"""Turns an experiment into the sections of abtest.json that rest on its users."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np
from scipy.stats import chi2_contingency

from contracts.settings import ExperimentSettings
from evaluation.aa_check import aa_check, balance
from evaluation.effects import linearised, pooled_residual, z_of
from evaluation.experiment import Experiment
from evaluation.exposure_curve import exposure_curve
from evaluation.held_out import Heterogeneity, Ranked, heterogeneity
from evaluation.sample_ratio import ALARM_LEVEL, WARNING_LEVEL, likely_causes, sample_ratio, suspects
from evaluation.sections import absent, span
from evaluation.segments import segment_effects
from evaluation.sequential import UNPLANNED_USERS, watched

Section = dict[str, Any]


def arms(data: Experiment, plan: ExperimentSettings) -> list[Section]:
    """Users by arm, with the planned share."""
    shares = planned_shares(data, plan)
    total = data.counts.sum()
    return [
        {"name": name, "users": int(count), "share": count / total, "planned_share": share,
         "left_out": int(data.left_out.get(name, 0))}
        for name, count, share in zip(data.arms, data.counts, shares, strict=True)
    ]  # fmt: skip


def planned_shares(data: Experiment, plan: ExperimentSettings) -> list[float]:
    """Planned share of each arm, summing to 1."""
    shares = [plan.shares.get(name, 0.0) if plan.shares else 1.0 for name in data.arms]
    return [share / sum(shares) for share in shares]


def table(data: Experiment) -> Section:
    """What was read, and what is wrong with it."""
    return {
        "rows": data.rows,
        "users": len(data.users) + data.crossovers + sum(data.left_out.values()),
        "used": len(data.users),
        "crossovers": data.crossovers,
        "findings": [asdict(finding) for finding in data.findings],
    }


def split(data: Experiment, plan: ExperimentSettings) -> Section:
    """The sample-ratio check with what may be to blame."""
    found = sample_ratio(data.counts, planned_shares(data, plan))
    blamed = suspects(data.arm, planned_shares(data, plan), data.segments)
    return {
        "p": found.p,
        "level": found.level,
        "warning_level": WARNING_LEVEL,
        "alarm_level": ALARM_LEVEL,
        "causes": likely_causes(
            found, data.arms, crossovers=data.crossovers, left_out=data.left_out, suspected=blamed
        ),
        "suspects": [asdict(one) for one in blamed],
    }  # fmt: skip


def lost(data: Experiment) -> Section:
    """Users left out or without a known primary outcome, by arm, and whether the arms differ in it."""
    unknown = np.bincount(data.arm[~data.metrics[0].known], minlength=len(data.arms))
    gone = unknown + np.array([data.left_out.get(name, 0) for name in data.arms])
    kept = data.counts - unknown
    p = float(chi2_contingency(np.stack([gone, kept])).pvalue) if gone.sum() and kept.sum() else None
    return {
        "users": dict(zip(data.arms, gone.tolist(), strict=True)),
        "share": float(gone.sum() / (gone + kept).sum()),
        "p": p,
    }


def checks(data: Experiment, plan: ExperimentSettings, seed: int) -> tuple[Section, Section]:
    """The A/A check on the primary metric, and the balance of covariates."""
    metric, control = data.metrics[0], (data.arm == 0) & data.metrics[0].known
    below = None if metric.below is None else metric.below[control]
    none = metric.absent is not None
    values = (
        np.zeros(0) if none else linearised(metric.above[control], below, np.zeros(int(control.sum()), np.int64), 1)
    )
    share = float((data.counts[1:] / (data.counts[0] + data.counts[1:])).min())
    found = aa_check(values, share=min(share, 1 - share), splits=plan.aa_splits, seed=seed)
    aa = absent("Control has too few users, or an outcome that does not vary.")
    if found is not None:
        aa = asdict(found) | {"interval": span(found.interval), "p_values": found.p_values.tolist()}
    even = balance(data.covariates.values, data.arm, len(data.arms))
    if even is None:
        return aa, absent("No covariates were named.")
    gaps = [{"name": name, "gap": float(gap)} for name, gap in zip(data.covariates.names, even.gaps, strict=True)]
    return aa, {"p": even.p, "covariates": gaps}


def sequential(data: Experiment, plan: ExperimentSettings) -> list[Section] | Section:
    """The primary difference of each arm as it would have been seen over time."""
    metric = data.metrics[0]
    if metric.absent is not None:
        return absent(f"{metric.absent[:1].upper()}{metric.absent[1:]}.")
    if data.assigned is None:
        return absent("Users have no time of assignment (--assigned-at), so there is no order to look back in.")
    sections = []
    for place, name in enumerate(data.arms[1:], start=1):
        pair = metric.known & ((data.arm == 0) | (data.arm == place))
        treated = (data.arm[pair] == place).astype(np.int64)
        below = None if metric.below is None else metric.below[pair]
        values = linearised(metric.above[pair], below, treated, 2)
        if not np.isfinite(values).all():
            return absent("An arm's denominators are all 0.")
        values = pooled_residual(values, treated, 2, data.covariates.values[pair])
        order = np.argsort(data.assigned[pair], kind="stable")
        planned = round((plan.planned_users or UNPLANNED_USERS) * pair.sum() / len(data.users))
        path = watched(
            values,
            treated == 1,
            order,
            planned=max(planned, 2),
            alpha=1 - plan.confidence,
            critical=z_of(plan.confidence),
        )
        sections.append({"arm": name} | {key: value.tolist() for key, value in asdict(path).items()})
    return sections


def segments(data: Experiment, plan: ExperimentSettings) -> Section:
    """Effects by segment under control of false discoveries."""
    if not data.segments:
        return absent("No segments were named.")
    found, spreads = segment_effects(data, confidence=plan.confidence, method=plan.false_discovery)
    return {
        "method": plan.false_discovery,
        "level": 1 - plan.confidence,
        "effects": [
            {
                "metric": one.metric,
                "segment": one.segment,
                "level": one.level,
                "arm": one.arm,
                "users": one.users,
                "q": one.q,
            }
            | {name: getattr(one.effect, name) for name in ("control", "treatment", "difference", "p")}
            | {"interval": span(one.effect.interval)}
            for one in found
        ],
        "spreads": [asdict(one) for one in spreads],
    }


def exposure(data: Experiment, plan: ExperimentSettings) -> list[Section] | Section:
    """The primary effect by days since assignment, for each arm."""
    made = []
    for place, name in enumerate(data.arms[1:], start=1):
        found = exposure_curve(data, 0, place, days=plan.exposure_days, confidence=plan.confidence)
        if isinstance(found, str):
            return absent(f"{found[:1].upper()}{found[1:]}.")
        made.append(
            {"arm": name, "users": found.users, "difference": found.difference.tolist(), "half_width": found.half_width.tolist(),
             "slope": found.slope, "slope_interval": span(found.slope_interval), "slope_p": found.slope_p}
        )  # fmt: skip
    return made


def personal(data: Experiment, plan: ExperimentSettings, seed: int) -> Section:
    """Whether effects differ between users, checked on users nobody learned from, and what that is worth."""
    found = heterogeneity(data, 0, confidence=plan.confidence, seed=seed)
    if isinstance(found, str):
        return absent(f"{found[:1].upper()}{found[1:]}.")
    return asdict(found) | {
        "ranked": [_ranked(one) for one in found.ranked],
        "gain_interval": span(found.gain_interval),
        "sentence": _personal_sentence(found),
    }


def _ranked(one: Ranked) -> Section:
    kept = {name: getattr(one, name) for name in ("arm", "autoc", "qini", "found")}
    spans = {name: span(getattr(one, name)) for name in ("autoc_interval", "qini_interval")}
    return kept | spans | {"effects": one.effects.tolist(), "half_widths": one.half_widths.tolist()}


def _personal_sentence(found: Heterogeneity) -> str:
    differ = [one.arm for one in found.ranked if one.found]
    if not differ:
        head = "No difference between users that holds on held-out users was found"
        return f"{head}: give everybody the same arm."
    head = f"The effect of {' and of '.join(differ)} differs between users, and held-out users confirm it"
    if found.gain_interval.low > 0:
        return f"{head}; giving each user the arm predicted best earns more than {found.best_arm} for all."
    return (
        f"{head}, but giving each user the arm predicted best is not shown to earn more than {found.best_arm} for all: "
        "no lift from personalising is claimed."
    )
