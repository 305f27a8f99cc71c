"""Turns the parts of ReportData into the sections of report.json that rest on the log: estimates, trust, ranking."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from contracts.settings import EvaluationSettings
from evaluation.bounds import asymptotic, asymptotic_sequence, confidence_sequence, empirical_bernstein
from evaluation.catalogue import ESTIMATORS, UNBIASED, clips, draws_of, preferred, primary
from evaluation.catalogue import estimates as estimates_of
from evaluation.diagnostics import (
    effective_clicks,
    model_balance,
    noise_floor,
    overlap,
    slot_drift,
    unlogged_share,
    weight_histogram,
)
from evaluation.estimators import clipped_ips, ips
from evaluation.intervals import Interval, Terms, bootstrap, percentile
from evaluation.logs import LoggedSlates
from evaluation.report_data import ReportData
from evaluation.sensitivity import GAMMAS, clip_curve, confounding, disagreement, tipping_gamma
from evaluation.verdict import DRIFT_ERRORS, MEAN_WEIGHT_CONFIDENCE, Evidence, Verdict, cannot_say, judge

Section = dict[str, Any]
_CAP = 10.0  # the weight that empirical Bernstein is told beforehand


def absent(reason: str) -> Section:
    """A section that is not there, and the line that says why."""
    return {"absent": reason}


def span(interval: Interval | None) -> dict[str, float] | None:
    """An interval as JSON."""
    return None if interval is None else {"low": interval.low, "high": interval.high}


def estimates(data: ReportData, log: LoggedSlates) -> Section:
    """Every estimator that the log allows, with its interval and its paired difference to the logged policy."""
    settings = data.settings
    found = estimates_of(log)
    held = {name: one.terms for name, one in found.items()}
    draws = draws_of(found, log.users, resamples=settings.bootstraps, seed=data.seed, name="estimates")
    clustered = int(log.users.max()) >= 1
    logged = held["on_policy"].value
    chosen = primary(log)
    rows = []
    for estimator in ESTIMATORS:
        row: Section = {"name": estimator.name, "label": estimator.label, "explanation": estimator.explanation}
        row |= dict.fromkeys(("value", "interval", "difference", "difference_interval", "parameter", "absent"))
        reason = estimator.missing(log)
        if reason is None:
            name, value = estimator.name, held[estimator.name].value
            row["value"] = value
            row["parameter"] = found[name].parameter
            if np.isnan(value):
                row["absent"] = "no logged slate could have come from the new policy"
            if clustered:
                row["interval"] = span(percentile(draws[name], settings.confidence))
            if name != "on_policy":
                row["difference"] = value - logged
                if clustered:
                    gap = draws[name] - draws["on_policy"]
                    row["difference_interval"] = span(percentile(gap, settings.confidence))
        else:
            row["absent"] = reason
        rows.append(row)
    return {
        "unit": "expected clicks per slate",
        "confidence": settings.confidence,
        "resamples": settings.bootstraps,
        "primary": None if chosen is None else chosen.name,
        "preferred": preferred(found, log.users) if clustered else None,
        "logged": logged,
        "true_logged": data.true_logged,
        "true_target": data.true_target,
        "rows": rows,
        "intervals": [] if chosen is None or not clustered else _intervals(log, held, chosen.name, data, rows),
    }


def _intervals(
    log: LoggedSlates, held: dict[str, Terms], chosen: str, data: ReportData, rows: list[Section]
) -> list[Section]:
    """The same question answered by every method of intervals."""
    level = data.settings.confidence
    labels = {row["name"]: row["label"] for row in rows}
    own = next(row for row in rows if row["name"] == chosen)
    terms, logged = held[chosen], held["on_policy"]
    found = [
        ("Bootstrap of users", chosen, own["interval"], own["difference_interval"], "covers as stated"),
        ("Asymptotic", chosen, span(asymptotic(terms, log.users, confidence=level)),
         span(asymptotic(terms, log.users, minus=logged, confidence=level)), "covers as stated, with many users"),
        ("Asymptotic, at any time", chosen, span(asymptotic_sequence(terms, log.users, confidence=level)),
         span(asymptotic_sequence(terms, log.users, minus=logged, confidence=level)), "holds however often one looks, with many users"),
    ]  # fmt: skip
    capped = clipped_ips(log, _CAP).contributions
    slots = float(log.present.sum(axis=1).mean())
    bound = empirical_bernstein(capped, log.users, lowest=0.0, highest=_CAP * log.present.shape[1], confidence=level)
    weights = log.weights()
    low, high = confidence_sequence(
        ips(log).contributions, (weights * (1 - log.clicked)).sum(axis=1), log.users, total=slots, confidence=level
    )
    found += [
        (f"Empirical Bernstein, weights up to {_CAP:g}", "clipped_ips", span(bound), None, "holds in any sample; wide"),
        ("Confidence sequence", "ips", {"low": float(low[-1]), "high": float(high[-1])}, None,
         "holds in any sample, however often one looks; wide"),
    ]  # fmt: skip
    return [
        {"method": method, "estimator": labels[name], "interval": value, "difference_interval": gap, "promise": promise}
        for method, name, value, gap, promise in found
    ]


def trust(data: ReportData, log: LoggedSlates) -> Section:
    """Effective sizes, weights, overlap and noise of the log."""
    settings = data.settings
    section: Section = {
        "slates": len(log),
        "users": int(log.users.max()) + 1,
        "impressions": int(log.present.sum()),
        "clicks": int(log.clicked.sum()),
        "slates_left_out": log.left_out,
        "noise_floor": noise_floor(
            log.clicked.sum(axis=1),
            log.users,
            confidence=settings.confidence,
            resamples=settings.bootstraps,
            seed=data.seed,
        ),
        "unlogged_share": None if data.concept_shares is None else unlogged_share(data.concept_shares),
    }
    if log.propensity is None or log.target_propensity is None:
        return section | {"overlap": absent(no_propensities(log)), "propensities": "none"}
    weights, found = log.slate_weights(), overlap(log)
    histogram = weight_histogram(weights)
    section["overlap"] = {
        "effective_size": found.effective_size,
        "effective_share": found.effective_share,
        "effective_size_by_slot": found.effective_size_by_slot.tolist(),
        "effective_clicks": effective_clicks(log),
        "largest_weight": found.largest_weight,
        "largest_weight_share": found.largest_weight_share,
        "mean_weight": found.mean_weight,
        "mean_weight_interval": span(_interval(Terms.mean(weights), log.users, data, "mean weight")),
        "model_balance": _standard_errors(log, data),
        "slot_drift": slot_drift(log).tolist(),
        "agreement": _agreement(log),
        "clipping": [
            {
                "clip": one.clip,
                "value": one.value,
                "standard_error": one.standard_error,
                "weight_removed": one.weight_removed,
                "slates": one.slates,
            }
            for one in clip_curve(log, clips(log))
        ],
        "weights": {
            "edges": histogram.edges.tolist(),
            "counts": histogram.counts.tolist(),
            "zeros": histogram.zeros,
        },
    }
    if data.propensities_estimated:
        section["confounding"] = _confounding(log)
    return section | {"propensities": "estimated" if data.propensities_estimated else "logged"}


def _agreement(log: LoggedSlates) -> Section:
    """The estimator furthest from the one the verdict rests on; nulls where there is no other."""
    chosen, found = primary(log), None
    if chosen is not None and np.unique(log.users).size > 1:
        held = {
            one.name: one.estimate(log).terms for one in ESTIMATORS if one.name in UNBIASED and not one.missing(log)
        }
        found = disagreement(held, log.users, chosen.name)
    name, errors = found or (None, None)
    return {"estimator": name, "standard_errors": errors}


def _confounding(log: LoggedSlates) -> Section:
    """How far estimated propensities may be off before the sign of the gain is lost."""
    ends = [confounding(log, gamma) for gamma in GAMMAS]
    return {
        "tipping_gamma": tipping_gamma(log, float(log.clicked.sum(axis=1).mean())),
        "bounds": [{"gamma": one.gamma, "low": one.low, "high": one.high} for one in ends],
    }


def verdict(data: ReportData, log: LoggedSlates, estimated: Section, trusted: Section) -> Verdict:
    """The verdict on sections made by `estimates` and `trust`."""
    if "absent" in trusted["overlap"]:
        return cannot_say(trusted["overlap"]["absent"])
    if data.propensities_estimated:
        tipping = trusted["confounding"]["tipping_gamma"]
        enough = (
            "" if tipping is None else f"; odds that are off by a factor of {tipping:.2f} would undo the difference"
        )
        return cannot_say(f"the propensities were estimated from the log, not written down when it chose{enough}")
    row = next(row for row in estimated["rows"] if row["name"] == estimated["primary"])
    found = trusted["overlap"]
    evidence = Evidence(
        slates=trusted["slates"],
        effective_size=found["effective_size"],
        largest_weight_share=found["largest_weight_share"],
        balance=None if row["name"] == "snips" else found["model_balance"],
        mean_weight=asymptotic(Terms.mean(log.slate_weights()), log.users, confidence=MEAN_WEIGHT_CONFIDENCE),
        logged=estimated["logged"],
        target=row["value"],
        difference=_interval_of(row["difference_interval"]),
        effective_clicks=found["effective_clicks"],
        clicks=trusted["clicks"],
        unlogged_share=trusted["unlogged_share"],
        disagreement=found["agreement"]["standard_errors"],
        drifting_slot=_drifting(found["slot_drift"]),
    )
    return judge(evidence, data.settings)


def _drifting(errors: list[float]) -> int | None:
    """The first slot that is off while the first one is not."""
    off = [slot for slot, error in enumerate(errors) if abs(error) > DRIFT_ERRORS]
    return off[0] if off and off[0] > 0 else None


def no_propensities(log: LoggedSlates) -> str:
    """The clause that says why no reweighting is possible."""
    if log.propensity is None:
        rows = int(log.present.sum())
        if log.unlogged_rows >= rows:
            return "the log carries no propensities, so no other policy can be valued from it"
        return f"{log.unlogged_rows:,} of {rows:,} logged impressions carry no propensity"
    return "the new policy's chances of the logged choices are not known"


def _standard_errors(log: LoggedSlates, data: ReportData) -> float | None:
    """How many standard errors the model is out of balance; None without a model or with fewer than two users."""
    if log.predicted is None or log.expected is None or np.unique(log.users).size < 2:
        return None
    gap = Terms.mean(model_balance(log))
    draws = bootstrap({"": gap}, log.users, resamples=data.settings.bootstraps, seed=data.seed, name="model balance")[
        ""
    ]
    error = float(draws.std())
    # a gap that never varies is rounding, or a contradiction on every slate
    return abs(gap.value) / error if error > 1e-12 else (0.0 if abs(gap.value) < 1e-9 else 1000.0)


def _interval(terms: Terms, users: npt.NDArray[np.int64], data: ReportData, name: str) -> Interval | None:
    if np.unique(users).size < 2:
        return None
    settings: EvaluationSettings = data.settings
    draws = bootstrap({name: terms}, users, resamples=settings.bootstraps, seed=data.seed, name=name)
    return percentile(draws[name], settings.confidence)


def _interval_of(value: dict[str, float] | None) -> Interval | None:
    return None if value is None else Interval(value["low"], value["high"])
