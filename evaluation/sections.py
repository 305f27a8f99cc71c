"""Turns the parts of ReportData into the sections of report.json that rest on the log: estimates, trust, ranking."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from contracts.settings import EvaluationSettings
from evaluation.diagnostics import model_balance, noise_floor, overlap, unlogged_share, weight_histogram
from evaluation.estimators import ESTIMATORS, primary
from evaluation.intervals import Interval, Terms, bootstrap, percentile
from evaluation.logs import LoggedSlates
from evaluation.metrics import auc, expected_calibration_error, log_loss, ndcg_at_k, normalised_entropy
from evaluation.metrics import reliability_curve as curve_of
from evaluation.report_data import ReportData
from evaluation.verdict import Evidence, Verdict, cannot_say, judge

Section = dict[str, Any]
RANKERS = (
    ("ranker", "Ranker", "score"),
    ("popularity", "Popularity", "popularity"),
    ("logged_order", "Logged order", "logged_order"),
    ("oracle", "True click law", "oracle"),
)
_BINS = 10


def absent(reason: str) -> Section:
    """A section that is not there, and the line that says why."""
    return {"absent": reason}


def span(interval: Interval | None) -> dict[str, float] | None:
    """An interval as JSON."""
    return None if interval is None else {"low": interval.low, "high": interval.high}


def estimates(data: ReportData, log: LoggedSlates) -> Section:
    """Every estimator that the log allows, with its interval and its paired difference to the logged policy."""
    settings = data.settings
    held = {e.name: e.function(log, settings.weight_clip) for e in ESTIMATORS if e.missing(log) is None}
    draws = bootstrap(held, log.users, resamples=settings.bootstraps, seed=data.seed, name="estimates")
    clustered = int(log.users.max()) >= 1
    logged = held["on_policy"].value
    chosen = primary(log)
    rows = []
    for estimator in ESTIMATORS:
        row: Section = {"name": estimator.name, "label": estimator.label, "explanation": estimator.explanation}
        row |= dict.fromkeys(("value", "interval", "difference", "difference_interval", "absent"))
        reason = estimator.missing(log)
        if reason is None:
            name, value = estimator.name, held[estimator.name].value
            row["value"] = value
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
        "weight_clip": settings.weight_clip,
        "primary": None if chosen is None else chosen.name,
        "logged": logged,
        "true_logged": data.true_logged,
        "true_target": data.true_target,
        "rows": rows,
    }


def trust(data: ReportData, log: LoggedSlates) -> Section:
    """Effective sizes, weights, overlap and noise of the log."""
    settings = data.settings
    section: Section = {
        "slates": len(log),
        "users": int(log.users.max()) + 1,
        "impressions": int(log.present.sum()),
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
        return section | {"overlap": absent(no_propensities(log))}
    weights, found = log.slate_weights(), overlap(log)
    histogram = weight_histogram(weights)
    section["overlap"] = {
        "effective_size": found.effective_size,
        "effective_share": found.effective_share,
        "effective_size_by_slot": found.effective_size_by_slot.tolist(),
        "largest_weight": found.largest_weight,
        "largest_weight_share": found.largest_weight_share,
        "mean_weight": found.mean_weight,
        "mean_weight_interval": span(_interval(Terms.mean(weights), log.users, data, "mean weight")),
        "model_balance": _standard_errors(log, data),
        "weights": {
            "edges": histogram.edges.tolist(),
            "counts": histogram.counts.tolist(),
            "zeros": histogram.zeros,
        },
    }
    return section


def verdict(data: ReportData, log: LoggedSlates, estimated: Section, trusted: Section) -> Verdict:
    """The verdict on sections made by `estimates` and `trust`."""
    if "absent" in trusted["overlap"]:
        return cannot_say(trusted["overlap"]["absent"])
    row = next(row for row in estimated["rows"] if row["name"] == estimated["primary"])
    found = trusted["overlap"]
    evidence = Evidence(
        slates=trusted["slates"],
        effective_size=found["effective_size"],
        largest_weight_share=found["largest_weight_share"],
        balance=None if row["name"] == "snips" else found["model_balance"],
        mean_weight=_interval_of(found["mean_weight_interval"]),
        logged=estimated["logged"],
        target=row["value"],
        difference=_interval_of(row["difference_interval"]),
    )
    return judge(evidence, data.settings)


def ranking(impressions: pl.DataFrame, data: ReportData) -> Section:
    """AUC and NDCG of the ranker beside popularity, the logged order and, where it is known, the true click law."""
    if not _held(impressions, "score"):
        return absent("No ranking scores were given for the test part of the log.")
    rows = impressions.sort("user_id", "at", "slot").with_columns(logged_order=-pl.col("slot"))
    clicked = rows["clicked"].to_numpy()
    if not clicked.any():
        return absent("Nobody clicked in the test part of the log, so no order is better than another.")
    slate = rows.select(pl.struct("user_id", "at").rle_id()).to_series().to_numpy()
    user = rows["user_id"].rle_id().to_numpy().astype(np.int64)
    user_of_slate = user[np.concatenate(([True], slate[1:] != slate[:-1]))]
    shown = [(name, label, rows[column].to_numpy()) for name, label, column in RANKERS if _held(rows, column)]
    found = {name: ndcg_at_k(clicked, score, slate, data.settings.k) for name, _, score in shown}
    terms = {name: Terms.mean(result.values) for name, result in found.items()}
    users = user_of_slate[found["ranker"].groups]
    draws = bootstrap(terms, users, resamples=data.settings.bootstraps, seed=data.seed, name="ranking")
    clustered = np.unique(users).size > 1

    def known(values: npt.NDArray[np.float64]) -> Section | None:
        return span(percentile(values, data.settings.confidence)) if clustered else None

    return {
        "k": data.settings.k,
        "slates": int(found["ranker"].groups.size),
        "slates_without_click": found["ranker"].left_out,
        "rows": [
            {
                "name": name,
                "label": label,
                "ndcg": terms[name].value,
                "ndcg_interval": known(draws[name]),
                "gain_of_ranker": None if name == "ranker" else terms["ranker"].value - terms[name].value,
                "gain_of_ranker_interval": None if name == "ranker" else known(draws["ranker"] - draws[name]),
                "auc": auc(clicked, score),
            }
            for name, label, score in shown
        ],
    }


def calibration(impressions: pl.DataFrame, data: ReportData) -> Section:
    """Whether predicted click chances are click rates."""
    if not _held(impressions, "predicted_chance"):
        return absent("No click chances were predicted for the test part of the log.")
    rows = impressions.sort("user_id", "at", "slot")
    clicked, chance = rows["clicked"].to_numpy().astype(np.float64), rows["predicted_chance"].to_numpy()
    users = rows["user_id"].rle_id().to_numpy().astype(np.int64)
    curve = curve_of(clicked, chance, _BINS)
    terms = {
        str(b): Terms.ratio(clicked * (curve.bin_of_row == b), curve.bin_of_row == b) for b in range(curve.rows.size)
    }
    draws = bootstrap(terms, users, resamples=data.settings.bootstraps, seed=data.seed, name="calibration")
    clustered = np.unique(users).size > 1
    return {
        "impressions": int(clicked.size),
        "click_rate": float(clicked.mean()),
        "mean_prediction": float(chance.mean()),
        "calibration_error": expected_calibration_error(clicked, chance, _BINS),
        "log_loss": log_loss(clicked, chance),
        "normalised_entropy": normalised_entropy(clicked, chance),
        "bins": [
            {
                "predicted": float(curve.predicted[b]),
                "observed": float(curve.observed[b]),
                "observed_interval": span(percentile(draws[str(b)], data.settings.confidence)) if clustered else None,
                "impressions": int(curve.rows[b]),
            }
            for b in range(curve.rows.size)
        ],
    }


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


def _held(rows: pl.DataFrame, column: str) -> bool:
    return column in rows.columns and rows[column].null_count() == 0


def _interval(terms: Terms, users: npt.NDArray[np.int64], data: ReportData, name: str) -> Interval | None:
    if np.unique(users).size < 2:
        return None
    settings: EvaluationSettings = data.settings
    draws = bootstrap({name: terms}, users, resamples=settings.bootstraps, seed=data.seed, name=name)
    return percentile(draws[name], settings.confidence)


def _interval_of(value: dict[str, float] | None) -> Interval | None:
    return None if value is None else Interval(value["low"], value["high"])
