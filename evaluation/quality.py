"""Turns the parts of ReportData into the sections of report.json on quality: ranking, calibration, assortment."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from evaluation.assortment import assortment as assortment_of
from evaluation.calibration_days import calibration_days, drift
from evaluation.intervals import Floats, Ints, Terms, bootstrap, percentile
from evaluation.metric_intervals import auc_draws, basic, calibration_draws, entropy_draws
from evaluation.metrics import auc, expected_calibration_error, log_loss, normalised_entropy
from evaluation.metrics import reliability_curve as curve_of
from evaluation.ranked import PerGroup, average_precision, grouped_auc, ndcg_at_k, recall_at_k, reciprocal_rank
from evaluation.report_data import ReportData
from evaluation.sections import Section, absent, span

RANKERS = (
    ("ranker", "Ranker", "score"),
    ("popularity", "Popularity", "popularity"),
    ("logged_order", "Logged order", "logged_order"),
    ("oracle", "True click law", "oracle"),
)
_BINS = 10
_RECALL_AT = 1  # slates are short: is the clicked concept the first


def ranking(impressions: pl.DataFrame, data: ReportData) -> Section:
    """Ranking figures of the ranker beside popularity, the logged order and, where it is known, the true click law."""
    if not _held(impressions, "score"):
        return absent("No ranking scores were given for the test part of the log.")
    rows = impressions.sort("user_id", "at", "slot").with_columns(logged_order=-pl.col("slot"))
    clicked = rows["clicked"].to_numpy()
    if not clicked.any():
        return absent("Nobody clicked in the test part of the log, so no order is better than another.")
    slate = rows.select(pl.struct("user_id", "at").rle_id()).to_series().to_numpy().astype(np.int64)
    user = rows["user_id"].rle_id().to_numpy().astype(np.int64)
    user_of_slate = user[np.concatenate(([True], slate[1:] != slate[:-1]))]
    found = [
        _ranker(name, label, rows[column].to_numpy(), clicked, slate, user, user_of_slate, data)
        for name, label, column in RANKERS
        if _held(rows, column)
    ]
    best = ndcg_at_k(clicked, rows["score"].to_numpy(), slate, data.settings.k)
    ranker, own = found[0]
    for row, draws in found:
        if row["name"] != "ranker":
            row["gain_of_ranker"] = ranker["ndcg"] - row["ndcg"]
            row["gain_of_ranker_interval"] = _span(own - draws, data, user)
    return {
        "k": data.settings.k,
        "slates": int(best.groups.size),
        "slates_without_click": best.left_out,
        "rows": [row for row, _ in found],
    }


def _ranker(
    name: str,
    label: str,
    score: Floats,
    clicked: Floats,
    slate: Ints,
    user: Ints,
    user_of_slate: Ints,
    data: ReportData,
) -> tuple[Section, Floats]:
    """One order's figures, each with its interval, and the draws of its NDCG."""
    at: dict[str, Any] = {"resamples": data.settings.bootstraps, "seed": data.seed}
    figures: dict[str, PerGroup] = {
        "ndcg": ndcg_at_k(clicked, score, slate, data.settings.k),
        "mrr": reciprocal_rank(clicked, score, slate),
        "map": average_precision(clicked, score, slate),
        "recall": recall_at_k(clicked, score, slate, _RECALL_AT),
        "grouped_auc": grouped_auc(clicked, score, user),
    }
    row: Section = {"name": name, "label": label, "gain_of_ranker": None, "gain_of_ranker_interval": None}
    draws: dict[str, Floats] = {"auc": auc_draws(clicked, score, user, name="auc", **at)}
    for figure, found in figures.items():
        owners = found.groups if figure == "grouped_auc" else user_of_slate[found.groups]
        row[figure] = found.mean
        if found.groups.size:
            draws |= bootstrap({figure: found.terms}, owners, name="ranking", **at)
    row["auc"] = auc(clicked, score)
    return row | {f"{key}_interval": _span(draws.get(key), data, user) for key in [*figures, "auc"]}, draws["ndcg"]


def calibration(impressions: pl.DataFrame, data: ReportData) -> Section:
    """Whether predicted click chances are click rates."""
    if not _held(impressions, "predicted_chance"):
        return absent("No click chances were predicted for the test part of the log.")
    rows = impressions.sort("user_id", "at", "slot")
    clicked, chance = rows["clicked"].to_numpy().astype(np.float64), rows["predicted_chance"].to_numpy()
    users = rows["user_id"].rle_id().to_numpy().astype(np.int64)
    at: dict[str, Any] = {"resamples": data.settings.bootstraps, "seed": data.seed, "name": "calibration"}
    curve = curve_of(clicked, chance, _BINS)
    terms = {
        str(b): Terms.ratio(clicked * (curve.bin_of_row == b), curve.bin_of_row == b) for b in range(curve.rows.size)
    }
    draws = bootstrap(terms, users, **at)
    error = expected_calibration_error(clicked, chance, _BINS)
    errors = calibration_draws(clicked, chance, users, bins=_BINS, **at)
    loss, entropy = entropy_draws(clicked, chance, users, **at)
    several = np.unique(users).size > 1
    days = calibration_days(impressions, data)
    return {
        "days": days,
        "drift": drift(days),
        "impressions": int(clicked.size),
        "click_rate": float(clicked.mean()),
        "mean_prediction": float(chance.mean()),
        "calibration_error": error,
        "calibration_error_interval": span(basic(error, errors, data.settings.confidence, lowest=0.0))
        if several
        else None,
        "log_loss": log_loss(clicked, chance),
        "log_loss_interval": _span(loss, data, users),
        "normalised_entropy": normalised_entropy(clicked, chance),
        "normalised_entropy_interval": _span(entropy, data, users),
        "bins": [
            {
                "predicted": float(curve.predicted[b]),
                "observed": float(curve.observed[b]),
                "observed_interval": _span(draws[str(b)], data, users),
                "impressions": int(curve.rows[b]),
            }
            for b in range(curve.rows.size)
        ],
    }


def assortment(data: ReportData) -> Section:
    """How varied the new slates are beside the logged ones."""
    if data.catalogue is None or not data.assortments:
        return absent("No slates were given to look at.")
    settings = data.settings
    rows = []
    for label, slates in data.assortments.items():
        found = assortment_of(
            slates, data.catalogue, data.catalogue.select("concept_id", "logged"), k=settings.k,
            confidence=settings.confidence, resamples=settings.bootstraps, seed=data.seed,
        )  # fmt: skip
        row: Section = {"label": label, "slates": slates.select("user_id", "slate").n_unique()}
        for name in ("coverage", "novelty", "diversity"):
            figure = getattr(found, name)
            row |= {name: figure.value, f"{name}_interval": span(figure.interval)}
        rows.append(row)
    return {"concepts": data.catalogue.height, "rows": rows}


def _span(draws: Floats | None, data: ReportData, users: Ints) -> dict[str, float] | None:
    known = draws is not None and np.unique(users).size > 1
    return span(percentile(draws, data.settings.confidence)) if known and draws is not None else None


def _held(rows: pl.DataFrame, column: str) -> bool:
    return column in rows.columns and rows[column].null_count() == 0
